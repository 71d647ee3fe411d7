"""Converts published checkpoints (.pth) of torchvision, mmdetection, mmtracking and MaskTrackRCNN to model files."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from vis_ros.claim import check_new
from vis_ros.networks.checkpoint_file import State, read_checkpoint
from vis_ros.networks.checkpoint_layouts import (
    BACKBONES,
    COCO_80,
    COCO_91,
    LAYOUTS,
    UNNEEDED_TENSORS,
    YOUTUBE_VIS,
    CheckpointLayout,
)
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model


def convert(path: Path, layout: str = 'auto', out: Path | None = None) -> Path:
    """Convert a published checkpoint to a model file in float32; returns the path of the model file.

    Args:
        path: a .pth file, or a .safetensors file with the tensors of such a checkpoint.
        layout: 'auto', or a name from LAYOUTS.
        out: the file to write; None writes it beside `path` with the suffix .safetensors.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        FileExistsError: the file to write exists.
        ValueError: the file is damaged, contains more than tensors and plain values, or is not a Mask R-CNN of a known
            layout. The message names what was found.
    """
    out = out or path.with_suffix('.safetensors')
    if out == path:
        raise ValueError(f'{path} would be overwritten by its own model file: choose another output file')
    check_new(out, '--out')
    state, meta = read_checkpoint(path)
    try:
        network = network_of_checkpoint(state, meta, layout, path.stem)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(network, out, torch.float32)
    return out


def network_of_checkpoint(state: State, meta: dict[str, Any], layout: str, name: str) -> MaskRCNN:
    """The network in a checkpoint, in evaluation mode.

    Args:
        state: tensors under their published names.
        meta: metadata of the checkpoint. Class names are read from it, and the style of the backbone.
        layout: 'auto', or a name from LAYOUTS.
        name: of the checkpoint file, without suffix.

    Raises:
        ValueError: see `convert`.
    """
    if layout == 'auto':
        layout = recognize_layout(state)
    elif layout not in LAYOUTS:
        raise ValueError(f'layout {layout!r} is not one of auto, {", ".join(LAYOUTS)}')
    _check_variant(meta, name)
    state = _translate(state, LAYOUTS[layout])
    config = _config(state, meta, LAYOUTS[layout], name)
    if layout == 'torchvision':
        config = config.with_fields(batch_norm_eps=_torchvision_eps(state))
    state = {key: tensor for key, tensor in state.items() if not UNNEEDED_TENSORS.search(key)}
    with torch.device('meta'):
        network = build_network(config)
    _check_fit(state, network.state_dict(), layout)
    network.load_state_dict({key: tensor.float().clone() for key, tensor in state.items()}, assign=True)
    return network.eval()


# --- layout ---------------------------------------------------------------------------------------------------------


def recognize_layout(state: State) -> str:
    """The layout of a checkpoint, recognized by the names of its tensors. Raises ValueError if it is unknown."""

    def has(*prefixes: str) -> bool:
        return all(any(name.startswith(prefix) for name in state) for prefix in prefixes)

    if has('backbone.body.', 'roi_heads.'):
        return 'torchvision'
    if has('detector.backbone.', 'detector.roi_head.') or has('backbone.', 'roi_head.'):
        return 'mmdet'
    if has('backbone.', 'rpn_head.', 'bbox_head.'):
        return 'official'
    raise ValueError(f'this is not a Mask R-CNN of {", ".join(LAYOUTS)}: its {_summary(state)}')


def _summary(state: State) -> str:
    modules = Counter('.'.join(name.split('.')[:2]) for name in state)
    found = ', '.join(f'{module} ({count})' for module, count in modules.most_common(12))
    return f'{len(state)} tensors are in {found}' + (', ...' if len(modules) > 12 else '')


def _check_variant(meta: dict[str, Any], name: str) -> None:
    """Reject a backbone whose tensors have the same names and shapes but another meaning."""
    configs = ' '.join(str(meta.get(key, '')) for key in ('config', 'cfg'))
    if re.search(r'style\s*=\s*[\'"]caffe', configs) or 'caffe' in name:
        raise ValueError('backbones of the caffe style (stride in the first 1x1 convolution) are not supported')


def _translate(state: State, layout: CheckpointLayout) -> State:
    """The tensors under torchvision's names, with the background as the first class."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in layout.names:
            name = re.sub(pattern, replacement, name, count=1)
        if name in renamed:
            raise ValueError(f'two tensors of the checkpoint would both be called {name}')
        renamed[name] = tensor
    return _background_first(renamed) if layout.background_last else renamed


