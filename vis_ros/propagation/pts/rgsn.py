"""Rgsn: the reference-guided segmentation network of PTS (Zhou et al. 2019, arXiv 1907.01203)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.blocks.global_convolution import GlobalConvolution, Refinement, ResidualBlock
from vis_ros.propagation.pts.config import PtsConfig

_HEAD_STD = 1e-3
"""Standard deviation of the initial weights of the logits: features may be large, and first masks must be undecided."""


class Rgsn(nn.Module):
    """Segments one object in a crop, given the heat map of its previous mask and a reference crop. Stateless.

    One encoder takes the reference crop with its mask and the target crop with the heat map. A global convolution joins
    the coarsest features of both; they are refined with the finer features of the target. The published network has the
    backbone 'resnet50' and 256 decoder channels.

    Images are (B, 3, S, S), normalized RGB. Masks and heat maps are (B, 1, S, S) in [0, 1]. S is a multiple of 32.
    """

    def __init__(self, config: PtsConfig) -> None:
        super().__init__()
        self.encoder = FrameEncoder(config, extra=1)
        self.decoder = RgsnDecoder(self.encoder.channels, config.decoder_channels)

    def encode(self, image: Tensor, plane: Tensor) -> list[Tensor]:
        """Features at strides 4 to 32 of an image with a plane: a mask, a heat map, or zeros if nothing is known."""
        return self.encoder(torch.cat((image, plane * 2 - 1), 1))  # scaled to the range of the image

    def reference(self, image: Tensor, mask: Tensor) -> Tensor:
        """Features (B, C, S / 32, S / 32) of the reference crop with its mask, computed once for each object."""
        return self.encode(image, mask)[-1]

    def forward(self, image: Tensor, heat_map: Tensor, reference: Tensor) -> Tensor:
        """Logits (B, 2, S, S) of background and object in the target crop."""
        return self.decoder(self.encode(image, heat_map), reference)


class RgsnDecoder(nn.Module):
    """From the features of the target at strides 4 to 32 and the coarsest of the reference to logits (B, 2, S, S).

    Args:
        channels: of the features of the encoder.
        width: channels of the decoder.
    """

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        *skips, coarsest = channels
        self.global_convolution = GlobalConvolution(2 * coarsest, width, kernel=7)
        self.residual = ResidualBlock(width)
        self.refinements = nn.ModuleList(Refinement(skip, width) for skip in reversed(skips))
        self.dropout = nn.Dropout2d(0.5)
        self.head = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.normal_(self.head.weight, std=_HEAD_STD)

    def forward(self, features: list[Tensor], reference: Tensor) -> Tensor:
        *skips, coarsest = features
        decoded = self.residual(self.global_convolution(torch.cat((coarsest, reference), 1)))
        for refine, skip in zip(self.refinements, reversed(skips), strict=True):
            decoded = refine(skip, decoded)
        return functional.interpolate(self.head(self.dropout(decoded)), scale_factor=4.0, mode='bilinear')
