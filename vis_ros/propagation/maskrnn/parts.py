"""The part of MaskRNN with fixed shapes, which is traced to a graph: no loop depends on values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.box_crops import clip_to, mask_boxes
from vis_ros.propagation.blocks.network_input import normalized
from vis_ros.propagation.maskrnn.network import MaskRnn, gate_boxes, refine, scaled_magnitude
from vis_ros.propagation.maskrnn.warp import warp
from vis_ros.propagation.part import Axes, Part

_PRIOR = 0.5
"""Share of the log odds of the object around its box that is added to the logits. The balanced loss treats both classes
as equally probable, which makes objects too large. Not published; chosen on the training half of DAVIS (J 0.64 without
it, 0.76 with it, 0.75 with all of the log odds)."""
_SURROUNDINGS = 1.8
"""The odds are counted in the box of the warped mask, enlarged by this factor as in the losses."""


def maskrnn_parts(network: MaskRnn) -> Mapping[str, Part]:
    """Name -> part. Both run once for each object. They are one graph too many for TensorRT to fuse."""
    return {'warp': MaskRnnWarp(), 'segment': MaskRnnSegment(network)}


class MaskRnnWarp(nn.Module):
    """The soft mask (1, H, W) in the previous frame, warped into the image, and its box (4,) x0 y0 x1 y1 in pixels.

    Takes the mask and the flow (2, H, W) in pixels from the image to the previous frame.
    """

    axes: ClassVar[Axes] = {'previous': (1, 2), 'flow': (1, 2)}

    def forward(self, previous: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        warped = warp(previous[None], flow[None])[0]
        return warped, clip_to(mask_boxes(warped > 0.5), (warped.shape[1], warped.shape[2]))[0]

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        mask = torch.zeros(1, *size)
        mask[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 0.9
        return [mask, torch.randn(2, *size)]


class MaskRnnSegment(nn.Module):
    """The soft mask (1, H, W) of an object in an image, and the gate (4,) x0 y0 x1 y1 in pixels, outside of which it
    does not count.

    Takes the image (H, W, 3) uint8 BGR, what `MaskRnnWarp` returns, and flows (F, 2, H, W) in pixels from the image to
    the previous frame and, if the network is not causal, to the next frame.
    """

    axes: ClassVar[Axes] = {'image': (0, 1), 'warped': (1, 2), 'box': (), 'flows': (2, 3)}

    def __init__(self, network: MaskRnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, warped: Tensor, box: Tensor, flows: Tensor) -> tuple[Tensor, Tensor]:
        magnitudes = scaled_magnitude(flows).transpose(0, 1)
        output = self.network(normalized(image, self.network.config), warped[None], magnitudes, box[None])
        logits = output.logits + _PRIOR * _log_odds(warped[None] > 0.5, box[None])
        return logits.sigmoid()[0], gate_boxes(refine(box[None], output.deltas))[0]

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        image = torch.randint(0, 256, (*size, 3), dtype=torch.uint8)
        warped, box = MaskRnnWarp()(*MaskRnnWarp().example(size))
        return [image, warped, box, torch.randn(1 if self.network.config.causal else 2, 2, *size)]


def _log_odds(masks: Tensor, boxes: Tensor) -> Tensor:
    """(M, 1, 1, 1): log odds that a pixel around the box (M, 4) of a mask (M, 1, h, w) is on the mask."""
    sides = boxes[:, 2:] - boxes[:, :2]
    surroundings = sides[:, 0] * sides[:, 1] * _SURROUNDINGS**2
    share = (masks.float().sum((1, 2, 3)) / surroundings.clamp(min=1)).clamp(0.02, 0.5)
    return torch.log(share / (1 - share))[:, None, None, None]
