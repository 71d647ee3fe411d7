"""Intersection over union of boxes, and of masks stored as crops.

The detector's graph has a `pairwise_iou` of its own (vis_ros/networks/anchors.py), which must be torch operations of
a fixed shape. For run-length codes of whole images see `vis_ros.datasets.coco_rle.iou`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks.crop import area

Float = TypeVar('Float', bound='np.floating[Any]')


def box_iou(boxes: NDArray[Float], others: NDArray[Float], inclusive: bool = False) -> NDArray[Float]:
    """(N, M) intersection over union of each of the boxes with each of the others; 0 where both are empty.

    Args:
        boxes: (N, 4) x0 y0 x1 y1, float32 or float64, which the result has too.
        others: (M, 4), of the same dtype.
        inclusive: x1 and y1 are the last pixel, so the width is x1 - x0 + 1 (convention of older codes).
    """
    extra = np.float32(inclusive)
    x0, y0, x1, y1 = np.ascontiguousarray(others.T)
    left, top, right, bottom = (boxes[:, [side]] for side in range(4))
    shared = _shared_length(left, right + extra, x0, x1 + extra)
    shared *= _shared_length(top, bottom + extra, y0, y1 + extra)
    union = (right - left + extra) * (bottom - top + extra) + (x1 - x0 + extra) * (y1 - y0 + extra)
    union -= shared
    shared /= np.maximum(union, np.float32(1e-6), out=union)
    return shared


def _shared_length(low: Any, high: Any, other_low: Any, other_high: Any) -> Any:
    length = np.minimum(high, other_high)
    length -= np.maximum(low, other_low)
    return np.maximum(length, 0, out=length)


def mask_iou(mask_a: NDArray[Any], roi_a: ArrayLike, mask_b: NDArray[Any], roi_b: ArrayLike) -> float:
    """Intersection over union of two masks of one image; 0 where both are empty.

    Args:
        mask_a: (height, width) uint8 or bool, 0 or 1, the crop of its roi.
        roi_a: (4,) x0 y0 x1 y1; a mask of the whole image has 0 0 width height.
        mask_b: likewise.
        roi_b: likewise.
    """
    ax0, ay0, ax1, ay1 = np.asarray(roi_a).tolist()
    bx0, by0, bx1, by1 = np.asarray(roi_b).tolist()
    x0, y0, x1, y1 = max(ax0, bx0), max(ay0, by0), min(ax1, bx1), min(ay1, by1)
    shared = 0
    if x1 > x0 and y1 > y0:
        part_a = mask_a[y0 - ay0 : y1 - ay0, x0 - ax0 : x1 - ax0]
        part_b = mask_b[y0 - by0 : y1 - by0, x0 - bx0 : x1 - bx0]
        shared = area(part_a & part_b)
    union = area(mask_a) + area(mask_b) - shared
    return shared / union if union else 0.0
