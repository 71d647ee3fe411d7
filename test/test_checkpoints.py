"""Conversion of synthetic checkpoints in the published layouts: names, class order, conventions, and errors."""

from __future__ import annotations

import argparse
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import resnet
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

from vis_ros.networks.checkpoint_layouts import LAYOUTS
from vis_ros.networks.checkpoints import convert, network_of_checkpoint, recognize_layout
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import load_model

torch.set_num_threads(1)  # several threads on a busy machine wait for each other more than they compute

State = dict[str, Tensor]

CLASSES = ('cat', 'dog', 'cow')


@pytest.fixture(scope='module')
def network() -> MaskRCNN:
    """A small MaskTrack R-CNN whose background has neither box deltas nor a mask, as in mmdetection."""
    torch.manual_seed(0)
    config = ModelConfig(
        name='test',
        class_names=CLASSES,
        backbone='resnet18',
        fpn_channels=8,
        box_head_channels=16,
        mask_channels=8,
        embedding_size=12,
    )
    network = build_network(config)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.uniform_(0.1, 1)
        heads = network.roi_heads
        for tensor, rows in (
            (heads.box_predictor.bbox_pred.weight, 4),
            (heads.box_predictor.bbox_pred.bias, 4),
            (heads.mask_predictor.mask_fcn_logits.weight, 1),
            (heads.mask_predictor.mask_fcn_logits.bias, 1),
        ):
            tensor[:rows] = 0
    return network


def renamed(state: State, rules: dict[str, str]) -> State:
    """The tensors with the prefix of each name replaced."""
    result = {}
    for name, tensor in state.items():
        (prefix,) = [prefix for prefix in rules if name.startswith(prefix)]
        result[rules[prefix] + name.removeprefix(prefix)] = tensor
    return result


def mmdet_rules(
    detector: str = '', roi_head: str = 'roi_head.', track_head: str = 'track_head.embed_head.'
) -> dict[str, str]:
    """Our prefixes -> those of mmdetection, written out by hand."""
    rules = {
        'backbone.body.': f'{detector}backbone.',
        'rpn.head.conv.0.0.': f'{detector}rpn_head.rpn_conv.',
        'rpn.head.cls_logits.': f'{detector}rpn_head.rpn_cls.',
        'rpn.head.bbox_pred.': f'{detector}rpn_head.rpn_reg.',
        'roi_heads.box_head.fc6.': f'{detector}{roi_head}bbox_head.shared_fcs.0.',
        'roi_heads.box_head.fc7.': f'{detector}{roi_head}bbox_head.shared_fcs.1.',
        'roi_heads.box_predictor.cls_score.': f'{detector}{roi_head}bbox_head.fc_cls.',
        'roi_heads.box_predictor.bbox_pred.': f'{detector}{roi_head}bbox_head.fc_reg.',
        'roi_heads.mask_predictor.conv5_mask.': f'{detector}{roi_head}mask_head.upsample.',
        'roi_heads.mask_predictor.mask_fcn_logits.': f'{detector}{roi_head}mask_head.conv_logits.',
        'track_head.': track_head,
    }
    for i in range(4):
        rules[f'backbone.fpn.inner_blocks.{i}.0.'] = f'{detector}neck.lateral_convs.{i}.conv.'
        rules[f'backbone.fpn.layer_blocks.{i}.0.'] = f'{detector}neck.fpn_convs.{i}.conv.'
        rules[f'roi_heads.mask_head.{i}.0.'] = f'{detector}{roi_head}mask_head.convs.{i}.conv.'
    return rules


def background_last(state: State) -> State:
    """The tensors with their classes in the order of mmdetection 2 and later."""
    state = dict(state)
    for kind in ('weight', 'bias'):
        name = f'roi_heads.box_predictor.cls_score.{kind}'
        state[name] = torch.cat((state[name][1:], state[name][:1]))
        name = f'roi_heads.box_predictor.bbox_pred.{kind}'
        state[name] = state[name][4:]
        name = f'roi_heads.mask_predictor.mask_fcn_logits.{kind}'
        state[name] = state[name][1:]
    return state


