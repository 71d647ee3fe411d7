"""Published checkpoints (.pth) turned into model files: torchvision, mmdetection with mmtracking, the official code.

A layout says under which names the tensors lie, where the background class is, and with which numerics the weights
were trained (fields of ModelConfig). Of a checkpoint only tensors and plain values are read: no code in it ever runs.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model

State = dict[str, Tensor]

_COCO_91 = tuple(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories'])
"""Index = COCO's category id; index 0 is the background, ids that COCO never used are called N/A."""

_COCO_80 = tuple(name for name in _COCO_91[1:] if name != 'N/A')

_YOUTUBE_VIS = {
    '2019': (
        'person', 'giant_panda', 'lizard', 'parrot', 'skateboard', 'sedan', 'ape', 'dog', 'snake', 'monkey',
        'hand', 'rabbit', 'duck', 'cat', 'cow', 'fish', 'train', 'horse', 'turtle', 'bear',
        'motorbike', 'giraffe', 'leopard', 'fox', 'deer', 'owl', 'surfboard', 'airplane', 'truck', 'zebra',
        'tiger', 'elephant', 'snowboard', 'boat', 'shark', 'mouse', 'frog', 'eagle', 'earless_seal', 'tennis_racket',
    ),
    '2021': (
        'airplane', 'bear', 'bird', 'boat', 'car', 'cat', 'cow', 'deer', 'dog', 'duck',
        'earless_seal', 'elephant', 'fish', 'flying_disc', 'fox', 'frog', 'giant_panda', 'giraffe', 'horse', 'leopard',
        'lizard', 'monkey', 'motorbike', 'mouse', 'parrot', 'person', 'rabbit', 'shark', 'skateboard', 'snake',
        'snowboard', 'squirrel', 'surfboard', 'tennis_racket', 'tiger', 'train', 'truck', 'turtle', 'whale', 'zebra',
    ),
}  # fmt: skip

_BACKBONES = {
    (False, 2, (64, 64)): 'resnet18',
    (True, 6, (64, 64)): 'resnet50',
    (True, 23, (64, 64)): 'resnet101',
    (True, 23, (256, 4)): 'resnext101_64x4d',
}
"""(bottleneck blocks, blocks in layer3, shape of layer1.0.conv2) -> ModelConfig.backbone."""

_HARMLESS = re.compile(r'num_batches_tracked$|^backbone\.body\.fc\.')
"""Tensors that inference does not need."""

_MMDET_NAMES = (
    (r'^detector\.', ''),
    (r'^backbone\.', 'backbone.body.'),
    (r'^neck\.lateral_convs\.(\d)\.conv\.', r'backbone.fpn.inner_blocks.\1.0.'),
    (r'^neck\.fpn_convs\.(\d)\.conv\.', r'backbone.fpn.layer_blocks.\1.0.'),
    (r'^rpn_head\.rpn_conv\.', 'rpn.head.conv.0.0.'),
    (r'^rpn_head\.rpn_cls\.', 'rpn.head.cls_logits.'),
    (r'^rpn_head\.rpn_reg\.', 'rpn.head.bbox_pred.'),
    (r'^(roi_head\.)?bbox_head\.shared_fcs\.0\.', 'roi_heads.box_head.fc6.'),
    (r'^(roi_head\.)?bbox_head\.shared_fcs\.1\.', 'roi_heads.box_head.fc7.'),
    (r'^(roi_head\.)?bbox_head\.fc_cls\.', 'roi_heads.box_predictor.cls_score.'),
    (r'^(roi_head\.)?bbox_head\.fc_reg\.', 'roi_heads.box_predictor.bbox_pred.'),
    (r'^(roi_head\.)?mask_head\.convs\.(\d)\.conv\.', r'roi_heads.mask_head.\2.0.'),
    (r'^(roi_head\.)?mask_head\.upsample\.', 'roi_heads.mask_predictor.conv5_mask.'),
    (r'^(roi_head\.)?mask_head\.conv_logits\.', 'roi_heads.mask_predictor.mask_fcn_logits.'),
    (r'^track_head\.(embed_head\.)?fcs\.(\d)\.', r'track_head.fcs.\2.'),
)

_TORCHVISION_NAMES = (  # the published file has the names of torchvision before 0.13
    (r'^backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(weight|bias)$', r'backbone.fpn.\1_blocks.\2.0.\3'),
    (r'^rpn\.head\.conv\.(weight|bias)$', r'rpn.head.conv.0.0.\1'),
    (r'^roi_heads\.mask_head\.mask_fcn(\d)\.', lambda match: f'roi_heads.mask_head.{int(match[1]) - 1}.0.'),
)


