"""Random damage of ground truth masks, so that in training they look like predictions of an earlier frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_SHIFT, _SCALE, _ANGLE = 0.05, 0.025, math.radians(3)
"""Bounds for binary masks: shift in square roots of the box area, relative change of size, rotation."""
_DILATION = 5
"""Side of the dilation kernel in pixels."""
_LOST = 0.1
"""Share of binary masks that are emptied, so that the network learns to recover objects from the reference frame."""
_SOFT_SHIFT, _SOFT_SCALE = 0.1, 0.1
"""Standard deviations for soft masks: shift in square roots of the object area, and logarithm of the size."""


def damage_binary_masks(masks: Tensor) -> Tensor:
    """Shift, resize and rotate masks (M, H, W) bool at random; dilate half of them, and empty some.

    The bounds are those of the released code of FEELVOS, which has this augmentation off by default. Emptying masks is
    not published.
    """
    if len(masks) == 0:
        return masks
    height, width = masks.shape[1:]
    box = torch.stack([_box(mask) for mask in masks]).to(masks.device)
    extent = (box[:, 2:] - box[:, :2]).clamp(min=1)
    center = (box[:, 2:] + box[:, :2]) / 2
    count = len(masks)
    shift = _uniform(count, 2, masks.device) * _SHIFT * extent.prod(1, keepdim=True).sqrt()
    scale = 1 + _uniform(count, 1, masks.device) * _SCALE
    angle = _uniform(count, 1, masks.device)[:, 0] * _ANGLE
    # Pixel q of the result comes from R (q - center - shift) / scale + center.
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).unflatten(1, (2, 2)) / scale[..., None]
    ys, xs = torch.meshgrid(
        torch.arange(height, device=masks.device), torch.arange(width, device=masks.device), indexing='ij'
    )
    pixels = torch.stack((xs, ys), 2).flatten(0, 1).float()
    source = (pixels[None] - (center + shift)[:, None]) @ turn.transpose(1, 2) + center[:, None]
    source = source.round().long()
    inside = ((source >= 0) & (source < source.new_tensor([width, height]))).all(2)
    index = source[..., 1].clamp(0, height - 1) * width + source[..., 0].clamp(0, width - 1)
    moved = (masks.flatten(1).gather(1, index) & inside).unflatten(1, (height, width))
    dilated = functional.max_pool2d(moved[None].float(), _DILATION, 1, _DILATION // 2)[0] > 0
    moved = torch.where(torch.rand(count, 1, 1, device=masks.device) < 0.5, dilated, moved)
    return moved & (torch.rand(count, 1, 1, device=masks.device) >= _LOST)


def damage_soft_masks(masks: Tensor) -> Tensor:
    """Shift, resize and blur masks (N, 1, H, W) in [0, 1] at random."""
    height, width = masks.shape[2:]
    area = masks.sum((1, 2, 3))
    xs = (torch.arange(width, device=masks.device) + 0.5) / width * 2 - 1
    ys = (torch.arange(height, device=masks.device) + 0.5) / height * 2 - 1
    center = torch.stack(((masks[:, 0].sum(1) * xs).sum(1), (masks[:, 0].sum(2) * ys).sum(1)), 1)
    center = center / area[:, None].clamp(min=1)
    side = area.sqrt()[:, None] * 2 / masks.new_tensor([width, height])
    shift = torch.randn_like(center) * _SOFT_SHIFT * side
    scale = torch.exp(torch.randn_like(center[:, :1]) * _SOFT_SCALE)
    # Pixel q of the result comes from (q - center - shift) / scale + center.
    theta = masks.new_zeros(len(masks), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale[:, 0]
    theta[:, :, 2] = center - (center + shift) / scale
    grid = functional.affine_grid(theta, list(masks.shape), align_corners=False)
    moved = functional.grid_sample(masks, grid, align_corners=False)
    cells = functional.avg_pool2d(moved, 4)  # predictions have stride 4
    return functional.interpolate(cells, (height, width), mode='bilinear')


def _uniform(count: int, size: int, device: torch.device) -> Tensor:
    """(count, size) uniform numbers in [-1, 1)."""
    return torch.rand(count, size, device=device) * 2 - 1


def _box(mask: Tensor) -> Tensor:
    """(4,) x0 y0 x1 y1 of a mask; zeros if it is empty."""
    ys, xs = torch.nonzero(mask, as_tuple=True)
    if len(ys) == 0:
        return torch.zeros(4)
    return torch.stack((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).float()
