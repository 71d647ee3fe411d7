"""ShufflePyramid: ShuffleNetV2 (Ma et al. 2018) with the GhostPAN pyramid of NanoDet-Plus, and a level at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = 'nanodet_plus_m'
"""Value of `ModelConfig.backbone`: the sizes are those of NanoDet-Plus-m, whose weights fit."""
CHANNELS = 96
"""Channels of every level."""

_STAGES = ((24, 116, 4), (116, 232, 8), (232, 464, 4))
"""Input channels, output channels and units of the stages at strides 8, 16 and 32."""
_SLOPE = 0.1


class Convolution(nn.Sequential):
    """A convolution with bias and, unless `linear`, a leaky ReLU. Batch norm is folded into it.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: side; the padding keeps the size.
        stride: 1 or 2.
        linear: whether to leave out the activation.
        each: a depthwise convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, linear: bool = False, each: bool = False
    ) -> None:
        groups = inputs if each else 1
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        super().__init__(conv, *([] if linear else [nn.LeakyReLU(_SLOPE, inplace=True)]))


def _depthwise(channels: int, kernel: int, stride: int = 1, *, linear: bool = False) -> Convolution:
    return Convolution(channels, channels, kernel, stride, linear=linear, each=True)


class Separable(nn.Sequential):
    """A depthwise 5x5 and a 1x1 convolution, each with an activation."""

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(_depthwise(channels, 5, stride), Convolution(channels, channels))


class ShuffleUnit(nn.Module):
    """The unit of ShuffleNetV2: half of the channels pass unchanged, then both halves are interleaved."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(Convolution(half, half), _depthwise(half, 3, linear=True), Convolution(half, half))

    def forward(self, features: Tensor) -> Tensor:
        kept, changed = features.chunk(2, 1)
        return _interleave(kept, self.branch(changed))


class ShuffleReduction(nn.Module):
    """The unit of ShuffleNetV2 that halves the size: both branches see all channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = nn.Sequential(_depthwise(inputs, 3, 2, linear=True), Convolution(inputs, half))
        self.branch = nn.Sequential(
            Convolution(inputs, half), _depthwise(half, 3, 2, linear=True), Convolution(half, half)
        )

    def forward(self, features: Tensor) -> Tensor:
        return _interleave(self.short(features), self.branch(features))


def _interleave(first: Tensor, second: Tensor) -> Tensor:
    """Channels of both in turn."""
    batch, channels, height, width = first.shape
    return torch.stack((first, second), 2).reshape(batch, 2 * channels, height, width)


class GhostBlock(nn.Module):
    """Two ghost modules (Han et al. 2020) beside a depthwise shortcut; joins two maps of CHANNELS to one."""

    def __init__(self) -> None:
        super().__init__()
        half, both = CHANNELS // 2, 2 * CHANNELS
        self.first = Convolution(both, half)
        self.first_ghost = _depthwise(half, 3)
        self.second = Convolution(CHANNELS, half, linear=True)
        self.second_ghost = _depthwise(half, 3, linear=True)
        self.shortcut = nn.Sequential(_depthwise(both, 5, linear=True), Convolution(both, CHANNELS, linear=True))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        joined = torch.cat((coarse, fine), 1)
        first = self.first(joined)
        second = self.second(torch.cat((first, self.first_ghost(first)), 1))
        return torch.cat((second, self.second_ghost(second)), 1) + self.shortcut(joined)


class GhostPan(nn.Module):
    """The pyramid of NanoDet-Plus: top-down and bottom-up paths over strides 8, 16 and 32, and a level at stride 64."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(Convolution(channels, CHANNELS) for _, channels, _ in _STAGES)
        self.down = nn.ModuleList(GhostBlock() for _ in range(2))
        self.shrink = nn.ModuleList(Separable(CHANNELS, 2) for _ in range(2))
        self.up = nn.ModuleList(GhostBlock() for _ in range(2))
        self.last_input = Separable(CHANNELS, 2)
        self.last_output = Separable(CHANNELS, 2)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (reduce(each) for reduce, each in zip(self.reduce, features, strict=True))
        middle = self.down[0](_twice(coarse), middle)
        fine = self.down[1](_twice(middle), fine)
        middle = self.up[0](self.shrink[0](fine), middle)
        top = self.up[1](self.shrink[1](middle), coarse)
        return [fine, middle, top, self.last_input(coarse) + self.last_output(top)]


def _twice(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode='bilinear', align_corners=False)


class NanoDetBody(nn.Module):
    """ShuffleNetV2 1.0x with GhostPAN: the part of NanoDet-Plus-m whose weights fit.

    Computes features by level from images (B, 3, H, W) RGB: '2' is the stem (24 channels), '3' to '6' are the pyramid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 24, 3, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(ShuffleReduction(inputs, outputs), *(ShuffleUnit(outputs) for _ in range(units - 1)))
            for inputs, outputs, units in _STAGES
        )
        self.pan = GhostPan()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = [functional.max_pool2d(self.stem(images), 3, 2, 1)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        levels = (features[0], *self.pan(features[1:]))
        return {str(level): each for level, each in enumerate(levels, 2)}


class ShufflePyramid(nn.Module):
    """Feature maps P2 to P6 (B, 96, H / stride, W / stride) from images (B, 3, H, W) RGB, H and W multiples of 32.

    P3 to P6 are those of NanoDet-Plus-m (https://github.com/RangiLyu/nanodet). P2, which masks of small objects need,
    adds the features of the stem to the enlarged P3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = NanoDetBody()
        self.finest = Convolution(24, CHANNELS)

    def forward(self, images: Tensor) -> list[Tensor]:
        stem, *levels = self.body(images).values()
        return [self.finest(stem) + _twice(levels[0]), *levels]
