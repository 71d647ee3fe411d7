"""Square crops of masks at regions, and pasting probabilities back, as matrix products. Does not import torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def enlarged_boxes(boxes: Floats, factor: float) -> Floats:
    """Boxes (N, 4) with the same centers, `factor` times as wide and as high."""
    center, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * np.float32(factor)
    return np.concatenate((center - half, center + half), 1)


def clipped_boxes(boxes: Floats, size: tuple[int, int]) -> Floats:
    """Boxes (N, 4) clipped to an image of (height, width), at least one pixel wide and high."""
    limit = np.array([size[1], size[0]], np.float32)
    low = np.clip(boxes[:, :2], 0, limit - 1)
    return np.concatenate((low, np.maximum(np.minimum(boxes[:, 2:], limit), low + 1)), 1)


def mask_crop(mask: NDArray[np.bool_], region: Floats, side: int) -> NDArray[np.bool_]:
    """The region (4,) x0 y0 x1 y1 of a mask (H, W), resized bilinearly to (side, side)."""
    rows = _samples(region[1], region[3], mask.shape[0], side)
    columns = _samples(region[0], region[2], mask.shape[1], side)
    return np.asarray(rows @ mask.astype(np.float32) @ columns.T >= 0.5, bool)


def pasted(crop: Floats, region: Floats, size: tuple[int, int]) -> Floats:
    """A plane (height, width) with a crop (S, S) at its region (4,): bilinear, zero outside the region."""
    rows = _places(region[1], region[3], size[0], len(crop))
    columns = _places(region[0], region[2], size[1], len(crop))
    return np.asarray(rows @ crop @ columns.T, np.float32)


def _samples(first: np.float32, last: np.float32, length: int, side: int) -> Floats:
    """(side, length): the weights of the pixels of a line in `side` equal steps from `first` to `last`."""
    places = first + (np.arange(side, dtype=np.float32) + np.float32(0.5)) / side * (last - first) - np.float32(0.5)
    return _weights(places, length)


def _places(first: np.float32, last: np.float32, length: int, side: int) -> Floats:
    """(length, side): the weights of the cells of a crop in the pixels of a line. 0 for pixels outside of it."""
    share = (np.arange(length, dtype=np.float32) + np.float32(0.5) - first) / (last - first)
    weights = _weights(np.clip(share * side - np.float32(0.5), 0, side - 1), side)
    return weights * ((share >= 0) & (share <= 1))[:, None]


def _weights(places: NDArray[np.floating[Any]], length: int) -> Floats:
    """(N, length): linear interpolation at places (N,) among `length` values, 0 beyond the ends."""
    distance = np.abs(places[:, None] - np.arange(length, dtype=np.float32))
    return np.maximum(1 - distance, 0).astype(np.float32)
