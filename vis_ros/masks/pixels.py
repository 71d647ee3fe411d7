"""Masks as crops: paste a network's small mask into its box, encode and decode the crop, measure it.

A mask is the (height, width) uint8 crop, 0 or 1, of an integer window of the source image, its `roi` = x0 y0 x1 y1
(x1 and y1 exclusive). Nothing here ever touches a full frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

MASK_NONE, MASK_MONO8, MASK_BITS, MASK_RLE, MASK_PNG = range(5)
"""Values of `mask_encoding` in vis_ros/msg/InstanceMask."""

ENCODINGS = {'none': MASK_NONE, 'mono8': MASK_MONO8, 'bits': MASK_BITS, 'rle': MASK_RLE, 'png': MASK_PNG}
"""Name of each encoding -> its number in the message."""

PasteRule = Literal['grid_sample', 'torchvision', 'mmcv']
Mask = NDArray[np.uint8]
Roi = NDArray[np.int32]

_LARGEST_CROP = 1 << 28  # pixels; a corrupt header must not make the decoder allocate more
_VALUES_AT_ONCE = 1 << 15  # of a large mask: they stay in the processor's cache, and memory is not fetched for them
_LARGEST_COORDINATE = float(1 << 24)  # beyond it float32 no longer tells one pixel from the next


# --- encodings ------------------------------------------------------------------------------------------------------


def encode(mask: Mask, encoding: str | int) -> bytes:
    """The crop as the bytes of `InstanceMask.mask_data`.

    Args:
        mask: (height, width) uint8 or bool; every pixel that is not 0 counts as set.
        encoding: a name of ENCODINGS or its number:
            'none'   no bytes;
            'mono8'  one byte a pixel, row-major, 0 or 255;
            'bits'   one bit a pixel, row-major over the whole crop, first pixel in the most significant bit, padded
                     with 0 at the end (the order of numpy.packbits);
            'rle'    little-endian uint32 run lengths, column-major, background first (COCO's uncompressed RLE);
            'png'    8-bit greyscale PNG, 0 or 255; no bytes for a crop without pixels.

    Raises:
        ValueError: unknown encoding, or the mask has not two dimensions.
    """
    name = encoding_name(encoding)
    if mask.ndim != 2:
        raise ValueError(f'a mask has shape (height, width), not {mask.shape}')
    if name == 'none':
        return b''
    pixels = np.not_equal(mask, 0).view(np.uint8)
    if name == 'mono8':
        return (pixels * np.uint8(255)).tobytes()
    if name == 'bits':
        return np.packbits(pixels).tobytes()
    if name == 'rle':
        return _run_lengths(pixels).tobytes()
    return _encode_png(pixels)


def decode(data: bytes | bytearray | memoryview | ArrayLike, encoding: str | int, height: int, width: int) -> Mask:
    """The (height, width) uint8 crop, 0 or 1, of `InstanceMask.mask_data`.

    >>> import numpy as np
    >>> mask = np.array([[0, 1, 1]], np.uint8)
    >>> decode(encode(mask, 'rle'), 'rle', 1, 3)
    array([[0, 1, 1]], dtype=uint8)

    Args:
        data: the message's bytes: bytes, array.array or anything else with a buffer of bytes.
        encoding: a name of ENCODINGS or its number, as in the message.
        height: of the crop, `roi.height` of the message.
        width: of the crop, `roi.width` of the message.

    Raises:
        ValueError: unknown encoding, encoding 'none' (there is no mask in the message), a size that cannot be, or data
            that do not fill exactly height x width pixels.
    """
    name = encoding_name(encoding)
    if name == 'none':
        raise ValueError("mask encoding 'none' carries no mask: only the box is in the message")
    pixel_count = height * width
    if height < 0 or width < 0 or pixel_count > _LARGEST_CROP:
        raise ValueError(f'a mask of height {height} and width {width} cannot be decoded: the message is corrupt')
    buffer = np.frombuffer(data, np.uint8)  # type: ignore[arg-type]
    if name == 'mono8':
        _check_length(buffer, pixel_count, name, height, width)
        flat = np.not_equal(buffer, 0).view(np.uint8)
    elif name == 'bits':
        _check_length(buffer, (pixel_count + 7) // 8, name, height, width)
        flat = np.unpackbits(buffer, count=pixel_count)
    elif name == 'rle':
        flat = _fill_runs(buffer, height, width)
    else:
        flat = _decode_png(buffer, height, width)
    return flat.reshape(height, width)


def encoding_name(encoding: str | int) -> str:
    """The name in ENCODINGS of an encoding given by name or by number. Raises ValueError if there is none."""
    for name, number in ENCODINGS.items():
        if encoding in (name, number):
            return name
    known = ', '.join(f'{name} ({number})' for name, number in ENCODINGS.items())
    raise ValueError(f'mask encoding {encoding!r} is not known; known are {known}')


def _check_length(buffer: Mask, expected: int, name: str, height: int, width: int) -> None:
    if len(buffer) != expected:
        raise ValueError(
            f'{name} mask of height {height} and width {width} needs {expected} bytes, the message has {len(buffer)}'
        )


def _run_lengths(pixels: Mask) -> NDArray[np.uint32]:
    columns = pixels.ravel(order='F')
    starts = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    bounds = np.concatenate(([0], starts, [columns.size]))
    runs = np.diff(bounds).astype('<u4')
    return np.insert(runs, 0, 0) if columns.size and columns[0] else runs


def _fill_runs(buffer: Mask, height: int, width: int) -> Mask:
    if len(buffer) % 4:
        raise ValueError(f'rle mask has {len(buffer)} bytes, which is not a whole number of uint32 run lengths')
    runs = buffer.view('<u4')
    total = int(runs.sum(dtype=np.uint64))
    if total != height * width:
        raise ValueError(
            f'rle mask of height {height} and width {width} needs runs over {height * width} pixels, '
            f'the message has runs over {total}'
        )
    values = np.arange(len(runs), dtype=np.uint32).astype(np.uint8) & 1
    columns = np.repeat(values, runs)
    return np.ascontiguousarray(columns.reshape(width, height).T)


def _encode_png(pixels: Mask) -> bytes:
    if not pixels.size:
        return b''
    _, data = cv2.imencode('.png', pixels * np.uint8(255))
    return data.tobytes()


def _decode_png(buffer: Mask, height: int, width: int) -> Mask:
    if not height * width:
        _check_length(buffer, 0, 'png', height, width)
        return np.zeros(0, np.uint8)
    header = buffer[:24].tobytes()
    if len(header) < 24 or header[:8] != b'\x89PNG\r\n\x1a\n':
        raise ValueError(f'png mask of {len(buffer)} bytes does not begin as a PNG file')
    # The size is read from the header first: an image decoder would allocate whatever a corrupt header asks for.
    size = int.from_bytes(header[20:24], 'big'), int.from_bytes(header[16:20], 'big')
    if size != (height, width):
        raise ValueError(f'png mask is {size[0]} high and {size[1]} wide, the message says {height} and {width}')
    image = cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (height, width):
        raise ValueError(f'png mask of {len(buffer)} bytes cannot be decoded: the data are damaged or cut short')
    return np.not_equal(image, 0).view(np.uint8)


# --- paste ----------------------------------------------------------------------------------------------------------


def integer_box(box: ArrayLike, image_size: tuple[int, int]) -> Roi:
    """The smallest integer window that holds a box, clipped to the image.

    Args:
        box: (4,) x0 y0 x1 y1 in pixels, continuous coordinates.
        image_size: (height, width).

    Returns:
        (4,) int32 x0 y0 x1 y1, x1 and y1 exclusive, inside the image; without pixels (x0 = x1, y0 = y1) where the box
        has no area, lies outside or is not finite.
    """
    height, width = image_size
    x0, y0, x1, y1 = _coordinates(box)
    if not (x1 > x0 and y1 > y0):
        return np.zeros(4, np.int32)
    return _window((*_clipped(math.floor(x0), math.ceil(x1), width), *_clipped(math.floor(y0), math.ceil(y1), height)))


def paste(
    probability: NDArray[np.float32],
    box: ArrayLike,
    image_size: tuple[int, int],
    rule: PasteRule = 'grid_sample',
    threshold: float = 0.5,
) -> tuple[Mask, Roi]:
    """Resize a network's mask to its box and threshold it, computing only the pixels of the box.

    Bilinear interpolation is separable: along the rows of the small mask, then along the columns of what that gives.

    Args:
        probability: (S, S) float, 28x28 in Mask R-CNN.
        box: (4,) x0 y0 x1 y1 in source pixels, continuous coordinates.
        image_size: (height, width) of the source image.
        rule: where the samples lie; a checkpoint wants the rule of the code that trained it.
            'grid_sample'  mmdet >= 2, detectron2: at the pixel centres, zero outside, >= threshold.
            'torchvision'  torchvision: one cell of zeros around, box grown as much, cut to integers, both ends
                           inclusive, resized, > threshold.
            'mmcv'         the official MaskTrackRCNN: box cut to integers, both ends inclusive, resized, > threshold.
        threshold: probability from which a pixel belongs to the object.

    Returns:
        The crop, (height, width) uint8, 0 or 1, and its (4,) int32 roi inside the image. A box without area, outside
        the image or not finite gives a crop of 0x0 pixels.
    """
    if rule not in _AXES:
        raise ValueError(f'paste rule {rule!r} is not one of {", ".join(_AXES)}')
    axis = _AXES[rule]
    rows, columns = probability.shape
    x0, y0, x1, y1 = _coordinates(box)
    if not (x1 > x0 and y1 > y0):
        return np.zeros((0, 0), np.uint8), np.zeros(4, np.int32)
    left, right, across = axis(x0, x1, image_size[1], columns)
    top, bottom, down = axis(y0, y1, image_size[0], rows)
    roi = _window((left, right, top, bottom))
    if roi[0] == roi[2]:
        return np.zeros((0, 0), np.uint8), roi
    widened = _bordered(_interpolate(_bordered(np.asarray(probability, np.float32).T), across).T)
    inside = np.empty((len(down), len(across)), bool)
    compare = np.greater_equal if rule == 'grid_sample' else np.greater
    rows_at_once = max(_VALUES_AT_ONCE // len(across), 1)
    for first in range(0, len(down), rows_at_once):
        some = slice(first, first + rows_at_once)
        compare(_interpolate(widened, down[some]), threshold, out=inside[some])
    return inside.view(np.uint8), roi


_Axis = tuple[int, int, NDArray[np.floating[Any]]]
"""What a rule says of one axis of the box: its first pixel, the pixel after its last, and where each of them lies among
the cells. Cell k is at k; there is zero at -1 and at the number of cells."""


def _grid_sample_axis(low: float, high: float, limit: int, cells: int) -> _Axis:
    start, stop = _clipped(math.floor(low), math.ceil(high), limit)
    return start, stop, (np.arange(start, stop) + (0.5 - low)) * (cells / (high - low)) - 0.5


def _mmcv_axis(low: float, high: float, limit: int, cells: int) -> _Axis:
    first = int(low)
    length = max(int(high) - first + 1, 1)
    start, stop = _clipped(first, first + length, limit)
    positions = (np.arange(start, stop) + (0.5 - first)) * (cells / length) - 0.5
    return start, stop, np.clip(positions, 0, cells - 1)


def _torchvision_axis(low: float, high: float, limit: int, cells: int) -> _Axis:
    # In float32, step by step: the result is cut to an integer, so the last bit can move the mask by a pixel.
    ends = np.array([low, high], np.float32)
    half = (ends[1] - ends[0]) * np.float32(0.5) * np.float32((cells + 2) / cells)
    centre = (ends[1] + ends[0]) * np.float32(0.5)
    start, stop, positions = _mmcv_axis(float(centre - half), float(centre + half), limit, cells + 2)
    return start, stop, positions - 1


_AXES: dict[str, Callable[[float, float, int, int], _Axis]] = {
    'grid_sample': _grid_sample_axis,
    'torchvision': _torchvision_axis,
    'mmcv': _mmcv_axis,
}


def _bordered(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S + 2, N): a row of zeros before and after (S, N)."""
    bordered = np.zeros((values.shape[0] + 2, values.shape[1]), np.float32)
    bordered[1:-1] = values
    return bordered


def _interpolate(bordered: NDArray[np.float32], positions: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """(P, N) values at P positions between the rows of `_bordered` values, linearly; zero beyond the border."""
    last = len(bordered) - 1
    places = np.clip(positions + 1, 0, last)
    before = np.minimum(places.astype(np.intp), last - 1)
    result: NDArray[np.float32] = bordered[before]
    steps = bordered[before + 1]
    steps -= result
    steps *= (places - before).astype(np.float32)[:, None]
    result += steps
    return result


def _coordinates(box: ArrayLike) -> tuple[float, float, float, float]:
    """The four numbers of a box, or zeros where they make no box."""
    x0, y0, x1, y1 = np.asarray(box, np.float64).tolist()
    if not all(abs(value) <= _LARGEST_COORDINATE for value in (x0, y0, x1, y1)):  # false for NaN too
        return 0.0, 0.0, 0.0, 0.0
    return x0, y0, x1, y1


def _clipped(start: int, stop: int, limit: int) -> tuple[int, int]:
    return min(max(start, 0), limit), min(max(stop, 0), limit)


def _window(sides: tuple[int, int, int, int]) -> Roi:
    """(4,) int32 x0 y0 x1 y1 of left, right, top, bottom; no width where there is no height, and the reverse."""
    left, right, top, bottom = sides
    if right <= left or bottom <= top:
        right, bottom = left, top
    return np.array([left, top, right, bottom], np.int32)


# --- measures -------------------------------------------------------------------------------------------------------


def area(mask: Mask) -> int:
    """Number of pixels that are set."""
    return int(np.count_nonzero(mask))


def centroid(mask: Mask, roi: ArrayLike) -> tuple[float, float]:
    """Mean (x, y) of the pixels that are set, in source pixels; NaN where none is.

    Continuous coordinates, as of boxes: the pixel in column 0 has its centre at x = 0.5.
    """
    if not area(mask):
        return math.nan, math.nan
    columns = cv2.reduce(mask, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    rows = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    x0, y0, *_ = np.asarray(roi).tolist()
    return x0 + _mean_position(columns), y0 + _mean_position(rows)


def _mean_position(counts: NDArray[Any]) -> float:
    weights = counts.astype(np.float64)
    return float(weights.dot(np.arange(0.5, len(weights))) / weights.sum())


def iou(mask_a: Mask, roi_a: ArrayLike, mask_b: Mask, roi_b: ArrayLike) -> float:
    """Intersection over union of two masks of one image, each the crop of its roi; 0 where both are empty."""
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