@dataclass(frozen=True)
class CheckpointLayout:
    """What the checkpoints of one code base have in common.

    names: (pattern, replacement) applied in turn to every name, to torchvision's names and `track_head.*`.
    background_last: the background is the last class, without box deltas and mask, instead of the first.
    numerics: fields of ModelConfig; `tracking` and `plain` add to them with and without a track head.
    edition: of YouTube-VIS, where the name of the file does not tell it.
    """

    names: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    background_last: bool
    numerics: dict[str, Any]
    tracking: dict[str, Any]
    plain: dict[str, Any]
    edition: str = ''


_YOUTUBE_VIS_INPUT = {'input_height': 360, 'input_width': 640, 'proposals_before_nms': 200, 'proposals': 200}
_COCO_INPUT = {'input_height': 800, 'input_width': 1333, 'proposals_before_nms': 1000, 'proposals': 1000}

LAYOUTS = {
    'torchvision': CheckpointLayout(
        names=_TORCHVISION_NAMES,
        background_last=False,
        numerics={
            'resize': 'float',
            'anchors_rounded': True,
            'anchor_strides_from_grid': True,
            'proposal_min_size': 1e-3,
            'roi_align_aligned': False,
            'roi_align_samples': 2,
            'delta_clip_both': False,
            'nms_in_source_pixels': False,
            'detection_min_size': 1e-2,
            'mask_paste': 'torchvision',
        },
        tracking={},
        plain=_COCO_INPUT,
    ),
    'mmdet': CheckpointLayout(
        names=_MMDET_NAMES,
        background_last=True,
        numerics={'embedding_last_relu': True},
        tracking={**_YOUTUBE_VIS_INPUT, 'score_threshold': 0.01},
        plain=_COCO_INPUT,
    ),
    'official': CheckpointLayout(
        names=_MMDET_NAMES,
        background_last=False,
        numerics={
            'legacy_boxes': True,
            'anchors_rounded': True,
            'roi_align_aligned': False,
            'roi_align_samples': 2,
            'mask_paste': 'mmcv',
        },
        tracking={**_YOUTUBE_VIS_INPUT, 'max_detections': 10},
        plain=_COCO_INPUT,
        edition='2019',
    ),
}
"""'mmdet': mmdetection 2 and 3, mmtracking. 'official': youtubevos/MaskTrackRCNN, mmdetection 0.x and 1.x."""


def convert(path: Path, layout: str = 'auto', out: Path | None = None) -> Path:
    """Write a published checkpoint as a model file, in float32, and return the path of that.

    Args:
        path: .pth, or .safetensors with the tensors of such a checkpoint.
        layout: 'auto', or a name of LAYOUTS.
        out: the file to write; None puts it beside `path` with the suffix .safetensors.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it is damaged, holds more than tensors and plain values, or is not a Mask R-CNN of a known layout;
            the message names the global, the tensors or the names that were found.
    """
    out = out or path.with_suffix('.safetensors')
    state, meta = read_checkpoint(path)
    if out == path:
        raise ValueError(f'{path} would be overwritten by its own model file: give another name for the output')
    try:
        network = network_of_checkpoint(state, meta, layout, path.stem)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(network, out, torch.float32)
    return out


def network_of_checkpoint(state: State, meta: dict[str, Any], layout: str, name: str) -> MaskRCNN:
    """The network, in evaluation mode, that the tensors of a checkpoint make.

    Args:
        state: tensors under their published names.
        meta: what the checkpoint says of itself; only the class names in it are used.
        layout: 'auto' or a name of LAYOUTS.
        name: of the checkpoint's file, without suffix.

    Raises:
        ValueError: as in `convert`.
    """
    if layout == 'auto':
        layout = recognise_layout(state)
    elif layout not in LAYOUTS:
        raise ValueError(f'layout {layout!r} is not one of auto, {", ".join(LAYOUTS)}')
    _check_variant(meta, name)
    state = _translate(state, LAYOUTS[layout])
    config = _config(state, meta, LAYOUTS[layout], name)
    if layout == 'torchvision':
        config = config.with_fields(batch_norm_eps=_torchvision_eps(state))
    state = {key: tensor for key, tensor in state.items() if not _HARMLESS.search(key)}
    with torch.device('meta'):
        network = build_network(config)
    _check_fit(state, network.state_dict(), layout)
    network.load_state_dict({key: tensor.float().clone() for key, tensor in state.items()}, assign=True)
    return network.eval()


