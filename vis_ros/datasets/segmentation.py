"""The `segmentation` field of COCO and YouTube-VIS files: polygons, run lengths or compressed run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import Rle
from vis_ros.datasets.problems import is_integer, shown
from vis_ros.masks.rle import decompress

_LONGEST_OUTLINE = 1 << 20
"""Largest length of all outlines of an object in pixels: each costs memory and time when a polygon is drawn."""

_MOST_CHARACTERS = 7
"""Of the compressed code of a run length."""

_POLYGON_COST = 100
"""Pixels that a polygon counts as, however small it is."""


def fault(segmentation: Any, size: tuple[int, int]) -> str | None:
    """What is wrong with a segmentation of an image of (height, width), in words; None if it is valid."""
    if isinstance(segmentation, dict):
        return _run_length_fault(segmentation, size)
    if isinstance(segmentation, list) and segmentation:
        faults = (_polygon_fault(polygon, size) for polygon in segmentation)
        first = next((f'polygon {number}: {text}' for number, text in enumerate(faults) if text), None)
        return first or _too_long(segmentation)
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
    if len(rles) > 2:  # one after the other, the growing union would be read once for each of them
        rles = [union(rles[: len(rles) // 2]), union(rles[len(rles) // 2 :])]
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
    pixels = size[0] * size[1]
    most = (pixels + 2) * (_MOST_CHARACTERS if isinstance(counts, str) else 1)
    if isinstance(counts, str | list | np.ndarray) and len(counts) > most:
        return f'run-length code: its length is {len(counts)}, but the image has {pixels} pixels'
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
    beyond = (runs < 0) | (runs > pixels)
    if beyond.any():
        return f'run-length code: a run length is {runs[beyond][0]}, but the image has {pixels} pixels'
    if runs.sum() != pixels:
        return f'run lengths sum to {runs.sum()}, but the image has {size[0]} x {size[1]} = {pixels} pixels'
    return None


def _too_long(polygons: list[Any]) -> str | None:
    """Whether the outlines of valid polygons are too long to draw them."""
    length = 0.0
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1)
        length += _POLYGON_COST + len(points) + float(steps.sum())
    if length <= _LONGEST_OUTLINE:
        return None
    return f'{len(polygons)} polygons have outlines of {length:.0f} pixels, more than the limit of {_LONGEST_OUTLINE}'


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
