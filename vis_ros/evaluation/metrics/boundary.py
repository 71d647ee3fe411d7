"""Contour accuracy F: how well the contours of two masks agree (Perazzi et al. 2016, "DAVIS", section 4)."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import Rle, window

TOLERANCE = 0.008
"""Maximum distance of matching contours, as a share of the image diagonal."""


def boundary_f(a: Rle, b: Rle) -> float:
    """Harmonic mean of the shares of each contour that are within the tolerance of the other; 1 if both are empty.

    Only the window around both masks is decoded.
    """
    height, width = a['size']
    radius = int(np.ceil(TOLERANCE * np.hypot(height, width)))
    x, y, w, h = np.asarray(coco.toBbox([a, b]), int).T
    rows = slice(max(0, y.min() - radius - 1), (y + h).max() + radius + 1)
    columns = slice(max(0, x.min() - radius - 1), min(width, (x + w).max() + radius + 1))
    contours = [contour(window(mask, rows, columns)) for mask in (a, b)]
    return contour_f(contours[0], contours[1], radius)


def contour(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 0 or 1: pixels that differ from their right, lower or lower right neighbor."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def contour_f(a: NDArray[np.uint8], b: NDArray[np.uint8], radius: int) -> float:
    """F of two contours (H, W) of 0 and 1 that may be up to `radius` pixels apart."""
    near_a, near_b = (cv2.dilate(each, _disk(radius)) for each in (a, b))
    count_a, count_b = int(a.sum()), int(b.sum())
    if not count_a or not count_b:
        return float(count_a == count_b)
    precision, recall = int((a & near_b).sum()) / count_a, int((b & near_a).sum()) / count_b
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@cache
def _disk(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
