"""PNG files whose pixels are object numbers (DAVIS): with a palette, in gray, or in the colors of that palette.

OpenCV decodes a palette to colors and cannot write one. A palette PNG differs from a gray one only in the color type
of its header and its PLTE chunk (PNG specification, 11.2), so it is read and written as a gray one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.image_headers import check_file

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_GRAY, _PALETTE = 0, 3


def color_numbers(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Object numbers from colors of the VOC palette.

    The palette spreads the bits of a number over its color: bit 0 is the highest bit of red, bit 1 of green, bit 2 of
    blue, bit 3 the next bit of red, and so on.

    Args:
        colors: (H, W, 3) uint8 BGR.

    Returns:
        (H, W) uint8.
    """
    blue, green, red = (colors[..., channel] for channel in range(3))
    numbers = np.zeros(colors.shape[:2], np.uint8)
    for bit in range(8):
        channel = (red, green, blue)[bit % 3]
        numbers |= ((channel >> (7 - bit // 3)) & 1) << bit
    return numbers


def _voc_palette() -> NDArray[np.uint8]:
    numbers = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((numbers >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


VOC_PALETTE = _voc_palette()
"""(256, 3) uint8 RGB color of each object number, see `color_numbers`."""


@dataclass(frozen=True, eq=False)
class MaskPng:
    """A decoded mask image, before it is known what its values mean.

    Attributes:
        meaning: 'numbers' if a palette shows that the values are object numbers; 'gray' values, which may be object
            numbers, or 0 and 255 for a single object; 'colors', of VOC_PALETTE or gray.
        values: (H, W) uint8, or (H, W, 3) uint8 BGR for colors.
    """

    meaning: Literal['numbers', 'gray', 'colors']
    values: NDArray[np.uint8]


def decode_mask_png(data: bytes) -> MaskPng:
    """Decode a PNG. Raises ValueError if it is not a PNG, is damaged, or has 16 bits per pixel."""
    if data[:8] != _SIGNATURE or data[12:16] != b'IHDR' or len(data) < 33:
        raise ValueError(f'is not a PNG: its {len(data)} bytes start with {data[:4].hex(" ") or "nothing"}')
    chunks = _read_chunks(data)
    depth, color_type = data[24], data[25]
    if depth == 16:
        raise ValueError('has 16 bits per pixel, expected 8 (for KITTI-MOTS use the text files, not the PNG files)')
    if color_type != _PALETTE:
        values = _decode(data)
        return MaskPng('colors' if values.ndim == 3 else 'gray', values[..., :3] if values.ndim == 3 else values)
    values = _decode(_with_color_type(chunks, _GRAY))
    values //= 255 // ((1 << depth) - 1)  # OpenCV stretches fewer bits per pixel to 0 ... 255
    palette = dict(chunks).get(b'PLTE', b'')
    is_gray_ramp = palette[3 * 255 : 3 * 256] == b'\xff\xff\xff'
    return MaskPng('gray' if is_gray_ramp else 'numbers', values)


def encode_mask_png(numbers: NDArray[np.uint8]) -> bytes:
    """A PNG of (H, W) uint8 object numbers with VOC_PALETTE."""
    _, gray = cv2.imencode('.png', np.ascontiguousarray(numbers))
    return _with_color_type(_read_chunks(gray.tobytes()), _PALETTE, VOC_PALETTE.tobytes())


def is_gray(colors: NDArray[np.uint8]) -> bool:
    """Whether red, green and blue are equal in all pixels of (H, W, 3)."""
    return bool((colors == colors[..., :1]).all())


def checked_numbers(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As `color_numbers`. Raises ValueError if a color is not in VOC_PALETTE; names the color and the pixel."""
    numbers = color_numbers(colors)
    foreign = (VOC_PALETTE[numbers] != colors[..., ::-1]).any(-1)
    if foreign.any():
        y, x = np.argwhere(foreign)[0].tolist()
        red, green, blue = colors[y, x, ::-1].tolist()
        raise ValueError(f'has the color ({red}, {green}, {blue}) at x {x}, y {y}, which is not in the VOC palette')
    return numbers


def _decode(data: bytes) -> NDArray[np.uint8]:
    check_file(np.frombuffer(data, np.uint8))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f'cannot be decoded: {error}') from error
    if image is None:
        raise ValueError(f'cannot be decoded: its {len(data)} bytes are damaged or truncated')
    return np.asarray(image, np.uint8)


def _read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a PNG. Raises ValueError if a checksum is wrong or the end is missing."""
    chunks, position = [], len(_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        content = data[position + 8 : position + 8 + length]
        checksum = data[position + 8 + length : position + 12 + length]
        if checksum != struct.pack('>I', zlib.crc32(kind + content)):
            raise ValueError(f'is damaged or truncated at byte {position} of {len(data)}')
        chunks.append((kind, content))
        position += 12 + length
    if not chunks or chunks[-1][0] != b'IEND':
        raise ValueError(f'is truncated after {len(data)} bytes')
    return chunks


def _with_color_type(chunks: Iterable[tuple[bytes, bytes]], color_type: int, palette: bytes = b'') -> bytes:
    """A PNG of the same pixels with another color type and palette. Metadata is dropped."""
    (_, header), *pixels = [chunk for chunk in chunks if chunk[0] in (b'IHDR', b'IDAT', b'IEND')]
    kept = [(b'IHDR', header[:9] + bytes([color_type]) + header[10:]), *pixels]
    if palette:
        kept.insert(1, (b'PLTE', palette))
    return _SIGNATURE + b''.join(
        struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
        for kind, content in kept
    )