# --- reading --------------------------------------------------------------------------------------------------------


def read_checkpoint(path: Path) -> tuple[State, dict[str, Any]]:
    """Tensors by name, and the checkpoint's meta (empty if it has none), of a .pth or .safetensors file."""
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    if not path.stat().st_size:
        raise ValueError(f'{path} is empty: download it again')
    if path.suffix == '.safetensors':
        return _read_safetensors(path), {}
    content = _unpickle_plain(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, not the named tensors of a checkpoint')
    state = next((content[key] for key in ('state_dict', 'model') if isinstance(content.get(key), dict)), content)
    tensors = {
        str(name).removeprefix('module.'): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)
    }
    if not tensors:
        raise ValueError(f'{path} holds no tensors, only {", ".join(map(str, state)) or "an empty dict"}')
    meta = content.get('meta')
    return tensors, meta if isinstance(meta, dict) else {}


def _read_safetensors(path: Path) -> State:
    try:
        with safe_open(path, 'pt') as file:
            if any(key.startswith('vis_ros.') for key in file.metadata() or {}):
                raise ValueError(f'{path} is a vis_ros model already: there is nothing to convert')
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f'{path} is not a .safetensors file, or is cut short: {error}') from error


def _unpickle_plain(path: Path) -> Any:
    _check_torch_version()
    try:
        with torch.serialization.safe_globals(_plain_globals()):
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r'GLOBAL (\S+)|function (.+)', str(error)):
            raise ValueError(
                f'{path} is refused: reading it would call {found[1] or found[2]}, and only tensors and plain values '
                'are read. If you trust the file, store its tensors alone with the code that made it: '
                "torch.save({'state_dict': ..., 'meta': {'CLASSES': ...}}, path)"
            ) from None
        raise _damaged(path, error) from error
    except Exception as error:  # whatever a damaged file makes a parser do
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = (str(error).splitlines() or [''])[0][:200]
    return ValueError(
        f'{path} is not a PyTorch checkpoint, or is cut short ({path.stat().st_size} bytes): '
        f'{type(error).__name__}: {reason}'
    )


def _check_torch_version() -> None:
    """CVE-2025-32434: before torch 2.6 a file could run code in spite of `weights_only`."""
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 6):
        raise ValueError(
            f'torch {torch.__version__} cannot read .pth files safely (CVE-2025-32434), 2.6 and newer can: convert '
            'the checkpoint on another machine and copy the .safetensors file here'
        )


