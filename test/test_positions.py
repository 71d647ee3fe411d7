"""Positions compared with a scene computed ray by ray, and with OpenCV's projection."""

import cv2
import numpy as np
import pytest

from vis_ros.instances import Instances
from vis_ros.positions import CameraModel, positions

HEIGHT, WIDTH = 120, 160
MATRIX = np.array([[150.0, 0, 82.5], [0, 140, 57], [0, 0, 1]])
PLAIN = CameraModel((HEIGHT, WIDTH), MATRIX, np.zeros(0))
PLUMB_BOB = CameraModel((HEIGHT, WIDTH), MATRIX, np.array([-0.2, 0.05, 0.002, -0.001, 0.0]))
RATIONAL = CameraModel((HEIGHT, WIDTH), MATRIX, np.array([0.3, 0.05, 0.001, -0.002, 0.01, 0.5, 0.02, 0.005]))
FISHEYE = CameraModel((HEIGHT, WIDTH), MATRIX, np.array([0.05, -0.02, 0.004, -0.001]), fisheye=True)


def objects(*masks):
    """Instances of full masks (H, W)."""
    rois, crops = [], []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        rois.append((x0, y0, x1, y1))
        crops.append(np.ascontiguousarray(mask[y0:y1, x0:x1], np.uint8))
    count = len(masks)
    rois = np.array(rois, np.int32).reshape(-1, 4)
    return Instances((HEIGHT, WIDTH), rois, np.ones(count), np.zeros(count, np.int32), rois, crops)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def brute_force(mask, depth):
    """The point of each pixel, without distortion."""
    points = [
        ((u - MATRIX[0, 2]) * depth[v, u] / MATRIX[0, 0], (v - MATRIX[1, 2]) * depth[v, u] / MATRIX[1, 1], depth[v, u])
        for v in range(HEIGHT)
        for u in range(WIDTH)
        if mask[v, u] and np.isfinite(depth[v, u]) and depth[v, u] > 0
    ]
    return np.median(points, axis=0)


def test_a_small_mask_is_the_median_of_all_its_points():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 4, (HEIGHT, WIDTH)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.2] = np.nan
    depth[rng.random(depth.shape) < 0.1] = 0
    masks = [
        rng.random((HEIGHT, WIDTH)) < 0.04,
        rectangle(3, 5, 30, 40),
        rectangle(0, 0, 1, 1),
        rectangle(159, 119, 160, 120),
    ]
    depth[0, 0] = depth[-1, -1] = 2
    found = positions(objects(*masks), depth, PLAIN)
    assert found.dtype == np.float32
    for mask, position in zip(masks, found, strict=True):
        np.testing.assert_allclose(position, brute_force(mask, depth), atol=1e-5)


@pytest.mark.parametrize('width', [10, 20, 25, 40, 50, 100, 128])
def test_a_large_mask_is_sampled_evenly(width):
    """On a slope, where a sample of one side only would give a wrong position."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    depth = 2 + 0.01 * u + 0.005 * v
    mask = rectangle(7, 3, 7 + width, 115)
    (found,) = positions(objects(mask), depth, PLAIN)
    np.testing.assert_allclose(found, brute_force(mask, depth), atol=0.02)


def test_millimeters_and_meters_give_the_same_position():
    millimeters = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    millimeters[::2] = 0  # unknown
    mask = rectangle(20, 10, 60, 50)
    a, b = (positions(objects(mask), depth, PLAIN) for depth in (millimeters, millimeters.astype(np.float32) / 1000))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert a[0, 2] == 1.5


@pytest.mark.parametrize('camera', [PLUMB_BOB, RATIONAL, FISHEYE])
def test_distortion_is_removed(camera):
    """Points are projected by OpenCV; their pixels must give the points again."""
    truth = np.array([[0.6, -0.4, 1.5], [-0.5, 0.35, 1.2], [1.0, 0.8, 2.5]])
    project = cv2.fisheye.projectPoints if camera.fisheye else cv2.projectPoints
    pixels = project(truth[:, None], np.zeros(3), np.zeros(3), camera.matrix, camera.distortion)[0].reshape(-1, 2)
    rays = camera.rays(pixels)
    np.testing.assert_allclose(rays * truth[:, 2:], truth[:, :2], atol=1e-3)
    plain = (pixels - MATRIX[:2, 2]) / MATRIX[[0, 1], [0, 1]]
    assert abs(plain * truth[:, 2:] - truth[:, :2]).max() > 0.01, 'the distortion must matter here'
    for point, (u, v) in zip(truth, np.rint(pixels).astype(int), strict=True):
        depth = np.full((HEIGHT, WIDTH), point[2])
        (found,) = positions(objects(rectangle(u - 2, v - 2, u + 3, v + 3)), depth, camera)
        np.testing.assert_allclose(found, point, atol=0.012)  # a pixel, at 2.5 m


def test_background_on_the_edge_of_a_mask_does_not_change_the_position():
    depth = np.full((HEIGHT, WIDTH), 8.0)
    depth[20:60, 30:70] = 2
    (found,) = positions(objects(rectangle(25, 15, 75, 65)), depth, PLAIN)
    assert found[2] == 2


@pytest.mark.parametrize('unknown', [0, -1, np.nan, np.inf])
def test_unknown_depth_gives_no_position(unknown):
    depth = np.full((HEIGHT, WIDTH), unknown, np.float64)
    mask = rectangle(20, 20, 40, 40)
    depth[20, 20:39] = 1  # 19 of 400 pixels
    assert np.isnan(positions(objects(mask), depth, PLAIN)).all()
    depth[20:22, 20:40] = 1  # a tenth
    (found,) = positions(objects(mask), depth, PLAIN)
    assert found[2] == 1


def test_empty_masks_and_no_objects():
    empty = Instances(
        (HEIGHT, WIDTH), np.zeros((1, 4)), np.ones(1), np.zeros(1), np.zeros((1, 4)), [np.zeros((0, 0), np.uint8)]
    )
    depth = np.ones((HEIGHT, WIDTH))
    assert np.isnan(positions(empty, depth, PLUMB_BOB)).all()
    assert positions(Instances.empty((HEIGHT, WIDTH)), depth, PLAIN).shape == (0, 3)


def test_different_sizes_are_an_error():
    with pytest.raises(ValueError, match=r'image 160x120, depth 80x60, camera_info 160x120.*registered'):
        positions(objects(), np.ones((60, 80)), PLAIN)
