"""Damage of masks, as if they were predicted."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_SHIFT, _SCALE, _ANGLE = 0.05, 0.025, math.radians(3)
"""At most: shift in square roots of the area of the box, change of size, turn."""
_DILATION = 5
"""Pixels a side."""
_LOST = 0.1
"""Share of the objects that vanish: they are to be found again by their reference."""


def damage(masks: Tensor) -> Tensor:
    """Masks (M, H, W) bool, each shifted, resized, turned, sometimes dilated or lost (FEELVOS' code, off by default).

    The sizes of the damage are those published; that masks are lost is not.
    """
    if len(masks) == 0:
        return masks
    height, width = masks.shape[1:]
    box = torch.stack([_box(mask) for mask in masks]).to(masks.device)
    extent = (box[:, 2:] - box[:, :2]).clamp(min=1)
    centre = (box[:, 2:] + box[:, :2]) / 2
    count = len(masks)
    shift = _even(count, 2, masks.device) * _SHIFT * extent.prod(1, keepdim=True).sqrt()
    scale = 1 + _even(count, 1, masks.device) * _SCALE
    angle = _even(count, 1, masks.device)[:, 0] * _ANGLE
    # Pixel q of the result is taken from R (q - centre - shift) / scale + centre.
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).unflatten(1, (2, 2)) / scale[..., None]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=masks.device), torch.arange(width, device=masks.device), indexing='ij'
    )
    pixels = torch.stack((xs, ys), 2).flatten(0, 1).float()
    source = (pixels[None] - (centre + shift)[:, None]) @ turn.transpose(1, 2) + centre[:, None]
    source = source.round().long()
    inside = ((source >= 0) & (source < source.new_tensor([width, height]))).all(2)
    index = source[..., 1].clamp(0, height - 1) * width + source[..., 0].clamp(0, width - 1)
    moved = (masks.flatten(1).gather(1, index) & inside).unflatten(1, (height, width))
    dilated = functional.max_pool2d(moved[None].float(), _DILATION, 1, _DILATION // 2)[0] > 0
    moved = torch.where(torch.rand(count, 1, 1, device=masks.device) < 0.5, dilated, moved)
    return moved & (torch.rand(count, 1, 1, device=masks.device) >= _LOST)


def _even(count: int, size: int, device: torch.device) -> Tensor:
    """(count, size) evenly between -1 and 1."""
    return torch.rand(count, size, device=device) * 2 - 1


def _box(mask: Tensor) -> Tensor:
    """(4,) x0, y0, x1, y1 of a mask; zeros if it is empty."""
    ys, xs = torch.nonzero(mask, as_tuple=True)
    if len(ys) == 0:
        return torch.zeros(4)
    return torch.stack((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).float()
