"""RoI max pooling (Fast R-CNN, Girshick 2015) of operations that every engine has."""

from __future__ import annotations

import torch
from torch import Tensor


def roi_max_pool(features: Tensor, boxes: Tensor, cells: int, stride: int) -> Tensor:
    """Maxima (B, C, cells, cells) of features (B, C, h, w) in one box of each, as `torchvision.ops.roi_pool`.

    The maximum over a rectangle is taken first over its rows and then over its columns.

    Args:
        features: not negative: a cell without pixels is 0.
        boxes: (B, 4), in pixels of the image.
        cells: in x and in y.
        stride: of the features in pixels.
    """
    low = torch.floor(boxes[:, :2] / stride + 0.5)
    high = torch.floor(boxes[:, 2:] / stride + 0.5)
    side = (high - low + 1).clamp(min=1) / cells
    rows = _inside(low[:, 1:], side[:, 1:], cells, features.shape[2])
    columns = _inside(low[:, :1], side[:, :1], cells, features.shape[3])
    by_row = [(features * rows[:, None, cell, :, None]).amax(2) for cell in range(cells)]
    by_rows = torch.stack(by_row, 2)
    return torch.stack([(by_rows * columns[:, None, None, cell]).amax(3) for cell in range(cells)], 3)


def _inside(low: Tensor, side: Tensor, cells: int, length: int) -> Tensor:
    """(B, cells, length): 1 where a row or column of the features belongs to a cell, else 0."""
    cell = torch.arange(cells, device=low.device, dtype=low.dtype)
    first = (torch.floor(cell * side) + low)[:, :, None]
    end = (torch.ceil((cell + 1) * side) + low)[:, :, None]
    places = torch.arange(length, device=low.device, dtype=low.dtype)
    return ((places >= first) & (places < end)).float()
