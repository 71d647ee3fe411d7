from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from vis_ros.propagation.blocks.mask_heat_map import mask_heat_map, robust_moments


def _ellipse(center: tuple[int, int], axes: tuple[int, int], angle: float = 0) -> NDArray[np.bool_]:
    mask = np.zeros((80, 120), np.uint8)
    cv2.ellipse(mask, center, axes, angle, 0, 360, 1, -1)
    return mask > 0


MASKS = np.stack(
    [
        _ellipse((60, 40), (30, 12)),
        _ellipse((20, 70), (9, 25), 40),
        _ellipse((100, 8), (40, 3)),
        _ellipse((5, 5), (2, 1)),
    ]
)


def test_moments_are_the_medians_and_the_scaled_deviations() -> None:
    center, std = robust_moments(torch.from_numpy(MASKS))
    for mask, mine, spread in zip(MASKS, center, std, strict=True):
        for axis, places in enumerate(np.nonzero(mask)[::-1]):
            assert mine[axis] == np.median(places)
            assert spread[axis].item() == pytest.approx(1.4826 * stats.median_abs_deviation(places))


def test_moments_of_an_even_number_of_pixels_are_means_of_two() -> None:
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    mask[0, 3, 2] = mask[0, 8, 7] = True
    center, std = robust_moments(mask)
    assert center.tolist() == [[4.5, 5.5]]
    assert std[0].tolist() == pytest.approx([1.4826 * 2.5] * 2)


def test_outliers_hardly_move_the_moments() -> None:
    speckled = MASKS[:1].copy()
    speckled[0, :3, :3] = True
    for clean, other in zip(
        robust_moments(torch.from_numpy(MASKS[:1])), robust_moments(torch.from_numpy(speckled)), strict=True
    ):
        assert (clean - other).abs().max() <= 1.5


def test_the_map_is_the_gaussian_with_at_least_five_pixels() -> None:
    maps = mask_heat_map(torch.from_numpy(MASKS)).numpy()
    for mask, heat in zip(MASKS, maps, strict=True):
        ys, xs = np.nonzero(mask)
        cx, cy = np.median(xs), np.median(ys)
        sx, sy = (max(1.4826 * stats.median_abs_deviation(each), 5.0) for each in (xs, ys))
        for y, x in ((40, 60), (0, 0), (70, 20), (12, 100)):
            expected = np.exp(-0.5 * ((x - cx) / sx) ** 2 - 0.5 * ((y - cy) / sy) ** 2)
            assert heat[y, x] == pytest.approx(expected, abs=1e-6)


def test_an_empty_mask_has_an_empty_map() -> None:
    masks = torch.from_numpy(MASKS.copy())
    masks[1] = False
    for perturbed in (False, True):
        maps = mask_heat_map(masks, perturbed)
        assert not maps[1].any()
        assert maps.isfinite().all()
        assert (maps[[0, 2, 3]].flatten(1).amax(1) > 0.5).all()


def test_perturbation_stays_in_its_bounds_and_fills_them() -> None:
    torch.manual_seed(0)
    mask = torch.from_numpy(MASKS[0])
    (center,), (std,) = robust_moments(mask[None])
    maps = mask_heat_map(mask.expand(400, -1, -1), perturbed=True).double()
    # The logarithm of the map is a parabola on each axis: its vertex and its opening are the moments.
    row, column = maps.amax(1).log(), maps.amax(2).log()
    for axis, values in enumerate((row, column)):
        at = int(center[axis])
        left, middle, right = values[:, at - 2], values[:, at], values[:, at + 2]
        opening = -(left - 2 * middle + right) / 4
        sigma = opening.rsqrt()
        vertex = (right - left) / 4 * sigma**2
        moved, scaled = vertex / std[axis], sigma / std[axis]
        assert 0.18 < moved.abs().max() <= 0.2001
        assert 1 / 1.4 - 1e-3 <= scaled.min() < 0.73
        assert 1.38 < scaled.max() <= 1.401
