"""Paste networks' small masks into their boxes: resize and threshold the pixels of each box only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks.crop import Mask, Roi

PasteRule = Literal['grid_sample', 'torchvision', 'mmcv']
"""How a small mask is sampled; a checkpoint needs the rule of the code that trained it.

'grid_sample'  mmdet >= 2, detectron2: sample at pixel centers, zero outside, >= threshold.
'torchvision'  torchvision: pad with one cell of zeros, grow the box in proportion, truncate it to integers with both
               ends inclusive, resize, > threshold.
'mmcv'         the official MaskTrackRCNN: truncate the box to integers with both ends inclusive, resize, > threshold.
"""

_VALUES_AT_ONCE = 1 << 15  # a large mask is computed in blocks of this many values, which fit in the processor's cache
_LARGEST_COORDINATE = float(1 << 24)  # float32 has no fractions of a pixel beyond this

Floats: TypeAlias = 'NDArray[np.float64]'
Integers: TypeAlias = 'NDArray[np.intp]'
Flags: TypeAlias = 'NDArray[np.bool_]'


@dataclass(frozen=True, eq=False)
class Placement:
    """Where N small masks lie in an image. Arrays of two rows have x in the first and y in the second.

    rois: (N, 4) int32, the window of each mask inside the image.
    origin: (2, N) where the small mask begins, in pixels; cells_per_pixel: (2, N).
    first_cell: 1 if positions stay between the centers of the first and the last cell, 0 if they reach the border.
    added_border: cells by which the rule grows the small mask on each side.
    includes_threshold: whether a pixel with exactly the threshold belongs to the object.
    """

    rois: Roi
    origin: Floats
    cells_per_pixel: Floats
    first_cell: int = 0
    added_border: int = 0
    includes_threshold: bool = False

    def __getitem__(self, indices: Integers) -> Placement:
        """The placement of the small masks at these indices."""
        chosen = self.rois[indices], self.origin[:, indices], self.cells_per_pixel[:, indices]
        return Placement(*chosen, self.first_cell, self.added_border, self.includes_threshold)


def place(boxes: ArrayLike, cells: int, image_size: tuple[int, int], rule: PasteRule = 'grid_sample') -> Placement:
    """Place small masks in their boxes.

    Args:
        boxes: (N, 4) x0 y0 x1 y1 in source pixels, continuous coordinates. One that has no area, is outside the image
            or is not finite gets a window of 0x0 pixels.
        cells: on each side of a small mask, 28 in Mask R-CNN.
        image_size: (height, width) of the source image.
        rule: the sampling rule.

    Raises:
        ValueError: unknown rule.
    """
    if rule not in _RULES:
        raise ValueError(f'paste rule {rule!r} is not one of {", ".join(_RULES)}')
    corners = np.array(boxes, np.float64).reshape(-1, 2, 2)
    is_usable: NDArray[np.bool_] = np.all(np.abs(corners) <= _LARGEST_COORDINATE, axis=(1, 2))
    is_usable &= np.all(corners[:, 1] > corners[:, 0], axis=1)
    corners[~is_usable] = [[0, 0], [1, 1]]
    low, high = corners.transpose(1, 2, 0)
    return _RULES[rule](low, high, cells, np.array(image_size[::-1])[:, None], is_usable)


def _grid_sample(low: Floats, high: Floats, cells: int, limit: Integers, is_usable: Flags) -> Placement:
    rois = _windows(np.floor(low), np.ceil(high), limit, is_usable)
    return Placement(rois, low, cells / (high - low), includes_threshold=True)


def _mmcv(low: Floats, high: Floats, cells: int, limit: Integers, is_usable: Flags) -> Placement:
    first, lengths = _inclusive(low, high)
    return Placement(_windows(first, first + lengths, limit, is_usable), first, cells / lengths, first_cell=1)


def _torchvision(low: Floats, high: Floats, cells: int, limit: Integers, is_usable: Flags) -> Placement:
    # The same float32 steps as torchvision: the result is truncated, so the last bit can move the mask by a pixel.
    start, stop = low.astype(np.float32), high.astype(np.float32)
    half = (stop - start) * np.float32(0.5) * np.float32((cells + 2) / cells)
    center = (stop + start) * np.float32(0.5)
    first, lengths = _inclusive((center - half).astype(np.float64), (center + half).astype(np.float64))
    return Placement(_windows(first, first + lengths, limit, is_usable), first, (cells + 2) / lengths, added_border=1)


_RULES: dict[str, Callable[[Floats, Floats, int, Integers, Flags], Placement]] = {
    'grid_sample': _grid_sample,
    'torchvision': _torchvision,
    'mmcv': _mmcv,
}


def _inclusive(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The first pixel and the number of pixels of boxes that are truncated to integers, both ends inclusive."""
    first = np.trunc(low)
    return first, np.maximum(np.trunc(high) - first + 1, 1)


