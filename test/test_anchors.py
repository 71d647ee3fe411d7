"""Anchors, box deltas and clipping, compared with the formulas of the three code bases, written out one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vis_ros.networks.anchors import BOX_WEIGHTS, clip_boxes, decode_boxes, encode_boxes, pyramid_anchors
from vis_ros.networks.checkpoint_layouts import LAYOUTS
from vis_ros.networks.model_config import ModelConfig


def config_of(layout: str) -> ModelConfig:
    return ModelConfig(name='test', class_names=('thing',), **LAYOUTS[layout].conventions)


def expected_anchor(layout: str, stride: int, step: int, row: int, column: int, ratio: float) -> list[float]:
    """One anchor x0 y0 x1 y1 with the area (8 * stride)^2 and the ratio of height to width `ratio`."""
    height, width = 8 * stride * math.sqrt(ratio), 8 * stride / math.sqrt(ratio)
    if layout == 'official':  # inclusive corners around the middle of the first cell, rounded
        center = 0.5 * (stride - 1)
        low, high = center - 0.5 * (width - 1), center + 0.5 * (width - 1)
        top, bottom = center - 0.5 * (height - 1), center + 0.5 * (height - 1)
        base = [round(low), round(top), round(high), round(bottom)]
    else:
        base = [-width / 2, -height / 2, width / 2, height / 2]
        if layout == 'torchvision':
            base = [round(side) for side in base]
    return [base[0] + column * step, base[1] + row * step, base[2] + column * step, base[3] + row * step]


@pytest.mark.parametrize('layout', LAYOUTS)
def test_anchors_equal_their_formula(layout: str) -> None:
    input_size = (352, 640)
    grids = [(88, 160), (44, 80), (22, 40), (11, 20), (6, 10)]
    levels = pyramid_anchors(config_of(layout), input_size, grids)
    for level, (anchors, (rows, columns)) in enumerate(zip(levels, grids, strict=True)):
        assert anchors.shape == (rows * columns * 3, 4)
        stride = 4 << level
        for row, column, index in [(0, 0, 0), (0, 1, 2), (rows - 1, columns - 1, 1)]:
            ratio = (0.5, 1.0, 2.0)[index]
            step_y = 352 // rows if layout == 'torchvision' else stride
            expected = expected_anchor(layout, stride, stride, row, column, ratio)
            expected[1] += row * (step_y - stride)
            expected[3] += row * (step_y - stride)
            found = anchors[(row * columns + column) * 3 + index]
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_only_torchvision_computes_the_stride_of_p6_from_the_grid() -> None:
    grids = [(88, 160), (44, 80), (22, 40), (11, 20), (6, 10)]
    steps = {
        layout: float(p6[30, 1] - p6[0, 1])
        for layout in LAYOUTS
        for p6 in [pyramid_anchors(config_of(layout), (352, 640), grids)[4]]
    }
    assert steps == {'torchvision': 58, 'mmdet': 64, 'official': 64}


def decode_one(layout: str, delta: list[float], box: list[float]) -> list[float]:
    """One box by the formula in the appendix of Fast R-CNN, in double precision."""
    dx, dy, dw, dh = (value / weight for value, weight in zip(delta, BOX_WEIGHTS, strict=True))
    most = math.log(1000 / 16)
    dw, dh = min(dw, most), min(dh, most)
    if layout != 'torchvision':
        dw, dh = max(dw, -most), max(dh, -most)
    one = 1 if layout == 'official' else 0
    width, height = box[2] - box[0] + one, box[3] - box[1] + one
    if layout == 'official':
        x, y = (box[0] + box[2]) * 0.5 + dx * width, (box[1] + box[3]) * 0.5 + dy * height
    else:
        x, y = box[0] + width / 2 + dx * width, box[1] + height / 2 + dy * height
    half_width, half_height = width * math.exp(dw) / 2, height * math.exp(dh) / 2
    low = [x - half_width, y - half_height]
    high = [x + half_width, y + half_height]
    if layout == 'official':
        low, high = [value + 0.5 for value in low], [value - 0.5 for value in high]
    return [*low, *high]


@pytest.mark.parametrize('layout', LAYOUTS)
def test_decoding_equals_its_formula(layout: str) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (40, 2))
    boxes = np.concatenate((corners, corners + rng.uniform(1, 200, (40, 2))), 1)
    deltas = rng.normal(0, 3, (40, 4))
    deltas[:4, 2] = [30, -30, 21, -21]  # beyond the limits of ln(1000 / 16) = 4.135 (times 5)
    found = decode_boxes(
        torch.tensor(deltas, dtype=torch.float32),
        torch.tensor(boxes, dtype=torch.float32),
        BOX_WEIGHTS,
        config_of(layout),
    )
    expected = [decode_one(layout, *rows) for rows in zip(deltas.tolist(), boxes.tolist(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_encoding_is_the_inverse_of_decoding() -> None:
    references = torch.tensor([[10.0, 20, 50, 90], [0, 0, 8, 8]])
    boxes = torch.tensor([[14.0, 10, 40, 99], [2, 1, 30, 5]])
    deltas = encode_boxes(boxes, references, BOX_WEIGHTS)
    torch.testing.assert_close(decode_boxes(deltas, references, BOX_WEIGHTS, config_of('mmdet')), boxes)


@pytest.mark.parametrize(('layout', 'edge'), [('torchvision', 0), ('mmdet', 0), ('official', 1)])
def test_inclusive_boxes_are_clipped_to_the_last_pixel(layout: str, edge: int) -> None:
    boxes = torch.tensor([[-5.0, -7, 900, 800], [3, 4, 5, 6]])
    expected = torch.tensor([[0.0, 0, 640 - edge, 360 - edge], [3, 4, 5, 6]])
    assert torch.equal(clip_boxes(boxes, (360, 640), config_of(layout)), expected)
