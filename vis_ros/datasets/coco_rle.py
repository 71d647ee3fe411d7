"""Masks of whole images in the form of pycocotools: {'size', 'counts'} with a compressed run-length string.

The run-length code itself is in `vis_ros.masks.rle`; pycocotools decodes many masks and measures them fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco

from vis_ros.masks.rle import MaskRuns, compress, decode_window, decompress
from vis_ros.masks.rle import encode as encode_runs


class Rle(TypedDict):
    """A mask of (height, width) = `size`; `counts` is COCO's compressed string, see `vis_ros.masks.rle.compress`."""

    size: list[int]
    counts: bytes


def encode(mask: NDArray[Any]) -> Rle:
    """The code of a mask (H, W), 0 or not."""
    return {'size': list(mask.shape), 'counts': compress(encode_runs(mask))}


def encode_crop(mask: NDArray[np.uint8], roi: ArrayLike, size: tuple[int, int]) -> Rle:
    """The code of a whole image (height, width) for a mask that is stored as the crop of its roi x0 y0 x1 y1."""
    return {'size': list(size), 'counts': compress(MaskRuns.of(mask, roi, size).image)}


def decode(rle: Rle) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1."""
    return coco.decode(rle)


def window(rle: Rle, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1: some rows and columns of a mask, see `vis_ros.masks.rle.decode_window`."""
    return decode_window(decompress(rle['counts']), rle['size'][0], rows, columns)


def areas(rles: Sequence[Rle]) -> NDArray[np.int64]:
    """(N,) pixels of each mask."""
    return np.asarray(coco.area(list(rles)), np.int64).reshape(-1)


def iou(results: Sequence[Rle], truth: Sequence[Rle]) -> NDArray[np.float64]:
    """(N, T) intersection over union of each pair; 0 where both masks are empty."""
    if not results or not truth:
        return np.zeros((len(results), len(truth)))
    return np.nan_to_num(coco.iou(list(results), list(truth), [0] * len(truth)))
