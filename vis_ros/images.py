"""Decode the images of `sensor_msgs/Image`, `sensor_msgs/CompressedImage` and files to arrays, without ROS, and write
files. cv_bridge is asked only for encodings that are unknown here.

Color images become (H, W, 3) uint8 BGR, contiguous; depth keeps its numbers. The encoding names are those of
`sensor_msgs/image_encodings.hpp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.file_kinds import foreign_content
from vis_ros.image_headers import LARGEST_IMAGE, check_file, is_jpeg, is_png
from vis_ros.image_headers import ImageError as ImageError
from vis_ros.whole_file import naming

LARGEST_FILE = 1 << 29
"""Largest image file that is read, in bytes."""


class Scale16:
    """How images of 16 bits become 8 bits: `low` is black, `high` white, and what lies outside is cut off.

    met: smallest and largest value of all images so far; None without such an image.
    """

    def __init__(self, low: int = 0, high: int = 65535) -> None:
        """Raises ValueError unless 0 <= low < high <= 65535."""
        if not 0 <= low < high <= 65535:
            raise ValueError(f'16-bit images from {low} to {high}: expected 0 <= low < high <= 65535')
        self.low, self.high = low, high
        self.met: tuple[int, int] | None = None

    def to_8_bits(self, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """The values as uint8, in the same shape."""
        low, high = int(values.min()), int(values.max())
        self.met = (min(low, self.met[0]), max(high, self.met[1])) if self.met else (low, high)
        if (self.low, self.high) == (0, 65535):
            return np.asarray(cv2.convertScaleAbs(values, alpha=1 / 257), np.uint8)
        cut = np.clip(values, self.low, self.high).astype(np.float32)
        return np.asarray(np.rint((cut - self.low) * (255 / (self.high - self.low))), np.uint8)

    def in_words(self) -> str:
        """What was assumed; '' without an image of 16 bits."""
        if self.met is None:
            return ''
        return (
            f'16-bit images with values {self.met[0]} to {self.met[1]}: {self.low} is black and {self.high} white '
            '(black_level, white_level)'
        )


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

_DEPTH_ONLY = ('16UC1', '32FC1')  # mono16 is a picture too
DEPTH_ENCODINGS = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}
"""Every encoding that `decode_depth` reads -> the type of its numbers."""

_PLANAR = ('nv12', 'nv21')  # a plane of brightness, then half as many rows of interleaved color
_PAIRED = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', *_PLANAR)  # two neighboring pixels share their color


def decode_image(message: ImageMessage, scale: Scale16 | None = None) -> NDArray[np.uint8]:
    """The pixels of a `sensor_msgs/Image` as BGR.

    '8UC3' is read as BGR. By default mono16 is divided by 257, so that 65535 becomes 255: a fixed scale, the same in
    every frame. YUV is ITU-R BT.601 with limited range, as cameras and cv_bridge have it.

    Args:
        message: its encoding is one of IMAGE_ENCODINGS, or one that cv_bridge converts to bgr8 where it is installed.
        scale: how mono16 becomes 8 bits.

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
        pixels = (scale or Scale16()).to_8_bits(values)
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


def decode_compressed(format: str, data: Any, scale: Scale16 | None = None) -> NDArray[np.uint8]:
    """The pixels of a `sensor_msgs/CompressedImage` (JPEG or PNG) as BGR.

    Args:
        format: as compressed_image_transport writes it ('jpeg', 'png', 'rgb8; jpeg compressed bgr8'), or empty. Two
            change the result: in 'compressed rgb8' red and blue are swapped, and 'bayer_rggb8; jpeg compressed' is a
            mosaic, as the transport leaves it.
        data: the bytes of the file. An EXIF orientation is ignored, as in compressed_image_transport, so that the
            pixels stay where the camera calibration expects them.
        scale: how 16 bits become 8; by default as for mono16.

    Returns:
        (height, width, 3) uint8 BGR, contiguous.

    Raises:
        ImageError: neither JPEG nor PNG, truncated, or visibly damaged; a depth image (16UC1, 32FC1); more than
            LARGEST_IMAGE pixels. Damage inside a JPEG that has its end marker is not detected.
    """
    encoding = format.partition(';')[0].strip()
    if encoding in _DEPTH_ONLY or 'compressedDepth' in format:
        raise ImageError(f'compressed image with format {format!r} is a depth image, not a picture')
    buffer = np.frombuffer(data, np.uint8)
    if not is_jpeg(buffer) and not is_png(buffer):
        raise ImageError(
            f'compressed image with format {format!r} is neither JPEG nor PNG: its {len(buffer)} bytes start with '
            f'{bytes(buffer[:4]).hex(" ") or "nothing"}'
        )
    try:
        image = decode_file(buffer, scale)
    except ImageError as error:
        raise ImageError(f'{error} (format {format!r})') from error
    if encoding.startswith('bayer') and 'compressed bgr' not in format and encoding in _TO_BGR:
        return np.asarray(cv2.cvtColor(image[:, :, 0], _TO_BGR[encoding]), np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if 'compressed rgb' in format else image


def decode_file(data: Any, scale: Scale16 | None = None) -> NDArray[np.uint8]:
    """The pixels of an image file of any format that OpenCV reads, without its EXIF orientation.

    Args:
        data: the bytes of the file.
        scale: how 16 bits become 8; by default as for mono16.

    Returns:
        (height, width, 3) uint8 BGR, contiguous.

    Raises:
        ImageError: no image, truncated, visibly damaged, of floating-point values, or more than LARGEST_IMAGE pixels.
    """
    buffer = np.frombuffer(data, np.uint8)
    check_file(buffer)
    image = _decode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        image = _decode(buffer, cv2.IMREAD_UNCHANGED)  # values that OpenCV cannot turn into colors, for the error below
    if image is None:
        kind = foreign_content(bytes(buffer[:2048]))
        reason = f'it is {kind}' if kind else f'its {len(buffer)} bytes are corrupt, or of an unknown format'
        raise ImageError(f'no image that OpenCV can read: {reason}')
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f'the image has values of type {image.dtype}; convert it to 8 or 16 bits')
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f'the image has an array of shape {image.shape}; convert it to gray or RGB')
    if image.dtype == np.uint16:
        return (scale or Scale16()).to_8_bits(image)
    return np.ascontiguousarray(image, np.uint8)


def _decode(buffer: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """What OpenCV reads; None if it cannot."""
    try:
        return cv2.imdecode(buffer, flags)
    except cv2.error as error:
        if 'MAX_IMAGE_PIXELS' in str(error) or 'validateInputImageSize' in str(error):
            raise ImageError(f'the image has more than {LARGEST_IMAGE} pixels, the limit') from error
        return None


def read_image_file(path: Path, scale: Scale16 | None = None) -> NDArray[np.uint8]:
    """As `decode_file`, from a path. ImageError names it."""
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ImageError(f'it has {size} bytes, more than the limit of {LARGEST_FILE}')
        return decode_file(np.fromfile(path, np.uint8), scale)
    except (ImageError, OSError) as error:
        raise ImageError(f'{path} cannot be decoded: {error}') from error


def write_image_file(path: Path, image: NDArray[Any], parameters: Sequence[int] = ()) -> None:
    """Write an image in the format that the suffix of the path names.

    Args:
        path: of the file.
        image: as for `cv2.imencode`.
        parameters: as for `cv2.imencode`.

    Raises:
        OSError: the file cannot be written; names it.
    """
    encoded = cv2.imencode(path.suffix, image, parameters)[1]
    with naming(path):
        path.write_bytes(encoded.tobytes())
