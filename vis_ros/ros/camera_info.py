"""The calibration in a `sensor_msgs/CameraInfo` as a `CameraModel`."""

from __future__ import annotations

from typing import Any

import numpy as np

from vis_ros.positions import CameraModel

_OPENCV_MODELS = ('plumb_bob', 'rational_polynomial', '')
_FISHEYE_MODELS = ('equidistant', 'fisheye')
_COEFFICIENTS = (0, 4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV accepts."""


def camera_model(info: Any, rectified: bool) -> CameraModel:
    """The calibration of a camera.

    Args:
        info: a CameraInfo, of the classes of rclpy or rosbags.
        rectified: True for images without distortion (`image_rect`): use `p`; otherwise `k` and `d`.

    Raises:
        ValueError: the camera is not calibrated, or its distortion model is unknown.
    """
    matrix = np.array(info.p if rectified else info.k, np.float64).reshape(3, -1)[:, :3]
    if not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0:
        raise ValueError(f'camera_info has no focal length in {"p" if rectified else "k"}: calibrate the camera')
    distortion = np.zeros(0) if rectified else np.array(info.d, np.float64)
    fisheye = info.distortion_model in _FISHEYE_MODELS
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
    return CameraModel((int(info.height), int(info.width)), matrix, distortion, fisheye)