def without_track_head(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith('track_head.')}


def as_mmtracking(state: State) -> State:
    return renamed(background_last(state), mmdet_rules(detector='detector.'))


def as_mmdet(state: State) -> State:
    return renamed(background_last(without_track_head(state)), mmdet_rules())


def as_official(state: State) -> State:
    return renamed(state, mmdet_rules(roi_head='', track_head='track_head.'))


def as_mmdet_1(state: State) -> State:
    return renamed(without_track_head(state), mmdet_rules(roi_head=''))


def as_torchvision(state: State) -> State:
    return without_track_head(state)


def as_old_torchvision(state: State) -> State:
    result = {}
    for name, tensor in without_track_head(state).items():
        name = re.sub(r'(_blocks\.\d)\.0\.', r'\1.', name).replace('rpn.head.conv.0.0.', 'rpn.head.conv.')
        if found := re.match(r'roi_heads\.mask_head\.(\d)\.0\.(.*)', name):
            name = f'roi_heads.mask_head.mask_fcn{int(found[1]) + 1}.{found[2]}'
        result[name] = tensor
    return result


PUBLISHED: dict[str, tuple[str, Callable[[State], State]]] = {
    'mmtracking': ('mmdet', as_mmtracking),
    'mmdet': ('mmdet', as_mmdet),
    'official': ('official', as_official),
    'mmdet_1': ('official', as_mmdet_1),
    'torchvision': ('torchvision', as_torchvision),
    'old_torchvision': ('torchvision', as_old_torchvision),
}


@pytest.mark.parametrize('kind', PUBLISHED)
def test_every_tensor_of_a_layout_is_converted_exactly(network: MaskRCNN, kind: str, tmp_path: Path) -> None:
    layout, publish = PUBLISHED[kind]
    state = publish(network.state_dict())
    path = tmp_path / 'published.pth'
    torch.save({'meta': {'CLASSES': CLASSES, 'epoch': 12}, 'state_dict': OrderedDict(state)}, path)
    assert recognize_layout(state) == layout
    assert convert(path) == tmp_path / 'published.safetensors'
    found = load_model(tmp_path / 'published.safetensors')
    tracks = kind in ('mmtracking', 'official')
    expected = network.state_dict() if tracks else without_track_head(network.state_dict())
    assert found.config.architecture == ('masktrack_rcnn' if tracks else 'mask_rcnn')
    assert found.config.class_names == CLASSES
    assert found.state_dict().keys() == expected.keys()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def published_r50(classes: int) -> State:
    """The names and shapes of mmtracking's R50 file, from torchvision's own network and not from ours."""
    with torch.device('meta'):
        state = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=classes + 1).state_dict()
        state = renamed(background_last(state), mmdet_rules(detector='detector.'))
        for layer, inputs in ((0, 12544), (1, 1024)):
            state[f'track_head.embed_head.fcs.{layer}.weight'] = torch.zeros(1024, inputs)
            state[f'track_head.embed_head.fcs.{layer}.bias'] = torch.zeros(1024)
    return state


def test_all_364_tensors_of_the_published_r50_are_used() -> None:
    state = published_r50(40)
    assert len(state) == 364
    for name, shape in {
        'detector.backbone.layer4.2.bn3.running_var': (2048,),
        'detector.backbone.layer1.0.downsample.0.weight': (256, 64, 1, 1),
        'detector.neck.lateral_convs.3.conv.weight': (256, 2048, 1, 1),
        'detector.rpn_head.rpn_reg.weight': (12, 256, 1, 1),
        'detector.roi_head.bbox_head.fc_cls.weight': (41, 1024),
        'detector.roi_head.bbox_head.fc_reg.weight': (160, 1024),
        'detector.roi_head.mask_head.convs.3.conv.bias': (256,),
        'detector.roi_head.mask_head.upsample.weight': (256, 256, 2, 2),
        'detector.roi_head.mask_head.conv_logits.weight': (40, 256, 1, 1),
        'track_head.embed_head.fcs.0.weight': (1024, 12544),
    }.items():
        assert tuple(state[name].shape) == shape
    network = network_of_checkpoint(
        state, {}, 'auto', 'masktrack_rcnn_r50_fpn_12e_youtubevis2019_20211022_194830-6ca6b91e'
    )
    assert network.config.backbone == 'resnet50'
    assert network.config.num_classes == 41


