"""Boxes: anchors of the region proposal network, regression targets (Ren et al. 2015, section 3), overlap."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vis_ros.networks.backbone import STRIDES
from vis_ros.networks.constants import constant_like
from vis_ros.networks.model_config import ModelConfig

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of the deltas dx, dy, dw, dh, for the region proposal network and for the box head."""

_CLIP = math.log(1000 / 16)


def pyramid_anchors(config: ModelConfig, input_size: tuple[int, int], grids: list[tuple[int, int]]) -> list[Tensor]:
    """The anchors of each level, (h * w * A, 4) x0 y0 x1 y1 float32 on the CPU, in the order of the RPN head's outputs.

    Args:
        config: size and aspect ratios of the anchors.
        input_size: (height, width) of the padded input in pixels.
        grids: (h, w) of the feature map of each level.
    """
    levels = []
    for stride, (rows, columns) in zip(STRIDES, grids, strict=True):
        steps = (input_size[0] // rows, input_size[1] // columns) if config.anchor_strides_from_grid else (stride,) * 2
        base = _base_anchors(config, stride)
        y = torch.arange(rows, dtype=torch.float32) * steps[0]
        x = torch.arange(columns, dtype=torch.float32) * steps[1]
        grid_y, grid_x = torch.meshgrid(y, x, indexing='ij')
        shifts = torch.stack((grid_x, grid_y, grid_x, grid_y), -1).reshape(-1, 1, 4)
        levels.append((shifts + base).reshape(-1, 4))
    return levels


def _base_anchors(config: ModelConfig, stride: int) -> Tensor:
    """Anchors (A, 4) of the cell at the origin. mmdet 0.x centers them at (stride - 1) / 2, with inclusive corners."""
    ratios = torch.tensor(config.anchor_ratios)
    side = config.anchor_scale * stride
    heights, widths = side * ratios.sqrt(), side / ratios.sqrt()
    if config.legacy_boxes:
        center = (stride - 1) / 2
        corners = (-(widths - 1) / 2, -(heights - 1) / 2, (widths - 1) / 2, (heights - 1) / 2)
        return (torch.stack(corners, 1) + center).round()
    base = torch.stack((-widths, -heights, widths, heights), 1) / 2
    return base.round() if config.anchors_rounded else base


def encode_boxes(boxes: Tensor, references: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Deltas (N, 4) dx dy dw dh that transform `references` into `boxes`, both (N, 4) (Faster R-CNN, eq. 2)."""
    reference_sides = references[:, 2:] - references[:, :2]
    sides = boxes[:, 2:] - boxes[:, :2]
    centers = (boxes[:, :2] + boxes[:, 2:] - references[:, :2] - references[:, 2:]) / 2
    deltas = torch.cat((centers / reference_sides, (sides / reference_sides).log()), 1)
    return deltas * deltas.new_tensor(weights)


def decode_boxes(deltas: Tensor, references: Tensor, weights: tuple[float, ...], config: ModelConfig) -> Tensor:
    """Boxes (..., 4) of deltas (..., 4) and broadcastable references. The inverse of `encode_boxes`."""
    one = 1.0 if config.legacy_boxes else 0.0
    deltas = deltas / constant_like(weights, deltas)
    sides = references[..., 2:] - references[..., :2] + one
    # With inclusive corners, mmdet 0.x puts the center at x0 + (w - 1) / 2, which is also the mean of the corners.
    centers = (references[..., 2:] + references[..., :2]) / 2 + deltas[..., :2] * sides
    scales = deltas[..., 2:].clamp(min=-_CLIP if config.delta_clip_both else None, max=_CLIP)
    half = (sides * scales.exp() - one) / 2
    return torch.cat((centers - half, centers + half), -1)


def clip_boxes(boxes: Tensor, size: tuple[int, int], config: ModelConfig) -> Tensor:
    """Boxes (..., 4) clipped to an image of `size` (height, width) in pixels."""
    one = 1 if config.legacy_boxes else 0
    limits = boxes.new_tensor([size[1] - one, size[0] - one] * 2)
    return boxes.clamp(min=0).minimum(limits)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union (..., P, K) of boxes (..., P, 4) with others (..., K, 4); NaN for two empty boxes."""
    x0, y0, x1, y1 = boxes[..., :, None, :].unbind(-1)
    left, top, right, bottom = others[..., None, :, :].unbind(-1)
    width = torch.minimum(x1, right) - torch.maximum(x0, left)
    height = torch.minimum(y1, bottom) - torch.maximum(y0, top)
    intersection = width.clamp(min=0) * height.clamp(min=0)
    return intersection / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - intersection)
