"""A CameraInfo as a CameraModel: points are projected by its definition and found again."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from vis_ros.ros.camera_info import camera_model

K = [600.0, 0.0, 639.5, 0.0, 610.0, 359.5, 0.0, 0.0, 1.0]
POINTS = np.array([[0.1, 0.2, 2.0], [-0.4, 0.1, 3.0], [0.0, 0.0, 1.0]])


def info(**fields: Any) -> CameraInfo:
    p = [600.0, 0.0, 639.5, -60.0, 0.0, 610.0, 359.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return CameraInfo(**{'width': 1280, 'height': 720, 'k': K, 'p': p, 'distortion_model': 'plumb_bob', **fields})


def pixels_on_the_sensor(points: np.ndarray) -> np.ndarray:
    projected = points @ np.reshape(K, (3, 3)).T
    return projected[:, :2] / projected[:, 2:]


@pytest.mark.parametrize('binning', [(0, 0), (2, 2), (4, 2)])
@pytest.mark.parametrize('region', [(0, 0, 0, 0), (200, 80, 640, 480)])
def test_binning_and_region_of_interest(binning: tuple[int, int], region: tuple[int, int, int, int]) -> None:
    x, y, width, height = region
    roi = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    camera = camera_model(info(binning_x=binning[0], binning_y=binning[1], roi=roi), rectified=False)
    factors = np.maximum(binning, 1)
    assert camera.size == ((height or 720) // factors[1], (width or 1280) // factors[0])
    # A pixel covers the sensor from its number minus a half to its number plus a half.
    pixels = (pixels_on_the_sensor(POINTS) - (x, y) + 0.5) / factors - 0.5
    np.testing.assert_allclose(camera.rays(pixels), POINTS[:, :2] / POINTS[:, 2:], atol=1e-12)


def test_a_region_outside_of_the_sensor_is_refused() -> None:
    with pytest.raises(ValueError, match=r'region of interest 1280x720 at \(8, 0\)'):
        camera_model(info(roi=RegionOfInterest(x_offset=8, width=1280, height=720)), rectified=False)


def test_the_second_camera_of_a_stereo_pair_gives_points_in_the_frame_of_the_first() -> None:
    message = info()
    camera = camera_model(message, rectified=True)
    projected = np.c_[POINTS, np.ones(3)] @ np.reshape(message.p, (3, 4)).T
    rays = camera.rays(projected[:, :2] / projected[:, 2:])
    found = np.c_[rays, np.ones(3)] * POINTS[:, 2:] + camera.offset
    np.testing.assert_allclose(found, POINTS, atol=1e-12)


@pytest.mark.parametrize('d', [[-0.35, 0.12, 0.0, 0.0, -0.02], [-0.4, 0.15, 0.001, -0.001, -0.02]])
def test_rays_at_the_edge_of_a_wide_lens_project_to_their_pixels_or_are_unknown(d: list[float]) -> None:
    camera = camera_model(info(d=d), rectified=False)
    columns, rows = np.meshgrid(np.arange(0, 1280, 40.0), np.arange(0, 720, 40.0))
    pixels = np.stack([columns.ravel(), rows.ravel()], 1)
    rays = camera.rays(pixels)
    known = np.isfinite(rays).all(1)
    assert known.mean() > 0.7
    points = np.c_[rays[known], np.ones(known.sum())]
    projected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix, camera.distortion)[0][:, 0]
    assert np.abs(projected - pixels[known]).max() < 0.51


def test_coefficients_that_are_all_zero_need_no_model() -> None:
    assert not len(camera_model(info(d=[0.0] * 6, distortion_model='none'), rectified=False).distortion)
