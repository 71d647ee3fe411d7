"""Rgmp: mask propagation guided by a reference frame (Oh, Lee, Sunkavalli and Kim, CVPR 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.blocks.global_convolution import GlobalConvolution, Refinement, ResidualBlock
from vis_ros.propagation.rgmp.config import RgmpConfig


class Rgmp(nn.Module):
    """Segments one object in a frame, given its mask in the previous frame and a reference frame. Stateless.

    A Siamese encoder takes the reference frame with its mask and the target frame with the previous mask. A global
    convolution joins the coarsest features of both; they are refined with the finer features of the target (section
    3.1, figure 2). The published network has the backbone 'resnet50' and 256 decoder channels.

    Images are (B, 3, H, W), normalized RGB. Masks are (B, 1, H, W), probabilities. H and W are multiples of 32.
    """

    def __init__(self, config: RgmpConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = FrameEncoder(config, extra=1)
        *skips, coarsest = self.encoder.channels
        channels = config.decoder_channels
        self.global_convolution = GlobalConvolution(2 * coarsest, channels, kernel=7)
        self.residual = ResidualBlock(channels)
        self.refinements = nn.ModuleList(Refinement(skip, channels) for skip in reversed(skips))
        self.heads = nn.ModuleList(nn.Conv2d(channels, 2, 3, padding=1) for _ in self.encoder.channels)

    def reference(self, image: Tensor, mask: Tensor) -> Tensor:
        """Features (B, C, H / 32, W / 32) of the reference frame with its mask, computed once for each object."""
        return self._encode(image, mask)[-1]

    def segment(self, image: Tensor, previous: Tensor, reference: Tensor) -> list[Tensor]:
        """Logits (B, 2, h, w) of background and object at strides 4 (the result), 8, 16 and 32 (for training).

        Args:
            image: the target frame.
            previous: predicted soft mask in the previous frame; all zero for a lost object.
            reference: the result of `reference`.
        """
        *skips, coarsest = self._encode(image, previous)
        decoded = self.residual(self.global_convolution(torch.cat((coarsest, reference), 1)))
        logits = [self.heads[0](functional.relu(decoded))]
        for refine, head, skip in zip(self.refinements, self.heads[1:], reversed(skips), strict=True):
            decoded = refine(skip, decoded)
            logits.append(head(functional.relu(decoded)))
        return logits[::-1]

    def forward(self, image: Tensor, previous: Tensor, reference: Tensor) -> Tensor:
        """The mask (B, 1, H, W) in the target frame as probabilities, which are `previous` for the next frame."""
        return mask_probability(self.segment(image, previous, reference)[0], image.shape[2:])

    def _encode(self, image: Tensor, mask: Tensor) -> list[Tensor]:
        centerd = mask * 2 - 1  # into the range of the image
        return self.encoder(torch.cat((image, centerd), 1))


def mask_probability(logits: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Probability (B, 1, H, W) of the object from logits (B, 2, h, w), which are enlarged first."""
    return functional.interpolate(logits, size, mode='bilinear').softmax(1)[:, 1:]