@pytest.mark.parametrize('backbone', ['resnet18', 'resnet50', 'resnet101', 'resnext101_64x4d'])
def test_backbones_are_recognized_by_their_shapes(network: MaskRCNN, backbone: str) -> None:
    with torch.device('meta'):
        config = network.config.with_fields(backbone=backbone)
        state = as_mmtracking(build_network(config).state_dict())
        body = getattr(resnet, backbone)(weights=None).state_dict()
    for name in body:
        assert name.startswith('fc.') or name.endswith('num_batches_tracked') or f'detector.backbone.{name}' in state
    assert network_of_checkpoint(state, {}, 'auto', '').config.backbone == backbone


def test_other_backbones_are_rejected(network: MaskRCNN) -> None:
    state = as_mmtracking(network.state_dict())
    state = {name: tensor for name, tensor in state.items() if 'layer3.1.' not in name}
    with pytest.raises(ValueError, match=r'not one of resnet18, .*1 blocks in layer3'):
        network_of_checkpoint(state, {}, 'auto', '')


def test_the_background_becomes_the_first_class(network: MaskRCNN) -> None:
    state = as_mmtracking(network.state_dict())
    head = 'detector.roi_head.bbox_head'
    state[f'{head}.fc_cls.bias'] = torch.tensor([10.0, 20, 30, 99])  # cat, dog, cow, background
    state[f'{head}.fc_reg.bias'] = torch.arange(12.0) + 1
    state['detector.roi_head.mask_head.conv_logits.bias'] = torch.tensor([7.0, 8, 9])
    heads = network_of_checkpoint(state, {}, 'mmdet', '').roi_heads
    assert heads.box_predictor.cls_score.bias.tolist() == [99, 10, 20, 30]
    assert heads.box_predictor.bbox_pred.bias.tolist() == [0, 0, 0, 0, *range(1, 13)]
    assert heads.mask_predictor.mask_fcn_logits.bias.tolist() == [0, 7, 8, 9]


def test_the_background_is_already_first_in_the_official_layout(network: MaskRCNN) -> None:
    state = as_official(network.state_dict())
    state['bbox_head.fc_cls.bias'] = torch.tensor([99.0, 10, 20, 30])
    heads = network_of_checkpoint(state, {}, 'auto', '').roi_heads
    assert heads.box_predictor.cls_score.bias.tolist() == [99, 10, 20, 30]


def test_every_layout_has_its_conventions(network: MaskRCNN) -> None:
    configs = {
        kind: network_of_checkpoint(publish(network.state_dict()), {}, 'auto', '').config
        for kind, (_, publish) in PUBLISHED.items()
    }
    expected: dict[str, tuple[Any, ...]] = {
        #                   torchvision          mmdet                mmtracking           official
        'input_height': (800, 800, 360, 360),
        'input_width': (1333, 1333, 640, 640),
        'resize': ('float', 'uint8', 'uint8', 'uint8'),
        'batch_norm_eps': (0.0, 1e-5, 1e-5, 1e-5),
        'anchors_rounded': (True, False, False, True),
        'anchor_strides_from_grid': (True, False, False, False),
        'proposals_before_nms': (1000, 1000, 200, 200),
        'proposals': (1000, 1000, 200, 200),
        'proposal_min_size': (1e-3, 0.0, 0.0, 0.0),
        'roi_align_aligned': (False, True, True, False),
        'roi_align_samples': (2, 0, 0, 2),
        'delta_clip_both': (False, True, True, True),
        'legacy_boxes': (False, False, False, True),
        'embedding_last_relu': (False, True, True, False),
        'score_threshold': (0.05, 0.05, 0.01, 0.05),
        'nms_in_source_pixels': (False, True, True, True),
        'max_detections': (100, 100, 100, 10),
        'detection_min_size': (1e-2, 0.0, 0.0, 0.0),
        'mask_paste': ('torchvision', 'grid_sample', 'grid_sample', 'mmcv'),
    }
    for field, values in expected.items():
        found = [getattr(configs[kind], field) for kind in ('torchvision', 'mmdet', 'mmtracking', 'official')]
        assert tuple(found) == values, field


