"""DeepLabEncoder: DeepLabv3+ (Chen et al., ECCV 2018) without classifier, the encoder of the published FEELVOS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.deeplabv3 import ASPP

_OUTPUT_STRIDE, _RATES = 16, (6, 12, 18)
_LOW_CHANNELS = 48


class DeepLabEncoder(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, H / 4, W / 4); H and W are multiples of 32. Batch norm is frozen.

    Args:
        backbone: a timm network with dilation, such as 'xception65'; it runs at output stride 16.
        channels: of the atrous spatial pyramid pooling (rates 6, 12 and 18) and of the decoder.
    """

    def __init__(self, backbone: str, channels: int) -> None:
        super().__init__()
        import timm

        self.body = timm.create_model(backbone, features_only=True, pretrained=False, output_stride=_OUTPUT_STRIDE)
        info: Any = self.body.feature_info
        self._low = info.reduction().index(4)
        self.pooling = ASPP(info.channels()[-1], list(_RATES), channels)
        self.low = nn.Sequential(
            nn.Conv2d(info.channels()[self._low], _LOW_CHANNELS, 1, bias=False),
            nn.BatchNorm2d(_LOW_CHANNELS),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(_separable(channels + _LOW_CHANNELS, channels), _separable(channels, channels))

    def forward(self, images: Tensor) -> Tensor:
        levels = self.body(images)
        low = self.low(levels[self._low])
        high = functional.interpolate(self.pooling(levels[-1]), low.shape[2:], mode='bilinear')
        return self.decoder(torch.cat((high, low), 1))

    def train(self, mode: bool = True) -> DeepLabEncoder:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
