"""Pictures whose pixels are numbers of objects (DAVIS): PNG with a palette, grey, or in the colours of that palette.

OpenCV turns a palette into colours and cannot write one. A PNG with a palette differs from a grey one in its header
and its PLTE chunk alone (PNG specification, 11.2), so it is written and read as a grey one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_GREY, _INDEXED = 0, 3


def _voc_palette() -> NDArray[np.uint8]:
    numbers = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((numbers >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return palette


VOC_PALETTE = _voc_palette()
"""(256, 3) RGB of each number: its bits spread over the colours, from the highest bit of red, green, blue down."""


def colour_numbers(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 numbers of objects from their colours (H, W, 3) BGR in the palette of VOC.

    That palette spreads the bits of a number over its colour: bit 0 is the highest bit of red, bit 1 of green, bit 2 of
    blue, bit 3 the next of red, and so on.
    """
    blue, green, red = (colours[..., channel] for channel in range(3))
    numbers = np.zeros(colours.shape[:2], np.uint8)
    for bit in range(8):
        channel = (red, green, blue)[bit % 3]
        numbers |= ((channel >> (7 - bit // 3)) & 1) << bit
    return numbers


@dataclass(frozen=True, eq=False)
class MaskPicture:
    """What a mask picture holds before it is known what its values mean.

    meaning: 'numbers' where a palette says that the values are numbers of objects; 'grey' values, which may be numbers
        or 0 and 255 for one object; 'colours' (of VOC_PALETTE, or greys).
    values: (H, W) uint8, or for colours (H, W, 3) uint8 BGR.
    """

    meaning: Literal['numbers', 'grey', 'colours']
    values: NDArray[np.uint8]


def read(data: bytes) -> MaskPicture:
    """Decode a PNG. Raises ValueError where it is none, is damaged, or has 16 bits a pixel."""
    if data[:8] != _SIGNATURE or data[12:16] != b'IHDR' or len(data) < 33:
        raise ValueError(f'is no PNG: its {len(data)} bytes begin with {data[:4].hex(" ") or "nothing"}')
    chunks = _chunks(data)
    depth, colour_type = data[24], data[25]
    if depth == 16:
        raise ValueError('has 16 bits a pixel, expected 8 (the pictures of KITTI-MOTS have 16: give its text)')
    if colour_type != _INDEXED:
        values = _decode(data)
        return MaskPicture('colours' if values.ndim == 3 else 'grey', values[..., :3] if values.ndim == 3 else values)
    palette = b''
    kept = [_SIGNATURE]
    for kind, content in chunks:
        if kind == b'PLTE':
            palette = content
        elif kind == b'IHDR':
            kept.append(_chunk(kind, content[:9] + bytes([_GREY]) + content[10:]))
        elif kind in (b'IDAT', b'IEND'):
            kept.append(_chunk(kind, content))
    values = _decode(b''.join(kept)) // (255 // ((1 << depth) - 1))  # fewer bits a pixel are stretched to 0 ... 255
    white = palette[3 * 255 : 3 * 256] == b'\xff\xff\xff'  # as in a ramp of greys
    return MaskPicture('grey' if white else 'numbers', values.astype(np.uint8))


def write(numbers: NDArray[np.uint8]) -> bytes:
    """A PNG with VOC_PALETTE of (H, W) uint8 numbers of objects."""
    _, grey = cv2.imencode('.png', np.ascontiguousarray(numbers))
    chunks = [_SIGNATURE]
    for kind, content in _chunks(grey.tobytes()):
        if kind == b'IHDR':
            chunks += [
                _chunk(kind, content[:9] + bytes([_INDEXED]) + content[10:]),
                _chunk(b'PLTE', VOC_PALETTE.tobytes()),
            ]
        elif kind in (b'IDAT', b'IEND'):
            chunks.append(_chunk(kind, content))
    return b''.join(chunks)


def is_grey(colours: NDArray[np.uint8]) -> bool:
    """Whether all pixels of (H, W, 3) have red, green and blue the same."""
    return bool((colours == colours[..., :1]).all())


def checked_numbers(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8 numbers from the colours of VOC_PALETTE. Raises ValueError that names a colour it does not have."""
    numbers = colour_numbers(colours)
    foreign = (VOC_PALETTE[numbers] != colours[..., ::-1]).any(-1)
    if foreign.any():
        y, x = np.argwhere(foreign)[0].tolist()
        red, green, blue = colours[y, x, ::-1].tolist()
        raise ValueError(f'has the colour ({red}, {green}, {blue}) at x {x}, y {y}, which is no number of an object')
    return numbers


def _decode(data: bytes) -> NDArray[np.uint8]:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f'cannot be decoded: {error}') from error
    if image is None:
        raise ValueError(f'cannot be decoded: its {len(data)} bytes are damaged or cut short')
    return np.asarray(image, np.uint8)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        content = data[position + 8 : position + 8 + length]
        code = data[position + 8 + length : position + 12 + length]
        if code != struct.pack('>I', zlib.crc32(kind + content)):
            raise ValueError(f'is damaged or cut short at byte {position} of {len(data)}')
        chunks.append((kind, content))
        position += 12 + length
    if not chunks or chunks[-1][0] != b'IEND':
        raise ValueError(f'is cut short after {len(data)} bytes')
    return chunks


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
