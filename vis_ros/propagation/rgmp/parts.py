"""The parts of RGMP with fixed shapes, which are traced to graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.network_input import normalized
from vis_ros.propagation.part import Axes, Part
from vis_ros.propagation.rgmp.network import Rgmp


def rgmp_parts(network: Rgmp) -> Mapping[str, Part]:
    """Name -> part. `reference` runs once for each object, `segment` once for each object and image."""
    return {'reference': RgmpReference(network), 'segment': RgmpSegment(network)}


class RgmpReference(nn.Module):
    """Features (1, C, H / 32, W / 32) of a reference frame: an image (H, W, 3) uint8 BGR and a mask (H, W) float."""

    axes: ClassVar[Axes] = {'image': (0, 1), 'mask': (0, 1)}

    def __init__(self, network: Rgmp) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.network.reference(normalized(image, self.network.config), mask[None, None])

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        return [torch.randint(0, 256, (*size, 3), dtype=torch.uint8), (torch.rand(size) > 0.5).float()]


class RgmpSegment(nn.Module):
    """The probability (H, W) that a pixel is on an object, from the image (H, W, 3) uint8 BGR, the soft mask (H, W) in
    the previous frame, and the features of the reference frame.
    """

    axes: ClassVar[Axes] = {'image': (0, 1), 'previous': (0, 1), 'reference': (2, 3)}

    def __init__(self, network: Rgmp) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, previous: Tensor, reference: Tensor) -> Tensor:
        return self.network(normalized(image, self.network.config), previous[None, None], reference)[0, 0]

    def example(self, size: tuple[int, int]) -> list[Tensor]:
        image, mask = RgmpReference(self.network).example(size)
        channels = self.network.encoder.channels[-1]
        return [image, mask, torch.rand(1, channels, size[0] // 32, size[1] // 32)]
