"""A window of a run-length coded mask: decoding all of a large image for a small object costs many times as much."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.rle import Rle
from vis_ros.masks.run_lengths import run_lengths


def decode_window(rle: Rle, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1: some rows and columns of a mask; `columns` begins and ends inside the image."""
    height = rle['size'][0]
    first, last = columns.start * height, columns.stop * height
    ends = np.clip(np.cumsum(run_lengths(rle['counts'])), first, last)
    lengths = ends - np.concatenate([[first], ends[:-1]])
    values = (np.arange(len(lengths)) % 2).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(-1, height)[:, rows].T)
