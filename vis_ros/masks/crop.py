"""A mask as the crop of its window: its tight box, its area and its centroid.

A mask is the (height, width) uint8 crop, 0 or 1, of an integer window of the source image, its `roi` = x0 y0 x1 y1
(x1 and y1 exclusive). Nothing here touches a full frame, except `tight_box`, which makes the window of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def areas_and_centroids(
    masks: Sequence[Mask], rois: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many pixels of each of N masks are set, and where their mean is.

    Args:
        masks: N crops of their rois.
        rois: (N, 4) x0 y0 x1 y1 in source pixels.

    Returns:
        (N,) numbers of pixels, and (N, 2) x and y in source pixels, NaN for an empty mask. Continuous coordinates, as
        of boxes: the pixel in column 0 has its center at x = 0.5.
    """
    import cv2  # here, because decoding a message's mask needs numpy only

    areas, centroids = np.zeros(len(masks), np.int64), np.full((len(masks), 2), np.nan)
    filled = [index for index, mask in enumerate(masks) if mask.size]
    if not filled:
        return areas, centroids
    lines = [  # how many pixels are set in each column of a mask, then in each of its rows
        cv2.reduce(masks[index], axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for index in filled for axis in (0, 1)
    ]
    counts, lengths = np.concatenate(lines), np.array([len(line) for line in lines])
    starts = np.cumsum(lengths) - lengths
    places = np.arange(0.5, len(counts)) - np.repeat(starts, lengths)
    sums = np.add.reduceat(counts * places, starts).reshape(-1, 2)
    areas[filled] = np.add.reduceat(counts, starts)[::2]
    with np.errstate(invalid='ignore'):
        centroids[filled] = rois[filled, :2] + sums / areas[filled, None]
    return areas, centroids