def test_trained_batch_norm_keeps_its_epsilon(network: MaskRCNN) -> None:
    state = as_torchvision(network.state_dict())
    assert network_of_checkpoint(state, {}, 'auto', '').config.batch_norm_eps == 0
    state['backbone.body.bn1.num_batches_tracked'] = torch.tensor(5)
    assert network_of_checkpoint(state, {}, 'auto', '').config.batch_norm_eps == 1e-5


YOUTUBE_VIS_2019_BY_ID = {1: 'person', 6: 'sedan', 7: 'ape', 26: 'owl', 36: 'mouse', 40: 'tennis_racket'}
YOUTUBE_VIS_2021_BY_ID = {1: 'airplane', 5: 'car', 26: 'person', 32: 'squirrel', 39: 'whale', 40: 'zebra'}
COCO_BY_ID = {1: 'person', 13: 'stop sign', 18: 'dog', 90: 'toothbrush'}


@pytest.mark.parametrize(
    ('kind', 'file', 'count', 'some'),
    [
        (
            'mmtracking',
            'masktrack_rcnn_r50_fpn_12e_youtubevis2019_20211022_194830-6ca6b91e',
            40,
            YOUTUBE_VIS_2019_BY_ID,
        ),
        (
            'mmtracking',
            'masktrack_rcnn_r50_fpn_12e_youtubevis2021_20211026_044948-10da90d9',
            40,
            YOUTUBE_VIS_2021_BY_ID,
        ),
        ('official', 'epoch_12', 40, YOUTUBE_VIS_2019_BY_ID),
        ('mmtracking', 'epoch_12_20190102', 40, {1: 'class_0', 40: 'class_39'}),
        ('mmtracking', 'ours_2019', 3, {1: 'class_0', 3: 'class_2'}),
        ('torchvision', 'maskrcnn_resnet50_fpn_coco-bf2d0c1e', 90, COCO_BY_ID),
        ('mmdet', 'mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6', 80, {1: 'person', 12: 'stop sign', 80: 'toothbrush'}),
    ],
)
def test_class_names(network: MaskRCNN, kind: str, file: str, count: int, some: dict[int, str]) -> None:
    with torch.device('meta'):
        config = network.config.with_fields(class_names=tuple(map(str, range(count))))
        state = PUBLISHED[kind][1](build_network(config).state_dict())
    names = network_of_checkpoint(state, {}, 'auto', file).config.class_names
    assert len(names) == count
    assert {number: names[number - 1] for number in some} == some


@pytest.mark.parametrize(
    'meta',
    [
        {'CLASSES': CLASSES},
        {'CLASSES': list(CLASSES)},
        {'dataset_meta': {'classes': CLASSES}},
        {'dataset_meta': {'CLASSES': list(CLASSES)}, 'CLASSES': ('too', 'few')},
    ],
)
def test_class_names_in_the_checkpoint_take_precedence(network: MaskRCNN, meta: dict[str, Any]) -> None:
    assert network_of_checkpoint(as_mmdet(network.state_dict()), meta, 'auto', 'x2019').config.class_names == CLASSES


# --- rejected ---------------------------------------------------------------------------------------------------


