"""FrameEncoder: the ConvNet of the propagation networks, which takes an image and further planes such as a mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vis_ros.networks.backbone import build_body
from vis_ros.propagation.propagation_config import PropagationConfig

_EXTRA_STD = 1e-2
"""Of the fresh weights of further planes: small, so that the start is the pretrained network."""


class FrameEncoder(nn.Module):
    """Planes (B, 3 + extra, H, W) to features at strides 4, 8, 16 and 32; H and W are multiples of 32.

    The first three planes are normalised RGB. With further planes the first convolution is widened, which is the same
    as a second convolution whose output is added (as RGMP has it). Batch norm is frozen.

    channels: of the four feature maps.
    """

    def __init__(self, config: PropagationConfig, extra: int = 0) -> None:
        super().__init__()
        self.body, self.channels = build_body(config.backbone, folded=config.batch_norm_folded)
        self.extra = extra
        if extra:
            widen_stem(self.body, extra)

    def forward(self, planes: Tensor) -> list[Tensor]:
        return list(self.body(planes).values())


def widen_stem(body: nn.Module, extra: int) -> None:
    """Give the first convolution `extra` more input planes, in place; the weights of the others stay."""
    first = next(module for module in body.modules() if isinstance(module, nn.Conv2d))
    weight = first.weight.detach()
    widened = torch.empty(len(weight), weight.shape[1] + extra, *weight.shape[2:])
    widened[:, : weight.shape[1]] = weight
    nn.init.normal_(widened[:, weight.shape[1] :], std=_EXTRA_STD)
    first.in_channels += extra
    first.weight = nn.Parameter(widened)
