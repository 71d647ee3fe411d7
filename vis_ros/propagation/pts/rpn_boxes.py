"""RpnBoxes: the part of a detector that proposes regions for PTS, which torch runs or which is traced to a graph."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vis_ros.networks.anchors import RPN_WEIGHTS, decode_boxes, pyramid_anchors
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.propagation.blocks.network_input import normalized
from vis_ros.propagation.part import Axes


class RpnBoxes(nn.Module):
    """An image (H, W, 3) uint8 BGR to the objectness (A,) and the boxes (A, 4) in pixels of all anchors of each level,
    in turn: scores of P2, boxes of P2, scores of P3 and so on. H and W are multiples of 32.
    """

    axes: ClassVar[Axes] = {'image': (0, 1)}

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        config = self.network.config
        features = self.network.features(normalized(image, config))
        logits, deltas = self.network.rpn_outputs(features)
        grids = [(level.shape[2], level.shape[3]) for level in features]
        anchors = pyramid_anchors(config, (image.shape[0], image.shape[1]), grids)
        found: list[Tensor] = []
        for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
            found += [logit[0], decode_boxes(delta[0], anchor.to(delta.device), RPN_WEIGHTS, config)]
        return tuple(found)

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8)]
