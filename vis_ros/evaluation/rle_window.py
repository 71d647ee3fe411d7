"""A window of a run-length coded mask: decoding all of a large image for a small object costs many times as much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.annotations.rle import Rle


def decode_window(rle: Rle, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1: some rows and columns of a mask; `columns` begins and ends inside the image."""
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
