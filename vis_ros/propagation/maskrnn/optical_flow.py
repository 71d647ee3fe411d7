"""Optical flow between images. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

_ALL_THREADS = -1

Flow = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""A function of two images (h, w, 3) uint8 BGR that returns (h, w, 2) float32: the displacement (x, y) in pixels of
each pixel of the first image."""


def dis_flow(preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST) -> Flow:
    """Dense inverse search (Kroeger et al. 2016) of OpenCV: takes milliseconds on a CPU and needs no weights."""
    search = cv2.DISOpticalFlow.create(preset)

    def flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        gray = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (first, second)]
        threads = cv2.getNumThreads()
        cv2.setNumThreads(_ALL_THREADS)  # the node gives OpenCV one, which takes nearly twice as long
        try:
            return np.asarray(search.calc(gray[0], gray[1], None), np.float32)
        finally:
            cv2.setNumThreads(threads)

    return flow
