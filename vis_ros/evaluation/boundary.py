"""Boundary F: how well the contours of two masks agree (Perazzi et al. 2016, DAVIS, section 4)."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vis_ros.annotations.rle import Rle

TOLERANCE = 0.008
"""How far apart contours may be, as a share of the image diagonal."""


def boundary_f(a: Rle, b: Rle) -> float:
    """Harmonic mean of the shares of each contour that lie within the tolerance of the other; 1 where neither has any.

    Only the window around both masks is looked at.
    """
    height, width = a['size']
    radius = int(np.ceil(TOLERANCE * np.hypot(height, width)))
    x, y, w, h = np.asarray(coco.toBbox([a, b]), int).T
    rows = slice(max(0, y.min() - radius - 1), (y + h).max() + radius + 1)
    columns = slice(max(0, x.min() - radius - 1), min(width, (x + w).max() + radius + 1))
    contours = [contour(decode_window(mask, rows, columns)) for mask in (a, b)]
    return contour_f(contours[0], contours[1], radius)


def decode_window(rle: Rle, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """Part of a mask, 0 or 1, without decoding the rest of it; `columns` begins and ends inside the image."""
    height = rle['size'][0]
    first, last = columns.start * height, columns.stop * height
    ends = np.clip(np.cumsum(run_lengths(rle['counts'])), first, last)
    lengths = ends - np.concatenate([[first], ends[:-1]])
    values = (np.arange(len(lengths)) % 2).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(-1, height)[:, rows].T)


def run_lengths(counts: bytes) -> NDArray[np.int64]:
    """Pixels of each run, column by column, zeros first, from COCO's compressed code.

    A number has five bits in each character from '0' on, the lowest first; the sixth bit says that more follow, and the
    highest of the last five is the sign. From the fourth number on it is the difference to the last but one.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - ord('0')
    ends = np.flatnonzero(codes & 32 == 0) + 1
    starts = np.concatenate([[0], ends[:-1]])
    sizes = ends - starts
    places = np.arange(len(codes)) - np.repeat(starts, sizes)
    runs = np.add.reduceat((codes & 31) << 5 * places, starts)
    runs -= np.where(codes[ends - 1] & 16, 1 << 5 * sizes, 0)
    for series in (slice(1, None, 2), slice(2, None, 2)):
        runs[series] = np.cumsum(runs[series])
    return runs


def contour(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) 0 or 1: the pixels whose right, lower or lower right neighbour is on the other side of the edge."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def contour_f(a: NDArray[np.uint8], b: NDArray[np.uint8], radius: int) -> float:
    """F of two contours (H, W) of 0 and 1 that may be `radius` pixels apart."""
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
