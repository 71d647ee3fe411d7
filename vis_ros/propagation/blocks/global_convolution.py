"""Global convolution and refinement: the decoder blocks of RGMP and RGSN."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """x plus two 3x3 convolutions of x, each after a ReLU (pre-activation, He et al. 2016, without batch norm)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(functional.relu(self.conv1(functional.relu(features))))


class GlobalConvolution(nn.Module):
    """Features (B, in_channels, h, w) to (B, channels, h, w) with a receptive field of kernel x kernel cells.

    The sum of a column after a row convolution and a row after a column convolution (Large Kernel Matters, Peng et al.
    2017, section 3.1). The residual block that follows there and in RGMP is separate. kernel: odd.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int = 7) -> None:
        super().__init__()
        column: tuple[int, int] = (kernel, 1)
        row: tuple[int, int] = (1, kernel)
        self.left = nn.Sequential(_convolution(in_channels, channels, column), _convolution(channels, channels, row))
        self.right = nn.Sequential(_convolution(in_channels, channels, row), _convolution(channels, channels, column))

    def forward(self, features: Tensor) -> Tensor:
        return self.left(features) + self.right(features)


class Refinement(nn.Module):
    """One refinement step to finer features (Pinheiro et al. 2016, as used in RGMP, section 3.1).

    Projects the skip features (B, skip_channels, H, W) to the channels of the decoder, enlarges the coarse features
    (B, channels, h, w) to H x W, and passes their sum through a residual block: (B, channels, H, W).
    """

    def __init__(self, skip_channels: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(skip_channels, channels, 3, padding=1)
        self.skip_residual = ResidualBlock(channels)
        self.residual = ResidualBlock(channels)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        fine = self.skip_residual(self.project(skip))
        enlarged = functional.interpolate(coarse, fine.shape[2:], mode='bilinear')
        return self.residual(fine + enlarged)


def _convolution(in_channels: int, channels: int, kernel: tuple[int, int]) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
