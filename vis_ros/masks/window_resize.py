"""Resizing masks between an image and a working size, inside the window of the mask only."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.crop import Mask, Roi, tight_box

_REACH = 2
"""Cells around the positive ones that a bilinear enlargement looks at, and one more for the border."""


def enlarged(margin: NDArray[np.float32], size: tuple[int, int]) -> tuple[Mask, Roi]:
    """Where a signed map (h, w), enlarged bilinearly to (height, width), is positive: the crop and its tight window.

    Equals resizing the whole map. Only a part around the positive cells is resized: one that starts and ends at cells
    whose borders are borders of pixels. Where no cells are so, as for 641 pixels from 512, the whole map is that part.

    Returns:
        crop (y1 - y0, x1 - x0) uint8 and window (4,) x0 y0 x1 y1. Both are empty if nothing is positive.
    """
    x0, y0, x1, y1 = tight_box(margin > 0).tolist()
    if x1 == 0:
        return np.zeros((0, 0), np.uint8), np.zeros(4, np.int32)
    rows, inner_rows = _aligned(y0, y1, margin.shape[0], size[0])
    columns, inner_columns = _aligned(x0, x1, margin.shape[1], size[1])
    part = np.ascontiguousarray(margin[inner_rows, inner_columns])
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    mask = cv2.resize(part, shape, interpolation=cv2.INTER_LINEAR) > 0
    box = tight_box(mask)
    left, top, right, bottom = box.tolist()
    offset = np.array([columns.start, rows.start] * 2, np.int32) if right else 0
    return np.ascontiguousarray(mask[top:bottom, left:right]).astype(np.uint8), (box + offset).astype(np.int32)


def _aligned(first: int, end: int, cells: int, pixels: int) -> tuple[slice, slice]:
    """Pixels, and the cells that they are exactly, around the cells from `first` to `end`."""
    common = math.gcd(cells, pixels)
    cells_each, pixels_each = cells // common, pixels // common
    low = max(first - _REACH, 0) // cells_each
    high = -(-min(end + _REACH, cells) // cells_each)
    return slice(low * pixels_each, high * pixels_each), slice(low * cells_each, high * cells_each)


def reduced(mask: Mask, roi: Roi, image_size: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask at (h, w): each cell takes the pixel of its corner, like `cv2.INTER_NEAREST` on the whole mask.

    Args:
        mask: crop of the window `roi` of an image of image_size (height, width).
        roi: (4,) x0 y0 x1 y1.
        image_size: (height, width).
        size: (h, w) of the result.
    """
    x0, y0, x1, y1 = roi.tolist()
    rows, from_rows = _inside(y0, y1, image_size[0], size[0])
    columns, from_columns = _inside(x0, x1, image_size[1], size[1])
    small = np.zeros(size, bool)
    small[rows, columns] = mask[np.ix_(from_rows, from_columns)] > 0
    return small


def _inside(first: int, end: int, pixels: int, cells: int) -> tuple[slice, NDArray[np.int64]]:
    """The cells whose pixel lies in a window, and the places of these pixels in the window."""
    places = np.minimum(np.arange(cells) * pixels // cells, pixels - 1)
    low, high = np.searchsorted(places, [first, end]).tolist()
    return slice(low, high), places[low:high] - first
