"""Run-length codes of whole-image masks, as pycocotools has them: compressed in memory, either form in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco


class Rle(TypedDict):
    """A mask of (height, width) = `size`; `counts` is COCO's compressed code (LEB128 of differences, as ASCII)."""

    size: list[int]
    counts: bytes


def encode(mask: NDArray[Any]) -> Rle:
    """The code of a mask (H, W), 0 or not."""
    return coco.encode(np.asfortranarray(mask != 0, np.uint8))


def encode_crop(mask: NDArray[np.uint8], roi: Sequence[int], size: tuple[int, int]) -> Rle:
    """The code of the whole image (height, width) for a mask that is stored as the crop of its roi x0 y0 x1 y1."""
    whole = np.zeros(size, np.uint8, order='F')
    x0, y0, x1, y1 = (int(value) for value in roi)
    whole[y0:y1, x0:x1] = mask != 0
    return coco.encode(whole)


def decode(rle: Rle) -> NDArray[np.uint8]:
    """(H, W) uint8, 0 or 1."""
    return coco.decode(rle)


def areas(rles: Sequence[Rle]) -> NDArray[np.int64]:
    """(N,) pixels of each mask."""
    return np.asarray(coco.area(list(rles)), np.int64).reshape(-1)


def iou(results: Sequence[Rle], truth: Sequence[Rle]) -> NDArray[np.float64]:
    """(N, T) intersection over union of each pair; 0 where both masks are empty."""
    if not results or not truth:
        return np.zeros((len(results), len(truth)))
    return np.nan_to_num(coco.iou(list(results), list(truth), [0] * len(truth)))