def _plain_globals() -> list[Any]:
    """Numpy scalars and command line arguments, which training scripts leave beside the weights."""
    kinds = [type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'float32', 'float64')]
    scalar = np.float64(0).__reduce__()[0]
    names = [(scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')]
    return [argparse.Namespace, np.dtype, *kinds, *names]


# --- layout ---------------------------------------------------------------------------------------------------------


def recognise_layout(state: State) -> str:
    """The layout of a checkpoint, told by the names of its tensors; ValueError lists what was found."""

    def has(*prefixes: str) -> bool:
        return all(any(name.startswith(prefix) for name in state) for prefix in prefixes)

    if has('backbone.body.', 'roi_heads.'):
        return 'torchvision'
    if has('detector.backbone.', 'detector.roi_head.') or has('backbone.', 'roi_head.'):
        return 'mmdet'
    if has('backbone.', 'rpn_head.', 'bbox_head.'):
        return 'official'
    raise ValueError(f'this is no Mask R-CNN of {", ".join(LAYOUTS)}: its {_summary(state)}')


def _summary(state: State) -> str:
    rooms = Counter('.'.join(name.split('.')[:2]) for name in state)
    found = ', '.join(f'{room} ({count})' for room, count in rooms.most_common(12))
    return f'{len(state)} tensors lie in {found}' + (', ...' if len(rooms) > 12 else '')


def _check_variant(meta: dict[str, Any], name: str) -> None:
    """Refuse what has the same tensors but another meaning, which would be silently wrong."""
    told = ' '.join(str(meta.get(key, '')) for key in ('config', 'cfg'))
    if re.search(r'style\s*=\s*[\'"]caffe', told) or 'caffe' in name:
        raise ValueError('backbones of the caffe style (stride in the first 1x1 convolution) are not supported')


def _translate(state: State, layout: CheckpointLayout) -> State:
    """The tensors under our names, background first."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in layout.names:
            name = re.sub(pattern, replacement, name, count=1)
        if name in renamed:
            raise ValueError(f'two tensors of the checkpoint are both the {name}')
        renamed[name] = tensor
    return _background_first(renamed) if layout.background_last else renamed


def _background_first(state: State) -> State:
    """Class rows rotated; zero rows for the deltas (4 a class) and the mask of the background, which has none."""
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
    """Frozen batch norm (no count of batches) is that of the published COCO weights, which were trained with 0."""
    return 1e-5 if any(name.endswith('num_batches_tracked') for name in state) else 0.0


# --- config ---------------------------------------------------------------------------------------------------------


def _config(state: State, meta: dict[str, Any], layout: CheckpointLayout, name: str) -> ModelConfig:
    """The config that the shapes of translated tensors, the layout and the class names make."""

    def rows(key: str) -> int:
        if key not in state:
            raise ValueError(f'under the names of this layout there is no {key}: the {_summary(state)}')
        return len(state[key])

    tracks = any(key.startswith('track_head.') for key in state)
    sizes: dict[str, Any] = {
        'fpn_channels': rows('backbone.fpn.inner_blocks.0.0.weight'),
        'box_head_channels': rows('roi_heads.box_head.fc6.weight'),
        'mask_channels': rows('roi_heads.mask_head.0.0.weight'),
    }
    if tracks:
        sizes['embedding_size'] = rows('track_head.fcs.0.weight')
    classes = rows('roi_heads.box_predictor.cls_score.weight') - 1
    return ModelConfig(
        name=name,
        class_names=_class_names(meta, name, classes, layout.edition),
        architecture='masktrack_rcnn' if tracks else 'mask_rcnn',
        backbone=_backbone(state),
        **sizes,
        **layout.numerics,
        **(layout.tracking if tracks else layout.plain),
    )


def _backbone(state: State) -> str:
    body = 'backbone.body.'
    blocks = len({key.split('.')[3] for key in state if key.startswith(f'{body}layer3.')})
    conv = state.get(f'{body}layer1.0.conv2.weight')
    kind = (f'{body}layer1.0.conv3.weight' in state, blocks, tuple(conv.shape[:2]) if conv is not None else (0, 0))
    if kind not in _BACKBONES:
        raise ValueError(
            f'the backbone is none of {", ".join(_BACKBONES.values())}: it has {blocks} blocks in layer3 and '
            f'a second convolution of shape {kind[2]} in layer1'
        )
    return _BACKBONES[kind]


def _class_names(meta: dict[str, Any], name: str, count: int, edition: str) -> tuple[str, ...]:
    """The checkpoint's own names where they are as many as its classes, else those of the usual data set."""
    dataset = meta.get('dataset_meta')
    dataset = dataset if isinstance(dataset, dict) else {}
    for own in (meta.get('CLASSES'), dataset.get('classes'), dataset.get('CLASSES')):
        names = (own,) if isinstance(own, str) else tuple(map(str, own or ()))
        if len(names) == count:
            return names
    if count == len(_COCO_91) - 1:
        return _COCO_91[1:]
    if count == len(_COCO_80):
        return _COCO_80
    told = re.search(r'(?<!\d)(2019|2021)(?!\d)', name)  # not the year of a date
    names = _YOUTUBE_VIS.get(told[1] if told else edition, ())
    return names if len(names) == count else tuple(f'class_{index}' for index in range(count))


def _check_fit(state: State, wanted: State, layout: str) -> None:
    """ValueError that names every tensor missing, left over or of another shape."""
    throttled_log = []
    if missing := sorted(wanted.keys() - state.keys()):
        throttled_log.append(f'{len(missing)} tensors are missing: {", ".join(missing)}')
    if left_over := sorted(state.keys() - wanted.keys()):
        throttled_log.append(f'{len(left_over)} tensors have no place in Mask R-CNN: {", ".join(left_over)}')
    for name in sorted(wanted.keys() & state.keys()):
        found, expected = tuple(state[name].shape), tuple(wanted[name].shape)
        if found != expected:
            throttled_log.append(f'{name} has shape {found}, expected {expected}')
    if throttled_log:
        raise ValueError(f'layout {layout!r} does not fit. ' + '. '.join(throttled_log))