def _background_first(state: State) -> State:
    """Move the background from the last class to the first.

    Its box deltas (4 rows per class) and its mask, which do not exist in the checkpoint, become zero.
    """
    state = dict(state)
    for kind in ('weight', 'bias'):
        for head, rows in (('box_predictor.bbox_pred', 4), ('mask_predictor.mask_fcn_logits', 1)):
            name = f'roi_heads.{head}.{kind}'
            if name in state:
                state[name] = torch.cat((torch.zeros_like(state[name][:rows]), state[name]))
        name = f'roi_heads.box_predictor.cls_score.{kind}'
        if name in state:
            state[name] = state[name].roll(1, 0)
    return state


def _torchvision_eps(state: State) -> float:
    """Epsilon of batch norm: 0 for the published COCO weights, whose batch norm is frozen and has no batch counter."""
    return 1e-5 if any(name.endswith('num_batches_tracked') for name in state) else 0.0


# --- config ---------------------------------------------------------------------------------------------------------


def _config(state: State, meta: dict[str, Any], layout: CheckpointLayout, name: str) -> ModelConfig:
    """The config of a checkpoint, from the shapes of its translated tensors, its layout and its class names."""

    def rows(key: str) -> int:
        if key not in state:
            raise ValueError(f'the checkpoint has no {key} under the names of this layout: the {_summary(state)}')
        return len(state[key])

    has_track_head = any(key.startswith('track_head.') for key in state)
    sizes: dict[str, Any] = {
        'fpn_channels': rows('backbone.fpn.inner_blocks.0.0.weight'),
        'box_head_channels': rows('roi_heads.box_head.fc6.weight'),
        'mask_channels': rows('roi_heads.mask_head.0.0.weight'),
    }
    if has_track_head:
        sizes['embedding_size'] = rows('track_head.fcs.0.weight')
    classes = rows('roi_heads.box_predictor.cls_score.weight') - 1
    return ModelConfig(
        name=name,
        class_names=_class_names(meta, name, classes, layout.edition),
        architecture='masktrack_rcnn' if has_track_head else 'mask_rcnn',
        backbone=_backbone(state),
        **sizes,
        **layout.conventions,
        **(layout.tracking if has_track_head else layout.plain),
    )


def _backbone(state: State) -> str:
    body = 'backbone.body.'
    blocks = len({key.split('.')[3] for key in state if key.startswith(f'{body}layer3.')})
    conv = state.get(f'{body}layer1.0.conv2.weight')
    kind = (f'{body}layer1.0.conv3.weight' in state, blocks, tuple(conv.shape[:2]) if conv is not None else (0, 0))
    if kind not in BACKBONES:
        raise ValueError(
            f'the backbone is not one of {", ".join(BACKBONES.values())}: it has {blocks} blocks in layer3 and '
            f'a second convolution of shape {kind[2]} in layer1'
        )
    return BACKBONES[kind]


def _class_names(meta: dict[str, Any], name: str, count: int, edition: str) -> tuple[str, ...]:
    """The class names in the checkpoint if their number fits, else those of a known data set with that many classes."""
    dataset = meta.get('dataset_meta')
    dataset = dataset if isinstance(dataset, dict) else {}
    for own in (meta.get('CLASSES'), dataset.get('classes'), dataset.get('CLASSES')):
        names = (own,) if isinstance(own, str) else tuple(map(str, own or ()))
        if len(names) == count:
            return names
    if count == len(COCO_91) - 1:
        return COCO_91[1:]
    if count == len(COCO_80):
        return COCO_80
    year = re.search(r'(?<!\d)(2019|2021)(?!\d)', name)  # not part of a date
    names = YOUTUBE_VIS.get(year[1] if year else edition, ())
    return names if len(names) == count else tuple(f'class_{index}' for index in range(count))


def _check_fit(state: State, wanted: State, layout: str) -> None:
    """Raise ValueError, naming every tensor that is missing, superfluous or of another shape."""
    problems = []
    if missing := sorted(wanted.keys() - state.keys()):
        problems.append(f'{len(missing)} tensors are missing: {", ".join(missing)}')
    if left_over := sorted(state.keys() - wanted.keys()):
        problems.append(f'{len(left_over)} tensors do not belong to Mask R-CNN: {", ".join(left_over)}')
    for name in sorted(wanted.keys() & state.keys()):
        found, expected = tuple(state[name].shape), tuple(wanted[name].shape)
        if found != expected:
            problems.append(f'{name} has shape {found}, expected {expected}')
    if problems:
        raise ValueError(f'layout {layout!r} does not fit. ' + '. '.join(problems))
