"""The encodings of masks in messages: `encode` a crop to the bytes of InstanceMask.mask_data, `decode` them again."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks import rle
from vis_ros.masks.crop import Mask

MASK_NONE, MASK_MONO8, MASK_BITS, MASK_RLE, MASK_PNG = range(5)
"""Values of `mask_encoding` in vis_ros/msg/InstanceMask."""

ENCODINGS = {'none': MASK_NONE, 'mono8': MASK_MONO8, 'bits': MASK_BITS, 'rle': MASK_RLE, 'png': MASK_PNG}
"""Name of each encoding -> its number in the message."""

_LARGEST_CROP = 1 << 28  # pixels; a corrupt header must not make the decoder allocate more


def encode(mask: Mask, encoding: str | int) -> bytes:
    """The crop as the bytes of `InstanceMask.mask_data`.

    Args:
        mask: (height, width) uint8 or bool; every pixel that is not 0 is set.
        encoding: a name of ENCODINGS or its number:
            'none'   no bytes;
            'mono8'  one byte per pixel, row-major, 0 or 255;
            'bits'   one bit per pixel, row-major over the whole crop, first pixel in the most significant bit, padded
                     with 0 at the end (the order of numpy.packbits);
            'rle'    little-endian uint32 run lengths, column-major, background first (COCO's uncompressed RLE);
            'png'    8-bit grayscale PNG, 0 or 255; no bytes for a crop without pixels.

    Raises:
        ValueError: unknown encoding, or the mask does not have two dimensions.
    """
    return encoded(mask, encoding).tobytes()


def encoded(mask: Mask, encoding: str | int) -> NDArray[np.uint8]:
    """The same as `encode` as an array (B,), for a message that copies it."""
    name = encoding_name(encoding)
    if mask.ndim != 2:
        raise ValueError(f'a mask has shape (height, width), not {mask.shape}')
    if name == 'none':
        return np.zeros(0, np.uint8)
    if name == 'rle':
        return np.frombuffer(rle_bytes(rle.encode(mask)), np.uint8)
    if name == 'bits':
        return np.packbits(mask)
    if not mask.size:
        return np.zeros(0, np.uint8)
    import cv2  # here, because decoding the other encodings needs numpy only

    _, pixels = cv2.threshold(mask.view(np.uint8), 0, 255, cv2.THRESH_BINARY)
    if name == 'png':
        _, pixels = cv2.imencode('.png', pixels)
    return pixels.reshape(-1)


def decode(data: bytes | bytearray | memoryview | ArrayLike, encoding: str | int, height: int, width: int) -> Mask:
    """The (height, width) uint8 crop, 0 or 1, of `InstanceMask.mask_data`.

    >>> import numpy as np
    >>> mask = np.array([[0, 1, 1]], np.uint8)
    >>> decode(encode(mask, 'rle'), 'rle', 1, 3)
    array([[0, 1, 1]], dtype=uint8)

    Args:
        data: the message's bytes: bytes, array.array or anything else with a buffer of bytes.
        encoding: a name of ENCODINGS or its number, as in the message.
        height: of the crop in pixels, `roi.height` of the message.
        width: of the crop in pixels, `roi.width` of the message.

    Raises:
        ValueError: unknown encoding, encoding 'none' (the message has no mask), an impossible size, or data that do
            not fill exactly height x width pixels.
    """
    name = encoding_name(encoding)
    if name == 'none':
        raise ValueError("mask encoding 'none': the message has only the box, no mask")
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
        flat = _decode_rle(buffer, height, width)
    else:
        flat = _decode_png(buffer, height, width)
    return flat.reshape(height, width)


def encoding_name(encoding: str | int) -> str:
    """The name of an encoding given by name or by number.

    Raises:
        ValueError: it is not in ENCODINGS.
    """
    for name, number in ENCODINGS.items():
        if encoding in (name, number):
            return name
    known = ', '.join(f'{name} ({number})' for name, number in ENCODINGS.items())
    raise ValueError(f'unknown mask encoding {encoding!r}; the encodings are {known}')


def _check_length(buffer: Mask, expected: int, name: str, height: int, width: int) -> None:
    if len(buffer) != expected:
        raise ValueError(
            f'{name} mask of height {height} and width {width} needs {expected} bytes, the message has {len(buffer)}'
        )


def rle_bytes(runs: rle.Runs) -> bytes:
    """The 'rle' encoding of a crop whose runs are known, the same as `encode(mask, 'rle')`."""
    return runs.astype('<u4').tobytes()


def _decode_rle(buffer: Mask, height: int, width: int) -> Mask:
    if len(buffer) % 4:
        raise ValueError(f'rle mask has {len(buffer)} bytes, which is not a whole number of uint32 run lengths')
    return rle.decode(buffer.view('<u4'), height, width)


def _decode_png(buffer: Mask, height: int, width: int) -> Mask:
    import cv2

    if not height * width:
        _check_length(buffer, 0, 'png', height, width)
        return np.zeros(0, np.uint8)
    header = buffer[:24].tobytes()
    if len(header) < 24 or header[:8] != b'\x89PNG\r\n\x1a\n':
        raise ValueError(f'png mask of {len(buffer)} bytes does not start as a PNG file')
    # Read the size from the header first: the decoder would allocate whatever a corrupt header asks for.
    size = int.from_bytes(header[20:24], 'big'), int.from_bytes(header[16:20], 'big')
    if size != (height, width):
        raise ValueError(f'png mask is {size[0]} high and {size[1]} wide, the message says {height} and {width}')
    image = cv2.imdecode(buffer, cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (height, width):
        raise ValueError(f'png mask of {len(buffer)} bytes cannot be decoded: the data are damaged or truncated')
    return np.not_equal(image, 0).view(np.uint8)
