"""Resizing inside the window of a mask equals resizing the whole plane with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vis_ros.masks.crop import tight_box
from vis_ros.masks.window_resize import enlarged, reduced

SIZES = [(360, 640), (720, 1280), (1080, 1920), (361, 641), (200, 300), (288, 512)]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('place', [(0, 0), (40, 90), (150, 380), (240, 440)])
def test_enlarging_equals_that_of_the_whole_map(size: tuple[int, int], place: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    margin = np.full((288, 512), -1, np.float32)
    top, left = place
    blob = cv2.GaussianBlur(random.normal(size=(48, 72)).astype(np.float32), (0, 0), 3) * 5
    margin[top : top + 48, left : left + 72] = blob
    whole = cv2.resize(margin, size[::-1], interpolation=cv2.INTER_LINEAR)
    crop, roi = enlarged(margin, size)
    found = np.zeros(size, bool)
    x0, y0, x1, y1 = roi.tolist()
    found[y0:y1, x0:x1] = crop
    assert not (found != (whole > 0))[np.abs(whole) > 1e-4].any()
    np.testing.assert_array_equal(roi, tight_box(found))


def test_nothing_positive_is_an_empty_crop() -> None:
    crop, roi = enlarged(np.zeros((288, 512), np.float32), (720, 1280))
    assert crop.size == 0 and not roi.any()
    # One cell between two pixels of a smaller image.
    thin = np.full((288, 512), -1, np.float32)
    thin[100, 100] = 0.01
    crop, roi = enlarged(thin, (36, 64))
    assert crop.size == 0 and not roi.any()


@pytest.mark.parametrize('size', SIZES)
def test_reducing_equals_nearest_neighbors_of_the_whole_mask(size: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        y0, x0 = (int(random.integers(side - 1)) for side in size)
        y1, x1 = int(random.integers(y0 + 1, size[0] + 1)), int(random.integers(x0 + 1, size[1] + 1))
        whole = np.zeros(size, np.uint8)
        whole[y0:y1, x0:x1] = random.integers(0, 2, (y1 - y0, x1 - x0))
        expected = cv2.resize(whole, (512, 288), interpolation=cv2.INTER_NEAREST) > 0
        found = reduced(whole[y0:y1, x0:x1], np.array([x0, y0, x1, y1], np.int32), size, (288, 512))
        np.testing.assert_array_equal(found, expected)
