"""Decode the images of `sensor_msgs/Image` and `sensor_msgs/CompressedImage` to arrays, without ROS. cv_bridge is asked
only for encodings that are unknown here.

Color images become (H, W, 3) uint8 BGR, contiguous; depth keeps its numbers. The encoding names are those of
`sensor_msgs/image_encodings.hpp`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray


class ImageError(ValueError):
    """An image cannot be decoded; the message names the value that is wrong."""


class ImageMessage(Protocol):
    """The fields of a `sensor_msgs/Image`, of rclpy's or rosbags' classes or any other.

    encoding: name of the pixel format.
    height, width: in pixels.
    step: bytes from the start of one row to the start of the next; padding after a row is skipped.
    is_bigendian: byte order of numbers of more than one byte.
    data: anything with the buffer protocol (array.array, bytes, ndarray of uint8).
    """

    encoding: str
    height: int
    width: int
    step: int
    is_bigendian: Any
    data: Any


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

IMAGE_ENCODINGS = tuple(_BYTES_PER_PIXEL)
"""Every encoding that `decode_image` reads."""

DEPTH_ENCODINGS = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}
"""Every encoding that `decode_depth` reads -> the type of its numbers."""

_PLANAR = ('nv12', 'nv21')  # a plane of brightness, then half as many rows of interleaved color
_PAIRED = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', *_PLANAR)  # two neighboring pixels share their color


def decode_image(message: ImageMessage) -> NDArray[np.uint8]:
    """The pixels of a `sensor_msgs/Image` as BGR.

    '8UC3' is read as BGR. mono16 is divided by 257, so that 65535 becomes 255: a fixed scale, the same in every frame.
    YUV is ITU-R BT.601 with limited range, as cameras and cv_bridge have it.

    Args:
        message: its encoding is one of IMAGE_ENCODINGS, or one that cv_bridge converts to bgr8 where it is installed.

    Returns:
        (height, width, 3) uint8 BGR, contiguous. For bgr8 and 8UC3 without padding it is a view of `message.data`.

    Raises:
        ImageError: unknown encoding, no pixels, a step smaller than a row, too few data, or a size that the encoding
            cannot have.
    """
    encoding = message.encoding
    if encoding not in _BYTES_PER_PIXEL:
        return _decode_with_cv_bridge(message)
    rows = _rows(message, _BYTES_PER_PIXEL[encoding])
    if encoding == 'mono16':
        dtype = '>u2' if message.is_bigendian else '<u2'
        values = np.ascontiguousarray(rows).view(dtype).astype(np.uint16, copy=False)
        pixels = cv2.convertScaleAbs(values, alpha=1 / 257)
    else:
        pixels = rows.reshape(len(rows), message.width, -1)
    code = _TO_BGR.get(encoding)
    return np.ascontiguousarray(pixels if code is None else cv2.cvtColor(pixels, code), np.uint8)


def decode_depth(message: ImageMessage) -> NDArray[Any]:
    """The numbers of a depth image, as REP-118 defines them.

    Args:
        message: its encoding is one of DEPTH_ENCODINGS.

    Returns:
        (height, width) uint16 in millimeters, 0 where unknown, or float32 in meters, not finite where unknown. A view
        of `message.data` if it has no padding and the byte order of this machine.

    Raises:
        ImageError: see `decode_image`.
    """
    encoding = message.encoding
    if encoding not in DEPTH_ENCODINGS:
        raise ImageError(f'depth of encoding {encoding!r} is not supported; supported are {", ".join(DEPTH_ENCODINGS)}')
    dtype = np.dtype(DEPTH_ENCODINGS[encoding]).newbyteorder('>' if message.is_bigendian else '<')
    rows = np.ascontiguousarray(_rows(message, dtype.itemsize))
    return rows.view(dtype).astype(dtype.newbyteorder('='), copy=False)


def _decode_with_cv_bridge(message: ImageMessage) -> NDArray[np.uint8]:
    bridge = _cv_bridge()
    reason = 'others need cv_bridge, which cannot be imported'
    if bridge is not None:
        try:
            return np.ascontiguousarray(bridge.imgmsg_to_cv2(message, 'bgr8'), np.uint8)
        except Exception as error:
            reason = f'cv_bridge says: {error}'
    raise ImageError(
        f'encoding {message.encoding!r} is not supported; supported are {", ".join(IMAGE_ENCODINGS)}; {reason}'
    )


@lru_cache(maxsize=1)
def _cv_bridge() -> Any:
    """A CvBridge; None where it is not installed, or was built for another numpy."""
    try:
        from cv_bridge import CvBridge

        return CvBridge()
    except Exception:  # a numpy of another major version raises nearly anything
        return None


def _rows(message: ImageMessage, bytes_per_pixel: int) -> NDArray[np.uint8]:
    """(rows, bytes of one row) uint8 view of the data without the padding."""
    encoding, height, step = message.encoding, message.height, message.step
    _check_size(encoding, height, message.width)
    row = message.width * bytes_per_pixel
    if step < row:
        raise ImageError(f'step {step} is smaller than a row, which has {row} bytes in {encoding}')
    count = height * 3 // 2 if encoding in _PLANAR else height
    buffer = np.frombuffer(message.data, np.uint8)
    if len(buffer) < count * step:
        raise ImageError(
            f'data has {len(buffer)} bytes, but {count} rows with a step of {step} are {count * step} bytes'
        )
    return buffer[: count * step].reshape(count, step)[:, :row]


def _check_size(encoding: str, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f'the image has no pixels: it is {width}x{height} (width x height)')
    if (encoding in _PAIRED and width % 2) or (encoding in _PLANAR and height % 2):
        raise ImageError(f'an image of {width}x{height} cannot be {encoding}, in which pairs of pixels share a color')
    if encoding.startswith('bayer') and min(height, width) < 3:
        raise ImageError(f'an image of {width}x{height} is too small for {encoding}, which needs at least 3x3')


def decode_compressed(format: str, data: Any) -> NDArray[np.uint8]:
    """The pixels of a `sensor_msgs/CompressedImage` (JPEG or PNG) as BGR.

    Args:
        format: as compressed_image_transport writes it ('jpeg', 'png', 'rgb8; jpeg compressed bgr8'), or empty. Only
            'compressed rgb8' changes the result: there red and blue are swapped.
        data: the bytes of the file. An EXIF orientation is ignored, as in compressed_image_transport, so that the
            pixels stay where the camera calibration expects them.

    Returns:
        (height, width, 3) uint8 BGR, contiguous.

    Raises:
        ImageError: neither JPEG nor PNG, truncated, or visibly damaged. Damage inside a JPEG that has its end marker
            is not detected.
    """
    buffer = np.frombuffer(data, np.uint8)
    kind = _container(buffer)
    if kind is None:
        raise ImageError(
            f'compressed image with format {format!r} is neither JPEG nor PNG: its {len(buffer)} bytes start with '
            f'{bytes(buffer[:4]).hex(" ") or "nothing"}'
        )
    # Some OpenCV versions fill the missing part with gray and report success.
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