def test_missing_tensors_are_reported(network: MaskRCNN) -> None:
    state = as_mmtracking(network.state_dict())
    del state['detector.roi_head.mask_head.convs.3.conv.bias'], state['detector.backbone.layer2.1.bn2.bias']
    with pytest.raises(
        ValueError, match=r'2 tensors are missing: backbone\.body\.layer2\.1\.bn2\.bias, roi_heads\.mask_head\.3'
    ):
        network_of_checkpoint(state, {}, 'auto', '')


def test_superfluous_tensors_are_reported(network: MaskRCNN) -> None:
    state = as_mmtracking(network.state_dict())
    state['detector.roi_head.mask_iou_head.fc.weight'] = torch.zeros(1)
    state['detector.backbone.bn1.num_batches_tracked'] = torch.tensor(3)  # needed by nobody
    with pytest.raises(ValueError, match=r'1 tensors do not belong .*: roi_head\.mask_iou_head\.fc\.weight$'):
        network_of_checkpoint(state, {}, 'auto', '')


def test_tensors_of_another_shape_are_reported(network: MaskRCNN) -> None:
    state = as_mmtracking(network.state_dict())
    state['detector.rpn_head.rpn_cls.weight'] = torch.zeros(5, 8, 1, 1)
    with pytest.raises(
        ValueError, match=r'rpn\.head\.cls_logits\.weight has shape \(5, 8, 1, 1\), expected \(3, 8, 1, 1\)'
    ):
        network_of_checkpoint(state, {}, 'auto', '')


def test_the_wrong_layout_is_rejected(network: MaskRCNN) -> None:
    with pytest.raises(
        ValueError, match=r'no backbone\.fpn\.inner_blocks\.0\.0\.weight .*: the \d+ tensors are in detector\.'
    ):
        network_of_checkpoint(as_mmtracking(network.state_dict()), {}, 'torchvision', '')
    with pytest.raises(ValueError, match=r"layout 'caffe2' is not one of auto, torchvision, mmdet, official"):
        network_of_checkpoint(as_mmtracking(network.state_dict()), {}, 'caffe2', '')


def test_an_unknown_layout_is_reported_with_its_modules() -> None:
    state = {'module.encoder.conv.weight': torch.zeros(1), 'module.encoder.conv.bias': torch.zeros(1)}
    with pytest.raises(ValueError, match=r'its 2 tensors are in module\.encoder \(2\)'):
        recognize_layout(state)


def test_the_second_version_of_torchvision_is_rejected() -> None:
    with torch.device('meta'):
        state = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    with pytest.raises(ValueError, match=r'box_head\.fc6'):
        network_of_checkpoint(state, {}, 'auto', '')


@pytest.mark.parametrize(
    ('meta', 'name'),
    [({'config': "backbone=dict(type='ResNet', style='caffe')"}, ''), ({}, 'mask_rcnn_r50_caffe_fpn_1x_coco')],
)
def test_caffe_backbones_are_rejected_although_their_shapes_fit(
    network: MaskRCNN, meta: dict[str, str], name: str
) -> None:
    with pytest.raises(ValueError, match='caffe'):
        network_of_checkpoint(as_mmdet(network.state_dict()), meta, 'auto', name)


