"""Paste a network's small mask into its box: resize and threshold the pixels of the box only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks.crop import Mask, Roi

PasteRule = Literal['grid_sample', 'torchvision', 'mmcv']

_VALUES_AT_ONCE = 1 << 15  # a large mask is computed in blocks of this many values, which fit in the processor's cache
_LARGEST_COORDINATE = float(1 << 24)  # float32 has no fractions of a pixel beyond this


def paste(
    probability: NDArray[np.float32],
    box: ArrayLike,
    image_size: tuple[int, int],
    rule: PasteRule = 'grid_sample',
    threshold: float = 0.5,
) -> tuple[Mask, Roi]:
    """Resize a network's mask to its box and threshold it, computing only the pixels of the box.

    Bilinear interpolation is separable: it runs along the rows of the small mask first, then along the columns.

    Args:
        probability: (S, S) float, 28x28 in Mask R-CNN.
        box: (4,) x0 y0 x1 y1 in source pixels, continuous coordinates.
        image_size: (height, width) of the source image.
        rule: the sampling rule; a checkpoint needs the rule of the code that trained it.
            'grid_sample'  mmdet >= 2, detectron2: sample at pixel centers, zero outside, >= threshold.
            'torchvision'  torchvision: pad with one cell of zeros, grow the box in proportion, truncate it to
                           integers with both ends inclusive, resize, > threshold.
            'mmcv'         the official MaskTrackRCNN: truncate the box to integers with both ends inclusive, resize,
                           > threshold.
        threshold: probability from which a pixel belongs to the object.

    Returns:
        The crop, (height, width) uint8, 0 or 1, and its (4,) int32 roi inside the image. A box that has no area, is
        outside the image or is not finite gives a crop of 0x0 pixels.

    Raises:
        ValueError: unknown rule.
    """
    if rule not in _AXES:
        raise ValueError(f'paste rule {rule!r} is not one of {", ".join(_AXES)}')
    axis = _AXES[rule]
    rows, columns = probability.shape
    x0, y0, x1, y1 = _coordinates(box)
    if not (x1 > x0 and y1 > y0):
        return np.zeros((0, 0), np.uint8), np.zeros(4, np.int32)
    left, right, across = axis(x0, x1, image_size[1], columns)
    top, bottom, down = axis(y0, y1, image_size[0], rows)
    roi = _window((left, right, top, bottom))
    if roi[0] == roi[2]:
        return np.zeros((0, 0), np.uint8), roi
    widened = _bordered(_interpolate(_bordered(np.asarray(probability, np.float32).T), across).T)
    inside = np.empty((len(down), len(across)), bool)
    compare = np.greater_equal if rule == 'grid_sample' else np.greater
    rows_at_once = max(_VALUES_AT_ONCE // len(across), 1)
    for first in range(0, len(down), rows_at_once):
        some = slice(first, first + rows_at_once)
        compare(_interpolate(widened, down[some]), threshold, out=inside[some])
    return inside.view(np.uint8), roi


_Axis: TypeAlias = 'tuple[int, int, NDArray[np.floating[Any]]]'
"""One axis of the box under a rule: the first pixel, the pixel after the last, and the position of each pixel in cells
of the small mask. The center of cell k is at k; the mask is zero at -1 and at the number of cells."""


def _grid_sample_axis(low: float, high: float, limit: int, cells: int) -> _Axis:
    start, stop = _clipped(math.floor(low), math.ceil(high), limit)
    return start, stop, (np.arange(start, stop) + (0.5 - low)) * (cells / (high - low)) - 0.5


def _mmcv_axis(low: float, high: float, limit: int, cells: int) -> _Axis:
    first = int(low)
    length = max(int(high) - first + 1, 1)
    start, stop = _clipped(first, first + length, limit)
    positions = (np.arange(start, stop) + (0.5 - first)) * (cells / length) - 0.5
    return start, stop, np.clip(positions, 0, cells - 1)


def _torchvision_axis(low: float, high: float, limit: int, cells: int) -> _Axis:
    # The same float32 steps as torchvision: the result is truncated, so the last bit can move the mask by a pixel.
    ends = np.array([low, high], np.float32)
    half = (ends[1] - ends[0]) * np.float32(0.5) * np.float32((cells + 2) / cells)
    center = (ends[1] + ends[0]) * np.float32(0.5)
    start, stop, positions = _mmcv_axis(float(center - half), float(center + half), limit, cells + 2)
    return start, stop, positions - 1


_AXES: dict[str, Callable[[float, float, int, int], _Axis]] = {
    'grid_sample': _grid_sample_axis,
    'torchvision': _torchvision_axis,
    'mmcv': _mmcv_axis,
}


def _bordered(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S + 2, N): the values (S, N) with a row of zeros before and after."""
    bordered = np.zeros((values.shape[0] + 2, values.shape[1]), np.float32)
    bordered[1:-1] = values
    return bordered


def _interpolate(bordered: NDArray[np.float32], positions: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """(P, N): `_bordered` values, linearly interpolated at P row positions; zero beyond the border."""
    last = len(bordered) - 1
    places = np.clip(positions + 1, 0, last)
    before = np.minimum(places.astype(np.intp), last - 1)
    result: NDArray[np.float32] = bordered[before]
    steps = bordered[before + 1]
    steps -= result
    steps *= (places - before).astype(np.float32)[:, None]
    result += steps
    return result


def _coordinates(box: ArrayLike) -> tuple[float, float, float, float]:
    """The four numbers of a box; all 0 where one of them is too large or not finite."""
    x0, y0, x1, y1 = np.asarray(box, np.float64).tolist()
    if not all(abs(value) <= _LARGEST_COORDINATE for value in (x0, y0, x1, y1)):  # false for NaN too
        return 0.0, 0.0, 0.0, 0.0
    return x0, y0, x1, y1


def _clipped(start: int, stop: int, limit: int) -> tuple[int, int]:
    return min(max(start, 0), limit), min(max(stop, 0), limit)


def _window(sides: tuple[int, int, int, int]) -> Roi:
    """(4,) int32 x0 y0 x1 y1 of left, right, top, bottom; empty in both directions if it is empty in one."""
    left, right, top, bottom = sides
    if right <= left or bottom <= top:
        right, bottom = left, top
    return np.array([left, top, right, bottom], np.int32)
