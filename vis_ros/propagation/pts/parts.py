"""The parts of PTS with fixed shapes, which are traced to graphs. What OTN learns is not among them: see
`OnlineClassifier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.box_crops import crop_regions
from vis_ros.propagation.blocks.network_input import normalized
from vis_ros.propagation.part import Axes, Part
from vis_ros.propagation.pts.network import Pts


def pts_parts(network: Pts) -> Mapping[str, Part]:
    """Name -> part.

    `frame` runs once for each image; `box_features` for the boxes that OTN scores or learns from; `reference` once for
    each object, `segment` once for each object and image.
    """
    return {
        'frame': PtsFrame(network),
        'box_features': BoxFeatures(network),
        'reference': PtsReference(network),
        'segment': PtsSegment(network),
    }


class PtsFrame(nn.Module):
    """An image (H, W, 3) uint8 BGR to what `BoxFeatures` takes: features of the encoder of RGSN (1, C, H / s, W / s) at
    strides 8 and 16, normalized; with otn_features 'vgg_m' the normalized image (1, 3, H, W).
    """

    axes: ClassVar[Axes] = {'image': (0, 1)}

    def __init__(self, network: Pts) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.frame(normalized(image, self.network.config)))

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8)]


class BoxFeatures(nn.Module):
    """Features (P, F) of boxes (P, 4) in pixels, from what `PtsFrame` returns."""

    def __init__(self, network: Pts) -> None:
        super().__init__()
        self.network = network
        maps = len(network.frame(torch.zeros(1, 3, 32, 32, device=next(network.parameters()).device)))
        self.axes: Axes = {'boxes': (0,), **{f'map{number}': (2, 3) for number in range(maps)}}

    def forward(self, boxes: Tensor, *maps: Tensor) -> Tensor:
        return self.network.otn.box_features(maps, boxes)

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        corners = torch.rand(20, 2) * torch.tensor([size[1] / 2, size[0] / 2])
        boxes = torch.cat((corners, corners + 5 + torch.rand(20, 2) * min(size) / 3), 1)
        return [boxes, *PtsFrame(self.network)(*PtsFrame(self.network).example(size))]


class PtsReference(nn.Module):
    """Features (1, C, S / 32, S / 32) of the reference crop.

    Takes the image (H, W, 3) uint8 BGR, the region (4,) x0 y0 x1 y1 of the crop in pixels, and the mask (S, S) in it.
    """

    axes: ClassVar[Axes] = {'image': (0, 1), 'region': (), 'mask': ()}

    def __init__(self, network: Pts) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, region: Tensor, mask: Tensor) -> Tensor:
        pixels = crop_regions(normalized(image, self.network.config), region[None], self.network.config.crop_size)
        return self.network.rgsn.reference(pixels, mask[None, None])

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        region = torch.tensor([0.2, 0.1, 0.7, 0.9]) * torch.tensor([size[1], size[0], size[1], size[0]])
        side = self.network.config.crop_size
        return [*PtsFrame(self.network).example(size), region, (torch.rand(side, side) > 0.5).float()]


class PtsSegment(nn.Module):
    """The probability (S, S) that a pixel of a crop is on an object.

    Takes the image and the region as `PtsReference`, the heat map (S, S) of the previous mask in the crop, and the
    features of the reference crop.
    """

    axes: ClassVar[Axes] = {'image': (0, 1), 'region': (), 'heat_map': (), 'reference': ()}

    def __init__(self, network: Pts) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, region: Tensor, heat_map: Tensor, reference: Tensor) -> Tensor:
        pixels = crop_regions(normalized(image, self.network.config), region[None], self.network.config.crop_size)
        return self.network.rgsn(pixels, heat_map[None, None], reference).softmax(1)[0, 1]

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        image, region, mask = PtsReference(self.network).example(size)
        channels, cells = self.network.rgsn.encoder.channels[-1], self.network.config.crop_size // 32
        return [image, region, mask, torch.rand(1, channels, cells, cells)]
