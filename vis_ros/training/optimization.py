"""Optimizer, learning rate schedule, frozen weights and precision of a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from vis_ros.networks.backbone import PyramidBackbone, TimmBody
from vis_ros.networks.shuffle_pyramid import ShufflePyramid
from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.training.train_config import TrainConfig

_MOMENTUM = 0.9
_DECAY = 0.1
_COLORS = 3
_PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def backbone_bodies(network: nn.Module) -> list[nn.Module]:
    """The backbones of a network: one in Mask R-CNN, one for each frame encoder of a propagation network."""
    bodies = (PyramidBackbone, ShufflePyramid, FrameEncoder)
    return [each.body for each in network.modules() if isinstance(each, bodies)]


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of all weights that are not frozen. Backbones have a learning rate of their own."""
    body = [p for each in backbone_bodies(network) for p in each.parameters() if p.requires_grad]
    inside = {id(p) for p in body}
    heads = [p for p in network.parameters() if p.requires_grad and id(p) not in inside]
    groups: list[dict[str, Any]] = [
        {'params': body, 'lr': config.backbone_learning_rate},
        {'params': heads, 'lr': config.learning_rate},
    ]
    if config.optimizer == 'sgd':
        return torch.optim.SGD(groups, momentum=_MOMENTUM, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Factor of the learning rates at a step: a linear warm-up, then a cosine down to 1 % or steps of a tenth."""
    if step < config.warm_up_steps:
        return config.warm_up_from + (1 - config.warm_up_from) * (step + 1) / config.warm_up_steps
    if config.schedule == 'step':
        return _DECAY ** sum(step >= at for at in config.decay_steps)
    progress = (step - config.warm_up_steps) / max(config.steps - config.warm_up_steps, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1))) / 2


def freeze(network: nn.Module, blocks: int) -> None:
    """Freeze all batch norms, the stem and the first `blocks` blocks of every backbone; -1 freezes batch norms only.

    The blocks of a ResNet are its layers, from layer1; those of ShuffleNet are its stages. The first convolution of a
    widened stem stays trainable, because the weights of its additional input planes are new.
    """
    for body in backbone_bodies(network):
        _freeze_body(body, blocks)


def _freeze_body(body: nn.Module, blocks: int) -> None:
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            for parameter in module.parameters():
                parameter.requires_grad_(False)
    if blocks < 0:
        return
    inner = body.network if isinstance(body, TimmBody) else body
    for name, parameter in inner.named_parameters():
        head, _, rest = name.partition('.')
        stem = head in ('conv_stem', 'conv1', 'bn1', 'stem') and not (
            parameter.ndim == 4 and parameter.shape[1] > _COLORS
        )
        first = stem or head in {f'layer{i + 1}' for i in range(blocks)}
        if first or (head in ('blocks', 'stages') and int(rest.split('.')[0]) < blocks):
            parameter.requires_grad_(False)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the forward pass for TrainConfig.precision on a device."""
    if precision != 'auto':
        return _PRECISIONS[precision]
    if device.type != 'cuda':
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
