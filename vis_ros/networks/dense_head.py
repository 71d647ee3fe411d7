"""DenseHead: the one-stage head of NanoDet-Plus, kept beside the box head because it knows more names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.networks.anchors import pairwise_iou
from vis_ros.networks.constants import constant, constant_like
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.shuffle_pyramid import CHANNELS, Separable

CELLS = 128
"""Cells with the highest class scores that vote on the names of boxes."""

_STRIDES = (8, 16, 32, 64)
_BINS = 8
"""A distance from a cell to a side of its box is the mean of 0 to 7 strides under a softmax (Li et al. 2020)."""
_SHARPNESS = 8
"""Power of the IoU between a box and that of a cell: cells of a neighboring object hardly count."""
_WEIGHT = 4.0
"""Weight of the votes against the probabilities of the box head."""


@dataclass(frozen=True, eq=False)
class DenseCells:
    """The K = CELLS cells of each of B images with the highest class scores; unused ones have score 0.

    Attributes:
        scores: (B, K, classes in use), 0 to 1.
        boxes: (B, K, 4) x0 y0 x1 y1 in pixels of the network's input.
    """

    scores: Tensor
    boxes: Tensor

    def split(self) -> list[DenseCells]:
        """Those of each image, with B = 1."""
        return [
            DenseCells(scores, boxes) for scores, boxes in zip(self.scores.split(1), self.boxes.split(1), strict=True)
        ]


class DenseHead(nn.Module):
    """Class scores and a box for each cell of P3 to P6, as NanoDet-Plus computes them.

    The box head of a detector that is trained on a few hundred images finds objects, but knows few names. NanoDet-Plus
    was trained on all of COCO train2017. Where its boxes agree with a box, its class scores vote on the class. A box
    whose class remains in doubt is often no object, so its score is multiplied by how certain the class is. The votes
    count less where the box head sees a class that NanoDet-Plus does not know.

    No loss trains it: it knows the pyramid that it was trained with, and one that has moved little from there.

    Args:
        config: `dense_classes` are the names of its outputs. One that `class_names` does not have is not used.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        classes, names = config.dense_classes, config.class_names
        self.towers = nn.ModuleList(nn.Sequential(Separable(CHANNELS), Separable(CHANNELS)) for _ in _STRIDES)
        self.outputs = nn.ModuleList(nn.Conv2d(CHANNELS, len(classes) + 4 * _BINS, 1) for _ in _STRIDES)
        self._classes = len(classes)
        used = [(output, names.index(name)) for output, name in enumerate(classes) if name in names]
        self._used = tuple(output for output, _ in used)
        self._labels = tuple(label for _, label in used)
        self._foreign = tuple(label for label, name in enumerate(names) if name not in classes)
        self._names = len(names)
        self.requires_grad_(False)

    def forward(self, levels: Sequence[Tensor]) -> DenseCells:
        """The cells with the highest scores. levels: P3 to P6, (B, 96, h, w) each."""
        scores, boxes = [], []
        for features, tower, output, stride in zip(levels, self.towers, self.outputs, _STRIDES, strict=True):
            cells = output(tower(features)).flatten(2).transpose(1, 2).float()
            used = constant(self._used, torch.int64, cells.device)
            scores.append(cells[..., : self._classes][..., used].sigmoid())
            boxes.append(_boxes(cells[..., self._classes :], features, stride))
        # A small image has fewer cells. None of the boxes is empty: its overlap with another empty one would be NaN.
        all_scores = functional.pad(torch.cat(scores, 1), (0, 0, 0, CELLS))
        all_boxes = functional.pad(torch.cat(boxes, 1), (0, 0, 0, CELLS)) + constant_like((0, 0, 1e-3, 1e-3), boxes[0])
        best = all_scores.amax(2).topk(CELLS, 1).indices[..., None]
        return DenseCells(
            all_scores.gather(1, best.expand(-1, -1, len(self._used))), all_boxes.gather(1, best.expand(-1, -1, 4))
        )

    def name(self, boxes: Tensor, probabilities: Tensor, cells: DenseCells) -> tuple[Tensor, Tensor]:
        """The class (B, P) of each box, 0 to C - 1, that the box head and the votes of the cells together prefer, and
        how certain that is, (B, P) from 0 to 1.

        Args:
            boxes: (B, P, 4) in pixels of the input.
            probabilities: (B, P, C) of the classes, by the box head.
            cells: what `forward` returned.
        """
        agreement = pairwise_iou(boxes, cells.boxes) ** _SHARPNESS
        votes = torch.matmul(agreement, cells.scores) / (agreement.sum(2, keepdim=True) + 1e-6)
        if self._foreign:
            foreign = probabilities[..., constant(self._foreign, torch.int64, boxes.device)]
            votes = votes * (1 - foreign.sum(2, keepdim=True))
        voted = constant(self._labels, torch.int64, boxes.device)
        rivals = torch.cat((probabilities, probabilities[..., voted] + _WEIGHT * votes), 2)
        labels = constant((*range(self._names), *self._labels), torch.int64, boxes.device)
        most, winner = rivals.max(2)
        return labels[winner], most.clamp(max=1)


def _boxes(logits: Tensor, features: Tensor, stride: int) -> Tensor:
    """Boxes (B, h * w, 4) of the logits (B, h * w, 4 * _BINS) of a level."""
    steps = torch.arange(_BINS, dtype=torch.float32, device=logits.device)
    distances = (logits.unflatten(2, (4, _BINS)).softmax(3) * steps).sum(3) * stride
    y = torch.arange(features.shape[2], dtype=torch.float32, device=logits.device) * stride
    x = torch.arange(features.shape[3], dtype=torch.float32, device=logits.device) * stride
    grid_y, grid_x = torch.meshgrid(y, x, indexing='ij')
    centers = torch.stack((grid_x, grid_y), -1).reshape(-1, 2)
    return torch.cat((centers - distances[..., :2], centers + distances[..., 2:]), 2)