class Burglar:
    """Writes a file when Python unpickles it."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    ('call', 'global_name'), [(os.system, r'\w+\.system'), (eval, r'eval'), (Path.write_text, 'getattr')]
)
def test_a_checkpoint_that_would_run_code_is_rejected(
    network: MaskRCNN, tmp_path: Path, call: Callable[..., Any], global_name: str, zipped: bool
) -> None:
    trace = tmp_path / 'trace'
    arguments = {
        os.system: (f'touch {trace}',),
        eval: (f'open({str(trace)!r}, "w")',),
        Path.write_text: (trace, 'was here'),
    }[call]
    path = tmp_path / 'evil.pth'
    state = as_mmtracking(network.state_dict())
    torch.save({'meta': Burglar(call, *arguments), 'state_dict': state}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f'is rejected: reading it would call {global_name}'):
        convert(path)
    assert not trace.exists()
    assert [file.name for file in tmp_path.iterdir()] == ['evil.pth']
    # the trap is real: Python's own unpickler falls into it
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_plain_values_beside_the_weights_are_read(network: MaskRCNN, tmp_path: Path) -> None:
    path = tmp_path / 'model_9.pth'
    meta = {'CLASSES': CLASSES, 'time': 'now', 'hook_msgs': {'best': np.float64(0.3), 'epoch': np.int64(9)}}
    arguments = argparse.Namespace(lr=0.02, resume=True)
    torch.save({'meta': meta, 'args': arguments, 'model': as_torchvision(network.state_dict())}, path)
    assert load_model(convert(path)).config.class_names == CLASSES


def test_a_bare_or_wrapped_state_dict_is_read(network: MaskRCNN, tmp_path: Path) -> None:
    path = tmp_path / 'bare.pth'
    torch.save({f'module.{name}': tensor.half() for name, tensor in as_mmdet(network.state_dict()).items()}, path)
    found = load_model(convert(path)).state_dict()['rpn.head.conv.0.0.weight']
    assert torch.equal(found, network.state_dict()['rpn.head.conv.0.0.weight'].half().float())


def test_tensors_in_safetensors_are_read(network: MaskRCNN, tmp_path: Path) -> None:
    path = tmp_path / 'tensors.safetensors'
    save_file(as_torchvision(network.state_dict()), path)
    with pytest.raises(ValueError, match='overwritten'):
        convert(path)
    model = convert(path, out=tmp_path / 'new' / 'model.safetensors')
    assert load_model(model).config.resize == 'float'
    with pytest.raises(ValueError, match='a vis_ros model already'):
        convert(model, out=tmp_path / 'again.safetensors')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'<html>404 not found</html>', 'is an HTML page: the file itself was not downloaded'),
        (bytes(range(256)) * 40, r'is not a (PyTorch checkpoint|\.safetensors file), or (is )?truncated'),
        (b'\x80\x02}q\x00.', r'is not|contains no tensors|is a pickle of another program'),
    ],
)
def test_files_that_are_not_checkpoints(tmp_path: Path, suffix: str, content: bytes, message: str) -> None:
    path = tmp_path / f'file{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        convert(path, out=tmp_path / 'out.safetensors')
    assert str(path) in str(error.value)
    assert 'weights_only' not in str(error.value)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('share', [0.001, 0.5, 0.999])
def test_a_truncated_checkpoint(network: MaskRCNN, tmp_path: Path, share: float, zipped: bool) -> None:
    path = tmp_path / 'cut.pth'
    torch.save({'state_dict': as_mmtracking(network.state_dict())}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match='truncated'):
        convert(path)
    assert not (tmp_path / 'cut.safetensors').exists()


def test_other_contents_are_reported(tmp_path: Path) -> None:
    path = tmp_path / 'other.pth'
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match='contains a list'):
        convert(path)
    torch.save({'epoch': 3, 'lr': 0.1}, path)
    with pytest.raises(ValueError, match='contains no tensors, only epoch, lr'):
        convert(path)
    with pytest.raises(FileNotFoundError, match=r'no checkpoint .*absent\.pth'):
        convert(tmp_path / 'absent.pth')


def test_torch_before_2_6_is_rejected(network: MaskRCNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'fine.pth'
    torch.save(as_torchvision(network.state_dict()), path)
    monkeypatch.setattr(torch, '__version__', '2.5.1+cu121')
    with pytest.raises(ValueError, match=r'torch 2\.5\.1\+cu121 cannot read .pth files safely'):
        convert(path)


def test_all_layouts_are_tested() -> None:
    assert {layout for layout, _ in PUBLISHED.values()} == set(LAYOUTS)
