"""The `segmentation` field of COCO and YouTube-VIS files: polygons, run lengths or compressed run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import Rle
from vis_ros.datasets.problems import is_integer, shown
from vis_ros.masks.rle import decompress


def fault(segmentation: Any, size: tuple[int, int]) -> str | None:
    """What is wrong with a segmentation of an image of (height, width), in words; None if it is valid."""
    if isinstance(segmentation, dict):
        return _run_length_fault(segmentation, size)
    if isinstance(segmentation, list) and segmentation:
        faults = (_polygon_fault(polygon, size) for polygon in segmentation)
        return next((f'polygon {number}: {text}' for number, text in enumerate(faults) if text), None)
    return f'is {shown(segmentation)}, expected null, polygons or a run-length code'


def to_rle(segmentation: Any, size: tuple[int, int]) -> Rle:
    """The mask of a valid segmentation. Several polygons belong to one object."""
    if isinstance(segmentation, list):
        return union([coco.frPyObjects([polygon], *size)[0] for polygon in segmentation])
    if isinstance(segmentation['counts'], str):
        return {'size': list(size), 'counts': segmentation['counts'].encode('ascii')}
    return coco.frPyObjects(segmentation, *size)


def uncompressed(rle: Rle) -> dict[str, Any]:
    """Plain JSON with run lengths, the only form that every reader of YouTube-VIS ground truth supports."""
    return {'size': [int(side) for side in rle['size']], 'counts': decompress(rle['counts']).tolist()}


def compressed(rle: Rle) -> dict[str, Any]:
    """Plain JSON with COCO's compressed code, the usual form of results."""
    return {'size': [int(side) for side in rle['size']], 'counts': rle['counts'].decode('ascii')}


def union(rles: Sequence[Rle]) -> Rle:
    """The union of masks of the same size."""
    return coco.merge(list(rles), intersect=False)


def _run_length_fault(code: dict[str, Any], size: tuple[int, int]) -> str | None:
    for key in ('size', 'counts'):
        if key not in code:
            return f'is a run-length code without {key!r}'
    if list(code['size'] if isinstance(code['size'], (list, tuple)) else []) != list(size):
        return f"run-length code: 'size' is {shown(code['size'])}, expected {list(size)} (height, width)"
    return counts_fault(code['counts'], size)


def counts_fault(counts: Any, size: tuple[int, int]) -> str | None:
    """What is wrong with run lengths (list or array) or their compressed code (str) for an image of (height, width)."""
    if isinstance(counts, str):
        try:
            runs = decompress(counts)
        except ValueError as error:
            return f'compressed run lengths {shown(counts)}: it {error}'
    elif isinstance(counts, np.ndarray):
        runs = counts.astype(np.int64)
    elif isinstance(counts, list) and set(map(type, counts)) <= {int} and is_integer(max(map(abs, counts), default=0)):
        runs = np.asarray(counts, np.int64)
    else:
        return f"run-length code: 'counts' is {shown(counts)}, expected a list of integers or a string"
    pixels = size[0] * size[1]
    beyond = (runs < 0) | (runs > pixels)
    if beyond.any():
        return f'run-length code: a run length is {runs[beyond][0]}, but the image has {pixels} pixels'
    if runs.sum() != pixels:
        return f'run lengths sum to {runs.sum()}, but the image has {size[0]} x {size[1]} = {pixels} pixels'
    return None


def _polygon_fault(polygon: Any, size: tuple[int, int]) -> str | None:
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        return f'is {shown(polygon)}, expected a list of numbers x0 y0 x1 y1 ...'
    if points.ndim != 1 or isinstance(polygon, str):
        return f'is {shown(polygon)}, expected a list of numbers x0 y0 x1 y1 ...'
    if len(points) < 6 or len(points) % 2:
        return f'has {len(points)} numbers, expected x y pairs, at least 3'
    if not np.isfinite(points).all():
        return f'contains {points[~np.isfinite(points)][0]}'
    x, y = points[0::2], points[1::2]
    # Tools round differently, so one pixel beyond the border is accepted and cut off.
    outside = (x < -1) | (x > size[1] + 1) | (y < -1) | (y > size[0] + 1)
    if outside.any():
        point = f'({x[outside][0]:g}, {y[outside][0]:g})'
        return f'has the point {point} outside the image of {size[1]}x{size[0]} pixels'
    return None
