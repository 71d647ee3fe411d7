"""RoIAlign (He et al. 2017) of operations that every engine has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SAMPLES = 2
"""Along each side of a cell."""


def sampled_roi_align(features: Tensor, boxes: Tensor, cells: int, stride: int) -> Tensor:
    """Means (N, C, cells, cells) of features (1, C, h, w) in boxes, as `torchvision.ops.roi_align` with aligned corners
    and 2 x 2 samples in each cell.

    Args:
        features: one feature map.
        boxes: (N, 4), in pixels of the image.
        cells: in x and in y.
        stride: of the features in pixels.
    """
    steps = (torch.arange(cells * _SAMPLES, device=boxes.device) + 0.5) / (cells * _SAMPLES)
    low, sides = boxes[:, :2] / stride, (boxes[:, 2:] - boxes[:, :2]) / stride
    x, y = (low[:, axis, None] + steps * sides[:, axis, None] for axis in (0, 1))  # (N, 2 * cells)
    width, height = features.shape[3], features.shape[2]
    points = steps.shape[0]
    across = (x * 2 / width - 1)[:, None].expand(-1, points, -1)
    down = (y * 2 / height - 1)[:, :, None].expand(-1, -1, points)
    grid = torch.stack((across, down), 3)
    sampled = functional.grid_sample(
        features, grid.reshape(1, -1, points, 2), padding_mode='border', align_corners=False
    )
    inside = (_inside(y, height)[:, :, None] & _inside(x, width)[:, None]).reshape(1, 1, -1, points)
    means = functional.avg_pool2d(sampled * inside, _SAMPLES)
    return means[0].reshape(features.shape[1], -1, cells, cells).transpose(0, 1)


def _inside(places: Tensor, length: int) -> Tensor:
    """Which places count: those up to half a cell outside, beyond the centers of the outer cells, repeat the border."""
    return (places >= -0.5) & (places <= length + 0.5)
