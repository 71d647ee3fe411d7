"""What the header of an image file says, checked before anything is decoded: size, completeness, plausibility."""

from __future__ import annotations

import os
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_IMAGE = int(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])
"""Largest number of pixels of an image; OpenCV's own environment variable changes it. See `vis_ros/__init__.py`."""

_MOST_SCANS = 100
"""Scans of a progressive JPEG, of which encoders write about ten. Each costs a pass over the whole image."""

_PIXELS_PER_BYTE = 512
"""The shortest code of a JPEG has one bit for a block of 8x8 pixels."""

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Color type of a PNG -> channels."""

_PNG_SLACK = 1 << 16
"""Bytes by which compressed pixels of a PNG may be more than the pixels."""

_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_END_OF_SCAN = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_SOS, _EOI = 0xDA, 0xD9
_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
_NO_FRAME = {0xC4, 0xC8, 0xCC}
"""Markers between 0xC0 and 0xCF that do not start a frame."""


class ImageError(ValueError):
    """An image cannot be decoded; the message names the value that is wrong."""


def is_jpeg(data: NDArray[np.uint8]) -> bool:
    """Whether the bytes start as a JPEG."""
    return bytes(data[:3]) == b'\xff\xd8\xff'


def is_png(data: NDArray[np.uint8]) -> bool:
    """Whether the bytes start as a PNG."""
    return bytes(data[:8]) == _PNG_SIGNATURE


def check_file(data: NDArray[np.uint8]) -> None:
    """Check the header of a JPEG, PNG or BMP and that its end is there; other formats are left to OpenCV.

    Raises:
        ImageError: the image is larger than LARGEST_IMAGE, truncated, or a decompression bomb.
    """
    start = bytes(data[:30])
    if is_jpeg(data):
        _check_jpeg(data.data)
    elif is_png(data):
        _check_png(data.data)
    elif start[:2] == b'BM' and len(start) == 30:
        _check_bmp(start, len(data))


def further_images(data: NDArray[np.uint8]) -> int:
    """Number of frames of an animated PNG or WebP after the first; 0 for other files, and for damaged ones."""
    file = data.data
    try:
        if is_png(data):
            position = len(_PNG_SIGNATURE)
            while (kind := bytes(file[position + 4 : position + 8])) not in (b'acTL', b'IDAT', b''):
                position += 12 + struct.unpack_from('>I', file, position)[0]
            return max(struct.unpack_from('>I', file, position + 8)[0] - 1, 0) if kind == b'acTL' else 0
        if bytes(file[:4]) == b'RIFF' and bytes(file[8:12]) == b'WEBP':
            position, frames = 12, 0
            while position + 8 <= len(file):
                kind, length = struct.unpack_from('<4sI', file, position)
                frames += kind == b'ANMF'
                position += 8 + length + length % 2
            return max(frames - 1, 0)
    except struct.error:
        pass
    return 0


def check_size(width: int, height: int) -> None:
    """Raise ImageError for an image without pixels, or with more than LARGEST_IMAGE."""
    if width < 1 or height < 1:
        raise ImageError(f'the image has no pixels: it is {width}x{height} (width x height)')
    if width * height > LARGEST_IMAGE:
        raise ImageError(f'the image has {width}x{height} pixels, more than the limit of {LARGEST_IMAGE}')


def _check_jpeg(data: memoryview) -> None:
    size, scan = _jpeg_frame(data)
    check_size(*size)
    if size[0] * size[1] > _PIXELS_PER_BYTE * len(data):
        raise ImageError(f'corrupt JPEG: its header says {size[0]}x{size[1]} pixels, but it has {len(data)} bytes')
    # Most files end with the marker; others have a thumbnail, a video or padding behind it.
    end = bytes(data[-4096:]).rstrip(b'\0')[-64:]
    if b'\xff\xd9' not in end and not _jpeg_ends(data, scan):
        raise ImageError(f'corrupt JPEG: it breaks off after {len(data)} bytes')
    scans = bytes(data[scan:]).count(b'\xff\xda') if _is_progressive(data, scan) else 1
    if scans > _MOST_SCANS:
        raise ImageError(f'corrupt JPEG: it has {scans} scans, more than the limit of {_MOST_SCANS}')


def _jpeg_frame(data: memoryview) -> tuple[tuple[int, int], int]:
    """(width, height) and the position of the first scan."""
    size, position = None, 2
    try:
        while True:
            marker = data[position + 1]
            if data[position] != 0xFF:
                raise ImageError(f'corrupt JPEG: no marker at byte {position}')
            if marker == 0xFF or marker in _NO_LENGTH:
                position += 1 if marker == 0xFF else 2
                continue
            if marker == _SOS:
                break
            if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
                height, width = struct.unpack_from('>HH', data, position + 5)
                size = width, height
            position += 2 + struct.unpack_from('>H', data, position + 2)[0]
    except (IndexError, struct.error):
        raise ImageError(f'corrupt JPEG: it breaks off after {len(data)} bytes, in its header') from None
    if size is None:
        raise ImageError('corrupt JPEG: it has no size')
    return size, position


def _is_progressive(data: memoryview, scan: int) -> bool:
    return b'\xff\xc2' in bytes(data[:scan]) or b'\xff\xca' in bytes(data[:scan])


def _jpeg_ends(data: memoryview, position: int) -> bool:
    """Whether an end marker follows the scans that start at `position`."""
    while position + 4 <= len(data):
        marker = data[position + 1]
        if marker == _EOI:
            return True
        position += 2 + struct.unpack_from('>H', data, position + 2)[0]
        found = _END_OF_SCAN.search(data, position)
        if found is None:
            return False
        position = found.start()
    return position + 2 <= len(data) and data[position + 1] == _EOI


def _check_png(data: memoryview) -> None:
    try:
        width, height, depth, color = struct.unpack_from('>IIBB', data, 16)
        check_size(width, height)
        position, kind, compressed = len(_PNG_SIGNATURE), b'', 0
        while kind != b'IEND':
            length, kind = struct.unpack_from('>I4s', data, position)
            position += 12 + length
            compressed += length if kind == b'IDAT' else 0
    except struct.error:
        raise ImageError(f'corrupt PNG: it breaks off after {len(data)} bytes') from None
    if position > len(data):
        raise ImageError(f'corrupt PNG: it breaks off after {len(data)} bytes')
    pixels = height * (2 + width * depth * _PNG_CHANNELS.get(color, 4) // 8)
    if compressed > pixels + pixels // 64 + _PNG_SLACK:
        raise ImageError(f'corrupt PNG: {compressed} bytes are too many for an image of {width}x{height}')


def _check_bmp(start: bytes, length: int) -> None:
    offset: Any
    (offset,) = struct.unpack_from('<I', start, 10)
    width, height, _, bits = struct.unpack_from('<iiHH', start, 18)
    check_size(width, abs(height))
    is_plain = bits in (24, 32)
    expected = offset + (width * bits + 31) // 32 * 4 * abs(height)
    if is_plain and length < expected:
        raise ImageError(f'corrupt BMP: it has {length} bytes, expected {expected}')
