"""FrameEncoder: a backbone that takes an image and additional planes such as a mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vis_ros.networks.backbone import build_body
from vis_ros.propagation.propagation_config import PropagationConfig

_EXTRA_STD = 1e-2
"""Standard deviation of the initial weights of additional planes: small, so that pretrained features are kept."""


class FrameEncoder(nn.Module):
    """Planes (B, 3 + extra, H, W) to features at strides 4, 8, 16 and 32; H and W are multiples of 32.

    The first three planes are normalized RGB. For additional planes the first convolution is widened, which equals
    adding the output of a second convolution, as in RGMP. Batch norm is frozen.

    channels: number of channels of the four feature maps.
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
    """Add `extra` input planes to the first convolution, in place. The weights of the other planes stay."""
    first = next(module for module in body.modules() if isinstance(module, nn.Conv2d))
    weight = first.weight.detach()
    widened = torch.empty(len(weight), weight.shape[1] + extra, *weight.shape[2:])
    widened[:, : weight.shape[1]] = weight
    nn.init.normal_(widened[:, weight.shape[1] :], std=_EXTRA_STD)
    first.in_channels += extra
    first.weight = nn.Parameter(widened)
