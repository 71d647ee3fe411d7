"""Crops, pasting and heat maps of PTS in numpy, against those in torch, which training uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vis_ros.propagation.blocks.box_crops import (
    clip_to,
    crop,
    crop_regions,
    crop_transform,
    enlarge_boxes,
    paste,
)
from vis_ros.propagation.blocks.mask_heat_map import mask_heat_map
from vis_ros.propagation.pts.gaussian_mask import gaussian_mask
from vis_ros.propagation.pts.region_crops import clipped_boxes, enlarged_boxes, mask_crop, pasted

SIZE = (72, 104)
REGIONS = np.array([[10, 8, 50, 60], [0, 0, 104, 72], [70.3, 31.9, 104, 72], [-8, -9, 20.5, 33], [40, 20, 41, 21]])


def _blob(seed: int) -> NDArray[np.bool_]:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    center = random.uniform(20, 50, 2)
    return np.asarray(((y - center[0]) / 14) ** 2 + ((x - center[1]) / 9) ** 2 < 1, bool) & (random.random(SIZE) < 0.9)


@pytest.mark.parametrize('region', REGIONS.astype(np.float32))
def test_a_crop_and_its_way_back_are_those_of_torch(region: NDArray[np.float32]) -> None:
    mask, side = _blob(1), 48
    transform = crop_transform(torch.from_numpy(region)[None], SIZE)
    expected = crop(torch.from_numpy(mask)[None, None].float(), transform, side)[0, 0].numpy()
    found = mask_crop(mask, region, side)
    clear = np.abs(expected - 0.5) > 1e-4
    assert (found == (expected >= 0.5))[clear].all() and clear.mean() > 0.9
    values = np.random.default_rng(2).random((side, side), np.float32)
    wanted = paste(torch.from_numpy(values)[None], torch.from_numpy(region)[None], SIZE)[0].numpy()
    np.testing.assert_allclose(pasted(values, region, SIZE), wanted, atol=2e-4)


def test_a_traced_crop_is_the_one_of_training() -> None:
    image, regions = torch.rand(1, 3, *SIZE), torch.from_numpy(REGIONS.astype(np.float32))
    expected = crop(image.expand(len(regions), -1, -1, -1), crop_transform(regions, SIZE), 32)
    torch.testing.assert_close(crop_regions(image, regions, 32), expected, atol=1e-4, rtol=1e-4)


def test_boxes_are_enlarged_and_clipped_as_in_torch() -> None:
    boxes = REGIONS.astype(np.float32)
    tensor = torch.from_numpy(boxes)
    np.testing.assert_allclose(enlarged_boxes(boxes, 1.5), enlarge_boxes(tensor, 1.5).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(clipped_boxes(boxes + 60, SIZE), clip_to(tensor + 60, SIZE).numpy())


@pytest.mark.parametrize('seed', range(6))
def test_a_heat_map_is_the_one_of_training(seed: int) -> None:
    mask = _blob(seed)[:72, :72]
    np.testing.assert_allclose(gaussian_mask(mask), mask_heat_map(torch.from_numpy(mask)[None])[0].numpy(), atol=1e-5)


def test_an_empty_mask_has_an_empty_heat_map() -> None:
    assert not gaussian_mask(np.zeros((32, 32), bool)).any()
