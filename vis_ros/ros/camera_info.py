"""The calibration in a `sensor_msgs/CameraInfo` as a `CameraModel`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.positions import CameraModel

_OPENCV_MODELS = ('plumb_bob', 'rational_polynomial', '')
_FISHEYE_MODELS = ('equidistant', 'fisheye')
_COEFFICIENTS = (0, 4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV accepts."""


def camera_model(info: Any, rectified: bool) -> CameraModel:
    """The calibration of a camera's images, as `sensor_msgs/CameraInfo` defines it.

    `width`, `height`, `k` and `p` are those of the full sensor. The images are the region of interest of it, all of it
    if that is empty, reduced by the binning factors.

    Args:
        info: a CameraInfo, of the classes of rclpy or rosbags.
        rectified: True for images without distortion (`image_rect`): use `p`; otherwise `k` and `d`.

    Raises:
        ValueError: the camera is not calibrated, its distortion model is unknown, or its fields contradict each other.
    """
    projection = np.array(info.p if rectified else info.k, np.float64).reshape(3, -1)
    matrix = projection[:, :3]
    name = 'p' if rectified else 'k'
    if not np.isfinite(projection).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise ValueError(f'camera_info has no focal length in {name}: calibrate the camera')
    if matrix[2].tolist() not in ([0, 0, 0], [0, 0, 1]) or matrix[0, 1] or matrix[1, 0]:
        raise ValueError(f'camera_info has {name} {matrix.tolist()}, which is more than focal lengths and a center')
    matrix[2, 2] = 1  # some drivers leave it 0
    distortion = np.zeros(0) if rectified or not np.any(info.d) else np.array(info.d, np.float64)
    fisheye = info.distortion_model in _FISHEYE_MODELS
    if fisheye and not distortion[4:].any():  # of a driver that sends as many coefficients for each model
        distortion = distortion[:4]
    if distortion.any() and not fisheye and info.distortion_model not in _OPENCV_MODELS:
        known = ', '.join(filter(None, (*_OPENCV_MODELS, *_FISHEYE_MODELS)))
        raise ValueError(
            f'camera_info has the unknown distortion model {info.distortion_model!r}; known are {known}. Use rectified '
            'images instead'
        )
    if len(distortion) not in ((0, 4) if fisheye else _COEFFICIENTS) or not np.isfinite(distortion).all():
        raise ValueError(
            f'camera_info has the coefficients d {distortion.tolist()}, which are invalid for the distortion model '
            f'{info.distortion_model!r}'
        )
    size, matrix = _of_images(info, matrix)
    offset: NDArray[np.float64] = np.zeros(3)
    if rectified:  # a second stereo camera: `p` projects from the frame of the first one
        offset = np.asarray(-np.linalg.solve(projection[:, :3], projection[:, 3]), np.float64)
    return CameraModel(size, matrix, distortion, fisheye, offset)


def _of_images(info: Any, matrix: NDArray[np.float64]) -> tuple[tuple[int, int], NDArray[np.float64]]:
    """Size (height, width) and camera matrix of the images, from those of the full sensor."""
    if min(info.width, info.height) < 1:
        raise ValueError(f'camera_info has the size {info.width}x{info.height}: the driver does not fill it in')
    region = info.roi
    x, y, width, height = (int(each) for each in (region.x_offset, region.y_offset, region.width, region.height))
    width, height = width or int(info.width) - x, height or int(info.height) - y
    if min(width, height) < 1 or x + width > info.width or y + height > info.height:
        raise ValueError(
            f'camera_info has the region of interest {width}x{height} at ({x}, {y}), which is outside of its size '
            f'{info.width}x{info.height}'
        )
    binning = max(int(info.binning_x), 1), max(int(info.binning_y), 1)  # 0 means 1
    moved = matrix.copy()
    moved[:2, 2] -= x, y
    # A binned pixel covers several. The centers of pixels are whole numbers, so its center lies between theirs.
    moved[:2, 2] = (moved[:2, 2] + 0.5) / binning - 0.5
    moved[0, :2] /= binning[0]
    moved[1, 1] /= binning[1]
    return (height // binning[1], width // binning[0]), moved
