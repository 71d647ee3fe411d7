from __future__ import annotations

import cv2
import numpy as np
import torch

from vis_ros.propagation.blocks.box_crops import (
    clip_to,
    crop,
    crop_transform,
    enlarge_boxes,
    mask_boxes,
    paste,
    shake_boxes,
)


def test_mask_boxes_are_those_of_opencv() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 40, 60), bool)
    for mask in masks[:5]:
        ys, xs = rng.integers(0, 40, 3), rng.integers(0, 60, 3)
        mask[ys, xs] = True
    boxes = mask_boxes(torch.from_numpy(masks))
    for mask, box in zip(masks[:5], boxes, strict=False):
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        assert box.tolist() == [x, y, x + width, y + height]
    assert boxes[5].tolist() == [0, 0, 0, 0]


def test_enlarging_and_clipping() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 30.0]])
    assert enlarge_boxes(boxes, 1.5).tolist() == [[5, 17.5, 35, 32.5]]
    assert enlarge_boxes(boxes, torch.tensor([[2.0]])).tolist() == [[0, 15, 40, 35]]
    outside = torch.tensor([[-5.0, 3.0, 70.0, 20.0], [80.0, -9.0, 90.0, -2.0]])
    assert clip_to(outside, (40, 60)).tolist() == [[0, 3, 60, 20], [59, 0, 60, 1]]


def test_a_crop_of_whole_pixels_is_the_slice() -> None:
    image = torch.randn(1, 2, 40, 60)
    boxes = torch.tensor([[12.0, 4.0, 28.0, 20.0], [0.0, 0.0, 16.0, 16.0]])
    crops = crop(image.expand(2, -1, -1, -1), crop_transform(boxes, (40, 60)), 16)
    torch.testing.assert_close(crops[0], image[0, :, 4:20, 12:28], atol=1e-4, rtol=0)
    torch.testing.assert_close(crops[1], image[0, :, :16, :16], atol=1e-4, rtol=0)


def test_an_enlarged_crop_is_opencvs_resize() -> None:
    image = np.random.default_rng(0).random((40, 60), np.float32)
    box = torch.tensor([[10.0, 5.0, 30.0, 25.0]])
    mine = crop(torch.from_numpy(image)[None, None], crop_transform(box, (40, 60)), 50)[0, 0]
    expected = cv2.resize(image[5:25, 10:30], (50, 50), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(mine[3:-3, 3:-3], expected[3:-3, 3:-3], atol=1e-3)


def test_a_pasted_crop_is_opencvs_resize_inside_and_zero_outside() -> None:
    crops = np.random.default_rng(0).random((2, 32, 32), np.float32) + 1
    boxes = [(10, 5, 30, 21), (0, 0, 60, 40)]
    planes = paste(torch.from_numpy(crops), torch.tensor(boxes, dtype=torch.float32), (40, 60)).numpy()
    for plane, each, (x0, y0, x1, y1) in zip(planes, crops, boxes, strict=True):
        expected = cv2.resize(each, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(plane[y0:y1, x0:x1], expected, atol=1e-3)
        plane[y0:y1, x0:x1] = 0
        assert not plane.any()


def test_shaken_boxes_stay_near_and_have_laplace_noise() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[100.0, 50.0, 140.0, 70.0]]).expand(20000, -1)
    shaken = shake_boxes(boxes)
    sides = shaken[:, 2:] - shaken[:, :2]
    scale = sides / torch.tensor([40.0, 20.0]) - 1
    shift = ((shaken[:, 2:] + shaken[:, :2]) / 2 - torch.tensor([120.0, 60.0])) / torch.tensor([40.0, 20.0])
    assert scale.abs().max() <= 0.4001
    assert shift.abs().max() <= 0.5001
    # The median of the absolute value of Laplace noise of scale b is b ln 2.
    assert abs(scale.abs().median() - np.log(2) / 15) < 0.003
    assert abs(shift.abs().median() - np.log(2) / 5) < 0.006
