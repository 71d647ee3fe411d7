"""A mask as the crop of its window: its tight box, its area and its centroid.

A mask is the (height, width) uint8 crop, 0 or 1, of an integer window of the source image, its `roi` = x0 y0 x1 y1
(x1 and y1 exclusive). Nothing here touches a full frame, except `tight_box`, which makes the window of one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.uint8]
Roi = NDArray[np.int32]


def tight_box(mask: NDArray[Any]) -> Roi:
    """The smallest window that holds all nonzero pixels of a mask (H, W).

    Returns:
        (4,) int32 x0 y0 x1 y1, x1 and y1 exclusive; all 0 for an empty mask.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros(4, np.int32)
    y0, y1 = rows[0], rows[-1] + 1
    columns = np.flatnonzero(mask[y0:y1].any(axis=0))
    return np.array([columns[0], y0, columns[-1] + 1, y1], np.int32)


def area(mask: NDArray[Any]) -> int:
    """Number of pixels that are set."""
    return int(np.count_nonzero(mask))


def area_and_centroid(mask: Mask, roi: ArrayLike) -> tuple[int, tuple[float, float]]:
    """Number of pixels that are set, and their mean (x, y) in source pixels; NaN for an empty mask.

    Continuous coordinates, as of boxes: the pixel in column 0 has its center at x = 0.5.
    """
    import cv2  # here, because decoding a message's mask needs numpy only

    if not mask.size:
        return 0, (math.nan, math.nan)
    columns = cv2.reduce(mask, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    rows = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    count = int(rows.sum())
    if not count:
        return 0, (math.nan, math.nan)
    x0, y0, *_ = np.asarray(roi).tolist()
    return count, (x0 + _sum_of_positions(columns) / count, y0 + _sum_of_positions(rows) / count)


def _sum_of_positions(counts: NDArray[Any]) -> float:
    return float(np.arange(0.5, len(counts)).dot(counts))
