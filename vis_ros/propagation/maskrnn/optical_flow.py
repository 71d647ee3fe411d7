"""Optical flow between images, and warping masks along it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Flow = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""A function of two images (h, w, 3) uint8 BGR that returns (h, w, 2) float32: the displacement (x, y) in pixels of
each pixel of the first image."""


def dis_flow(preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST) -> Flow:
    """Dense inverse search (Kroeger et al. 2016) of OpenCV: takes milliseconds on a CPU and needs no weights."""
    search = cv2.DISOpticalFlow.create(preset)

    def flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        gray = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (first, second)]
        return np.asarray(search.calc(gray[0], gray[1], None), np.float32)

    return flow


def warp(masks: Tensor, flow: Tensor) -> Tensor:
    """Masks (B, 1, H, W) of the previous frame warped into the current one, bilinearly; 0 beyond the border.

    flow: (B, 2, H, W) from the current frame to the previous one, in pixels. Pixel p takes the value at p + flow(p).
    """
    height, width = masks.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=masks.device), torch.arange(width, device=masks.device), indexing='ij'
    )
    places = torch.stack((x, y), 2) + flow.permute(0, 2, 3, 1)
    scale = masks.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    return functional.grid_sample(masks, places * scale - 1, padding_mode='zeros', align_corners=True)
