"""Warping masks along the optical flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def warp(masks: Tensor, flow: Tensor) -> Tensor:
    """Masks (B, 1, H, W) of the previous frame warped into the current one, bilinearly; 0 beyond the border.

    flow: (B, 2, H, W) from the current frame to the previous one, in pixels. Pixel p takes the value at p + flow(p).
    """
    height, width = masks.shape[2], masks.shape[3]
    # Along each axis from -1 at the first center to 1 at the last. Sizes are not put into a tensor, because a traced
    # graph would take them for constants.
    x = (torch.arange(width, device=masks.device) + flow[:, 0]) * 2 / (width - 1) - 1
    y = (torch.arange(height, device=masks.device)[:, None] + flow[:, 1]) * 2 / (height - 1) - 1
    return functional.grid_sample(masks, torch.stack((x, y), 3), padding_mode='zeros', align_corners=True)
