"""ObjectWindow: the part of an image that a small object is segmented in. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MARGIN = 0.25
"""An object is at least this many of its sides away from the edge of its window, unless that is the edge of the image.
Chosen on training videos of DAVIS."""
_LEAST = 160
"""Smallest side of a window in pixels."""
_DIVISOR = 32

Size = tuple[int, int]


@dataclass(frozen=True)
class ObjectWindow:
    """Rows and columns of an image. Each side is that of the image or half of it: engines need memory for each size."""

    rows: slice
    columns: slice

    @classmethod
    def around(cls, box: NDArray[Any], image: Size) -> ObjectWindow:
        """The smallest window for an object with a box (4,) x0 y0 x1 y1 in an image of (height, width)."""
        return cls(_span(box[1], box[3], image[0]), _span(box[0], box[2], image[1]))

    @classmethod
    def whole(cls, image: Size) -> ObjectWindow:
        """All of an image of (height, width)."""
        return cls(slice(0, image[0]), slice(0, image[1]))

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    @property
    def corners(self) -> NDArray[np.float32]:
        """(4,) x y x y of the upper left corner, by which boxes in the image and in the window differ."""
        return np.array([self.columns.start, self.rows.start] * 2, np.float32)

    def of_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Its part of an image (H, W, 3), a view."""
        return image[self.rows, self.columns]

    def of_planes(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Its part of planes (..., H, W), a view."""
        return planes[..., self.rows, self.columns]

    def placed(self, planes: NDArray[np.float32], image: Size) -> NDArray[np.float32]:
        """Planes (..., H, W) for an image of (height, width), from those of the window; 0 outside."""
        found = np.zeros((*planes.shape[:-2], *image), np.float32)
        found[..., self.rows, self.columns] = planes
        return found


def _span(first: float, last: float, image: int) -> slice:
    """The rows or columns of an object that reaches from the first to the last, in an image with that many."""
    half = max(-(-image // (2 * _DIVISOR)) * _DIVISOR, _LEAST)
    side = half if (last - first) * (1 + 2 * _MARGIN) <= half < image else image
    start = min(max(round((float(first) + float(last) - side) / 2), 0), image - side)
    return slice(start, start + side)
