"""The ConvNet with a feature pyramid network (Lin et al. 2017), and folding of its batch norm."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet, resnet18, resnet50, resnet101
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from vis_ros.networks import shuffle_pyramid
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.shuffle_pyramid import ShufflePyramid

STRIDES = (4, 8, 16, 32, 64)
"""Pixels per cell of P2 to P6."""

_RESNETS = {
    'resnet18': resnet18,
    'resnet50': resnet50,
    'resnet101': resnet101,
    'resnext101_64x4d': resnet.resnext101_64x4d,
}


class PyramidBackbone(nn.Module):
    """Computes five feature maps P2 to P6, each with `fpn_channels`, from images (B, 3, H, W) float.

    H and W are multiples of 32. Parameters are named as in torchvision: `body.*`, `fpn.inner_blocks.*`,
    `fpn.layer_blocks.*`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.body, channels = build_body(config.backbone, config.batch_norm_eps, config.batch_norm_folded)
        self.fpn = FeaturePyramidNetwork(
            channels,
            config.fpn_channels,
            extra_blocks=LastLevelMaxPool(),
            norm_layer=_group_norm if config.fpn_norm == 'group' else None,
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.fpn(self.body(images)).values())


def build_pyramid(config: ModelConfig) -> PyramidBackbone | ShufflePyramid:
    """The ConvNet and pyramid for `ModelConfig.backbone`. ValueError if fpn_channels does not fit."""
    if config.backbone != shuffle_pyramid.NAME:
        return PyramidBackbone(config)
    if config.fpn_channels != shuffle_pyramid.CHANNELS:
        raise ValueError(
            f'fpn_channels is {config.fpn_channels}, but backbone {config.backbone} has {shuffle_pyramid.CHANNELS}'
        )
    return ShufflePyramid()


class TimmBody(nn.Module):
    """Any timm network with features at strides 4, 8, 16 and 32. Its batch norm is frozen.

    Args:
        name: of the timm network.
        folded: build it without batch norm (`ModelConfig.batch_norm_folded`).

    Raises:
        ValueError: the network has no features at one of the strides.
    """

    def __init__(self, name: str, folded: bool = False) -> None:
        super().__init__()
        import timm

        network = timm.create_model(name, features_only=True, pretrained=False)
        info: Any = network.feature_info
        reductions = info.reduction()
        missing = sorted({4, 8, 16, 32} - set(reductions))
        if missing:
            raise ValueError(f'backbone {name!r} has no features at stride {missing[0]}, only at {reductions}')
        self.network = network
        self.levels = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES[:4]]
        self.channels = [info.channels()[level] for level in self.levels]
        if folded:
            fold_batch_norm(self.eval(), noise_images())
            self.train().requires_grad_(True)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.network(images)
        return OrderedDict((str(i), features[level]) for i, level in enumerate(self.levels))

    def train(self, mode: bool = True) -> TimmBody:
        """Keep batch norm in evaluation mode: the batches of detection training are too small for its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def build_body(backbone: str, batch_norm_eps: float = 1e-5, folded: bool = False) -> tuple[nn.Module, list[int]]:
    """The body for `ModelConfig.backbone`, and the channels of its features at strides 4, 8, 16 and 32."""
    if backbone not in _RESNETS:
        body = TimmBody(backbone, folded)
        return body, body.channels
    network = _RESNETS[backbone](weights=None, norm_layer=partial(FrozenBatchNorm2d, eps=batch_norm_eps))
    width = network.inplanes // 8
    layers = {f'layer{i + 1}': str(i) for i in range(4)}
    return IntermediateLayerGetter(network, layers), [width, width * 2, width * 4, width * 8]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 8, channels)


def noise_images() -> Tensor:
    """An image of noise (1, 3, 64, 64) for `fold_batch_norm`, the same each time."""
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def fold_batch_norm(network: nn.Module, example: Tensor) -> int:
    """Fold each batch norm into the convolution in front of it, in place; returns the number of folded layers.

    The pairs are found by running `example` and recording which convolution computed the input of which batch norm, so
    this works for any network, whatever its parameters are called. A batch norm that includes an activation (timm) is
    replaced by the activation. If the output of a convolution is used elsewhere too (timm's xception41p), folding would
    change the features; then nothing is folded.

    Args:
        network: computes feature maps by name from images, in evaluation mode.
        example: (B, 3, H, W) noise. A blank image would hide differences.
    """
    pairs, before = _pair_norms(network, example)
    names = {module: name for name, module in network.named_modules()}
    unfolded = [(norm, conv, conv.weight, conv.bias) for norm, conv in pairs.items()]
    for norm, conv in pairs.items():
        _fold(conv, norm)
        _replace(network, names[norm], getattr(norm, 'act', nn.Identity()))
    with torch.no_grad():
        after = network(example)
    if all((before[name] - after[name]).abs().max() <= 1e-3 * before[name].abs().max() for name in before):
        return len(pairs)
    for norm, conv, weight, bias in unfolded:
        conv.weight, conv.bias = weight, bias
        _replace(network, names[norm], norm)
    return 0


def _pair_norms(network: nn.Module, example: Tensor) -> tuple[dict[nn.Module, nn.Conv2d], dict[str, Tensor]]:
    """Batch norm -> the convolution that computed its input; and the features of the example."""
    producers: dict[int, tuple[Tensor, nn.Conv2d]] = {}
    pairs: dict[nn.Module, nn.Conv2d] = {}

    def remember(conv: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        producers[id(output)] = (output, conv)  # keep the tensor alive, so that its id is not reused

    def pair(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in producers:
            pairs[norm] = producers[id(inputs[0])][1]

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(remember))
        elif isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            hooks.append(module.register_forward_pre_hook(pair))
    with torch.no_grad():
        features = network(example)
    for hook in hooks:
        hook.remove()
    return pairs, features


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # type: ignore[operator]
    bias = norm.bias - norm.running_mean * scale  # type: ignore[operator]
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(bias if conv.bias is None else bias + conv.bias * scale, requires_grad=False)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition('.')
    setattr(network.get_submodule(parent), attribute, module)
