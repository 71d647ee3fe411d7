"""Optical flow between images, and masks moved along it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Flow = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]
"""Two images (h, w, 3) uint8 BGR to (h, w, 2) float32: where each pixel of the first lies in the second, as the (x, y)
that must be added to its place, in pixels. A learned flow can be plugged in."""


def dis_flow(preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST) -> Flow:
    """Dense inverse search (Kroeger et al. 2016), OpenCV's: milliseconds on a processor, no weights."""
    search = cv2.DISOpticalFlow.create(preset)

    def flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (first, second)]
        return np.asarray(search.calc(grey[0], grey[1], None), np.float32)

    return flow


def warp(masks: Tensor, flow: Tensor) -> Tensor:
    """Masks (B, 1, H, W) of the previous frame moved into the present one, bilinearly; 0 comes from outside.

    flow: (B, 2, H, W) from the present frame to the previous one, x and y in pixels: pixel p gets what was at p + flow.
    """
    height, width = masks.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=masks.device), torch.arange(width, device=masks.device), indexing='ij'
    )
    places = torch.stack((x, y), 2) + flow.permute(0, 2, 3, 1)
    scale = masks.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    return functional.grid_sample(masks, places * scale - 1, padding_mode='zeros', align_corners=True)
