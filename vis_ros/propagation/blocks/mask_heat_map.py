"""Heat maps of masks: Gaussians with robust moments, the form in which RGSN takes the previous mask."""

from __future__ import annotations

import torch
from torch import Tensor

_NORMAL = 1.4826
"""Ratio of standard deviation and median absolute deviation of a normal distribution."""
_LEAST_STD = 5.0
_SHIFT, _SCALE = 0.2, 1.4


def robust_moments(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Centers and standard deviations (N, 2), x and y in pixels, of masks (N, H, W) bool.

    On each axis, the center is the median of the pixel coordinates, and the standard deviation is 1.4826 times their
    median absolute deviation. The values of an empty mask are meaningless.
    """
    moments = [_moments(masks.sum(axis)) for axis in (1, 2)]
    center, std = (torch.stack(each, 1) for each in zip(*moments, strict=True))
    return center, std


def _moments(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Center and standard deviation (N,) of coordinates that occur `counts` (N, L) times."""
    places = torch.arange(counts.shape[1], device=counts.device, dtype=torch.float32).expand(counts.shape)
    center = _median(places, counts)
    deviations, order = (places - center[:, None]).abs().sort(1)
    return center, _NORMAL * _median(deviations, counts.gather(1, order))


def _median(values: Tensor, counts: Tensor) -> Tensor:
    """Median (N,) of ascending values (N, L) that occur `counts` times each."""
    upto = counts.cumsum(1)
    total = upto[:, -1:]
    middle = torch.cat(((total + 1) // 2, total // 2 + 1), 1)
    index = torch.searchsorted(upto.contiguous(), middle).clamp(max=values.shape[1] - 1)
    return values.gather(1, index).mean(1)


def mask_heat_map(masks: Tensor, perturbed: bool = False) -> Tensor:
    """Heat maps (N, H, W) float in [0, 1] of masks (N, H, W) bool; zero for an empty mask.

    exp(-((x - cx) / sx)^2 / 2 - ((y - cy) / sy)^2 / 2) with sx and sy at least 5 pixels (OSMN, Yang et al. 2018,
    section 3.2, with the robust moments of the released code of PTS).

    Args:
        masks: the masks.
        perturbed: for training, shift the center by up to 0.2 standard deviations and scale the standard deviation by
            up to 1.4 or its inverse, both uniformly at random.
    """
    center, std = robust_moments(masks)
    std = std.clamp(min=_LEAST_STD)
    if perturbed:
        center = center + std * torch.empty_like(std).uniform_(-_SHIFT, _SHIFT)
        std = std * torch.empty_like(std).uniform_(1 / _SCALE, _SCALE)
    height, width = masks.shape[1:]
    xs, ys = (torch.arange(side, device=masks.device, dtype=torch.float32) for side in (width, height))
    row = torch.exp(-0.5 * ((xs - center[:, :1]) / std[:, :1]) ** 2)
    column = torch.exp(-0.5 * ((ys - center[:, 1:]) / std[:, 1:]) ** 2)
    return column[:, :, None] * row[:, None] * masks.flatten(1).any(1)[:, None, None]