def _windows(start: Floats, stop: Floats, limit: Integers, is_usable: Flags) -> Roi:
    """(N, 4) int32 x0 y0 x1 y1 inside the image; empty in both directions where it is empty in one, 0 0 0 0 where the
    box is not usable.
    """
    start, stop = _clipped(start, 0, limit), _clipped(stop, 0, limit)
    stop = np.where((stop > start).all(0), stop, start)
    return np.ascontiguousarray(np.where(is_usable, np.concatenate([start, stop]), 0).T, np.int32)


def paste(probabilities: NDArray[np.float32], placement: Placement, threshold: float = 0.5) -> list[Mask]:
    """Resize N small masks to their boxes and threshold them, computing only the pixels of the boxes.

    Bilinear interpolation is separable: it runs along the rows of the small mask first, then along the columns.

    Args:
        probabilities: (N, S, S) float32.
        placement: of these N masks.
        threshold: probability from which a pixel belongs to the object.

    Returns:
        N crops, (height, width) uint8, 0 or 1.
    """
    count, cells, _ = probabilities.shape
    bordered = np.zeros((count, cells + 2, cells + 2), np.float32)
    bordered[:, 1:-1, 1:-1] = probabilities
    steps = bordered[:, :, 1:] - bordered[:, :, :-1]
    samples = _samples(placement, cells + 2)
    widths, heights = (placement.rois[:, 2:] - placement.rois[:, :2]).T
    largest = np.maximum(np.minimum(widths * heights, _VALUES_AT_ONCE), widths).max(initial=0)
    blocks = np.empty((2, largest), np.float32)
    compare = np.less_equal if placement.includes_threshold else np.less  # the threshold is the first operand
    each = zip(bordered, steps, samples[:count], samples[count:], strict=True)
    return [
        _thresholded(_widened(small, differences, across), down, partial(compare, threshold), blocks)
        for small, differences, across, down in each
    ]


_Samples: TypeAlias = 'tuple[Integers, NDArray[np.float32]]'
"""Where the P pixels of a window lie along one axis of its small mask with a border of zeros: (P,) the cell before each
pixel, and (P,) the fraction of the way to the next one."""


def _samples(placement: Placement, cells: int) -> list[_Samples]:
    """The samples along x of each window, then those along y, for small masks of `cells` with their border."""
    start = placement.rois[:, :2].T.ravel()
    lengths = placement.rois[:, 2:].T.ravel() - start
    ends = np.cumsum(lengths)
    # The center of cell k of the small mask is at k; the mask is zero at -1 and at the number of cells.
    places = np.arange(float(lengths.sum()))
    places += np.repeat((start - ends + lengths).astype(np.float64), lengths)  # pixels of the image
    places += np.repeat(0.5 - placement.origin, lengths)
    places *= np.repeat(placement.cells_per_pixel, lengths)
    places -= 0.5
    places -= placement.added_border
    places += 1
    np.maximum(places, placement.first_cell, out=places)
    np.minimum(places, cells - 1 - placement.first_cell, out=places)
    before = places.astype(np.intp)
    np.minimum(before, cells - 2, out=before)
    places -= before
    fractions = places.astype(np.float32)
    parts = [slice(end - length, end) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
    return [(before[part], fractions[part]) for part in parts]


def _widened(small: NDArray[np.float32], steps: NDArray[np.float32], across: _Samples) -> NDArray[np.float32]:
    """(S + 2, P): a small mask (S + 2, S + 2) at P places along its rows. `steps`: (S + 2, S + 1) differences."""
    cells, fractions = across
    widened = steps.take(cells, axis=1)
    widened *= fractions
    widened += small.take(cells, axis=1)
    return widened


def _thresholded(
    widened: NDArray[np.float32], down: _Samples, is_inside: Callable[..., Any], blocks: NDArray[np.float32]
) -> Mask:
    """One mask from what `_widened` gives. `blocks`: (2, V) memory for V values at once."""
    cells, fractions = down
    height, width = len(cells), widened.shape[1]
    slopes = widened[1:] - widened[:-1]
    inside = np.empty((height, width), bool)
    rows_at_once = max(blocks.shape[1] // max(width, 1), 1)
    for first in range(0, height, rows_at_once):
        rows = slice(first, min(first + rows_at_once, height))
        values, starts = blocks[:, : (rows.stop - first) * width].reshape(2, -1, width)
        slopes.take(cells[rows], axis=0, out=values, mode='clip')  # with an out array, 'raise' makes a copy
        values *= fractions[rows, None]
        values += widened.take(cells[rows], axis=0, out=starts, mode='clip')
        is_inside(values, out=inside[rows])
    return inside.view(np.uint8)


def _clipped(values: Floats, low: int, high: Integers) -> Floats:
    return np.minimum(np.maximum(values, low), high)  # a tenth of the time of np.clip on small arrays
