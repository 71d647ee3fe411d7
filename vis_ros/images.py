"""The images of `sensor_msgs/Image` and `sensor_msgs/CompressedImage` as arrays, without ROS and without cv_bridge.

Pictures end as (H, W, 3) uint8 BGR, contiguous; depth as it is. The encoding names are those of
`sensor_msgs/image_encodings.hpp`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class ImageError(ValueError):
    """An image that cannot be read; the message names the value that is wrong."""


_BYTES_PER_PIXEL = {
    **dict.fromkeys(('mono8', '8UC1', 'bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8', 'nv12', 'nv21'), 1),
    **dict.fromkeys(('mono16', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'), 2),
    **dict.fromkeys(('bgr8', 'rgb8', '8UC3'), 3),
    **dict.fromkeys(('bgra8', 'rgba8'), 4),
}

# OpenCV names a Bayer pattern after its second row and second column, ROS after its first two rows: rggb is BG there.
_TO_BGR = {
    'mono8': cv2.COLOR_GRAY2BGR,
    '8UC1': cv2.COLOR_GRAY2BGR,
    'mono16': cv2.COLOR_GRAY2BGR,
    'rgb8': cv2.COLOR_RGB2BGR,
    'rgba8': cv2.COLOR_RGBA2BGR,
    'bgra8': cv2.COLOR_BGRA2BGR,
    'bayer_rggb8': cv2.COLOR_BayerBG2BGR,
    'bayer_bggr8': cv2.COLOR_BayerRG2BGR,
    'bayer_gbrg8': cv2.COLOR_BayerGR2BGR,
    'bayer_grbg8': cv2.COLOR_BayerGB2BGR,
    'yuv422': cv2.COLOR_YUV2BGR_UYVY,
    'uyvy': cv2.COLOR_YUV2BGR_UYVY,
    'yuv422_yuy2': cv2.COLOR_YUV2BGR_YUY2,
    'yuyv': cv2.COLOR_YUV2BGR_YUY2,
    'nv12': cv2.COLOR_YUV2BGR_NV12,
    'nv21': cv2.COLOR_YUV2BGR_NV21,
}

ENCODINGS = tuple(_BYTES_PER_PIXEL)
"""Every encoding that `decode_image` reads."""

DEPTH_ENCODINGS = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}
"""Every encoding that `decode_depth` reads, and its numbers."""

_PLANAR = ('nv12', 'nv21')  # a plane of brightness, then half as many rows of interleaved colour
_PAIRED = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', *_PLANAR)  # two neighbours share their colour


def decode_image(encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Any) -> NDArray[np.uint8]:
    """The pixels of a `sensor_msgs/Image` as BGR.

    Args:
        encoding: one of ENCODINGS. '8UC3' is read as BGR. mono16 is divided by 257, so that 65535 becomes 255: a fixed
            scale, the same in every frame. YUV is ITU-R BT.601 with limited range, as cameras and cv_bridge have it.
        height: in pixels.
        width: in pixels.
        step: bytes from the start of one row to the start of the next; padding behind a row is skipped.
        is_bigendian: byte order of mono16; other encodings have none.
        data: anything with the buffer protocol (array.array, bytes, ndarray of uint8).

    Returns:
        (height, width, 3) uint8 BGR, contiguous. For bgr8 and 8UC3 without padding it is a view of `data`, not a copy.

    Raises:
        ImageError: unknown encoding, no pixels, a step smaller than a row, data shorter than the rows need, or a size
            that the encoding cannot have.
    """
    if encoding not in _BYTES_PER_PIXEL:
        raise ImageError(f'encoding {encoding!r} is not supported; supported are {", ".join(ENCODINGS)}')
    _check_size(encoding, height, width)
    rows = _rows(encoding, height, width * _BYTES_PER_PIXEL[encoding], step, data)
    if encoding == 'mono16':
        values = np.ascontiguousarray(rows).view('>u2' if is_bigendian else '<u2').astype(np.uint16, copy=False)
        pixels = cv2.convertScaleAbs(values, alpha=1 / 257)
    else:
        pixels = rows.reshape(len(rows), width, -1)
    code = _TO_BGR.get(encoding)
    return np.ascontiguousarray(pixels if code is None else cv2.cvtColor(pixels, code), np.uint8)


def decode_depth(encoding: str, height: int, width: int, step: int, is_bigendian: bool, data: Any) -> NDArray[Any]:
    """The numbers of a depth image, as REP-118 has them.

    Args:
        encoding: one of DEPTH_ENCODINGS.
        height, width, step, is_bigendian, data: as for `decode_image`.

    Returns:
        (height, width) uint16 in millimetres, 0 where unknown, or float32 in metres, not finite where unknown; a view
        of `data` where it has no padding and the byte order of this machine.

    Raises:
        ImageError: as of `decode_image`.
    """
    if encoding not in DEPTH_ENCODINGS:
        raise ImageError(f'depth of encoding {encoding!r} is not supported; supported are {", ".join(DEPTH_ENCODINGS)}')
    _check_size(encoding, height, width)
    dtype = np.dtype(DEPTH_ENCODINGS[encoding]).newbyteorder('>' if is_bigendian else '<')
    rows = np.ascontiguousarray(_rows(encoding, height, width * dtype.itemsize, step, data))
    return rows.view(dtype).astype(dtype.newbyteorder('='), copy=False)


def _check_size(encoding: str, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f'the image has no pixels: it is {width}x{height} (width x height)')
    if (encoding in _PAIRED and width % 2) or (encoding in _PLANAR and height % 2):
        raise ImageError(
            f'an image of {width}x{height} cannot be {encoding}: its colours are shared by pairs of pixels'
        )
    if encoding.startswith('bayer') and min(height, width) < 3:
        raise ImageError(f'an image of {width}x{height} is too small for {encoding}: 3x3 is the least')


def _rows(encoding: str, height: int, row: int, step: int, data: Any) -> NDArray[np.uint8]:
    """(rows, bytes of one row) uint8 view of the data without the padding."""
    if step < row:
        raise ImageError(f'step {step} is smaller than a row: its pixels of {encoding} are {row} bytes')
    count = height * 3 // 2 if encoding in _PLANAR else height
    buffer = np.frombuffer(data, np.uint8)
    if len(buffer) < count * step:
        raise ImageError(
            f'data has {len(buffer)} bytes, but {count} rows with a step of {step} are {count * step} bytes'
        )
    return buffer[: count * step].reshape(count, step)[:, :row]


def decode_compressed(format: str, data: Any) -> NDArray[np.uint8]:
    """The pixels of a `sensor_msgs/CompressedImage` (JPEG or PNG) as BGR.

    Args:
        format: as compressed_image_transport writes it ('jpeg', 'png', 'rgb8; jpeg compressed bgr8'), or empty. Only
            'compressed rgb8' changes the result: red and blue were swapped when that was written.
        data: the bytes of the file. An EXIF orientation is ignored, as compressed_image_transport does: the pixels
            stay where the camera calibration expects them.

    Returns:
        (height, width, 3) uint8 BGR, contiguous.

    Raises:
        ImageError: neither JPEG nor PNG, or the file is cut off or damaged so that it shows; what is wrong inside a
            JPEG that has its end does not.
    """
    buffer = np.frombuffer(data, np.uint8)
    kind = _container(buffer)
    if kind is None:
        raise ImageError(
            f'compressed image with format {format!r} is neither JPEG nor PNG: its {len(buffer)} bytes begin with '
            f'{bytes(buffer[:4]).hex(" ") or "nothing"}'
        )
    # Some OpenCV versions fill what is missing with grey and call it a success; that must not reach the memory.
    whole = kind == 'PNG' or _has_end_of_image(buffer)
    image = _decode_file(buffer) if whole else None
    if image is None:
        raise ImageError(f'corrupt {kind}: {len(buffer)} bytes with format {format!r} cannot be decoded')
    if 'compressed rgb' in format:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(image, np.uint8)


def _container(buffer: NDArray[np.uint8]) -> str | None:
    start = bytes(buffer[:8])
    if start.startswith(b'\xff\xd8\xff'):
        return 'JPEG'
    return 'PNG' if start == b'\x89PNG\r\n\x1a\n' else None


def _has_end_of_image(buffer: NDArray[np.uint8]) -> bool:
    """Whether a JPEG ends with its EOI marker; cameras may append padding."""
    end = bytes(buffer[-4096:]).rstrip(b'\0') or bytes(buffer).rstrip(b'\0')
    return b'\xff\xd9' in end[-64:]


def _decode_file(buffer: NDArray[np.uint8]) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
