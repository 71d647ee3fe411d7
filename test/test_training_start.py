"""Initial weights: what is loaded, what is skipped, and how it is reported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model
from vis_ros.training.pretrained import load_matching_weights

SMALL = ModelConfig(
    name='small',
    class_names=('circle', 'square'),
    backbone='resnet18',
    fpn_channels=16,
    box_head_channels=32,
    mask_channels=16,
    mask_layers=1,
    embedding_size=16,
)
OF_CLASSES = {
    f'roi_heads.{head}.{kind}'
    for head in ('box_predictor.cls_score', 'box_predictor.bbox_pred', 'mask_predictor.mask_fcn_logits')
    for kind in ('weight', 'bias')
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1
    save_model(network, tmp_path / 'weights.safetensors', torch.float32)
    return tmp_path / 'weights.safetensors'


def skipped_names(weights: Path, config: ModelConfig) -> dict[str, str]:
    torch.manual_seed(1)
    network = build_network(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start = load_matching_weights(network, weights)
    source = load_file(weights)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name] if name in start.skipped else source[name]), name
    assert start.loaded + len(start.skipped) == len(before)
    assert all(name in str(start) for name in start.skipped) and f'{start.loaded} tensors' in str(start)
    return start.skipped


def test_the_same_model_is_loaded_completely(weights: Path) -> None:
    assert not skipped_names(weights, SMALL.with_fields(name='other', input_height=64))


def test_heads_of_other_classes_are_not_loaded_even_if_their_shapes_fit(weights: Path) -> None:
    renamed = skipped_names(weights, SMALL.with_fields(class_names=('cat', 'dog')))
    assert renamed.keys() == OF_CLASSES and set(renamed.values()) == {'of other classes'}


def test_classes_of_equal_names_keep_what_they_know(weights: Path) -> None:
    """In another order, and with a class more and one less."""
    torch.manual_seed(1)
    network = build_network(SMALL.with_fields(class_names=('star', 'square')))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start = load_matching_weights(network, weights)
    source = load_file(weights)
    assert start.partly.keys() == OF_CLASSES and not start.skipped
    assert start.loaded + len(start.partly) == len(before)
    assert 'partly loaded: roi_heads.box_predictor.cls_score.bias (background and 1 of 2 classes)' in str(start)
    for name, tensor in network.state_dict().items():
        if name not in OF_CLASSES:
            assert torch.equal(tensor, source[name]), name
            continue
        rows = len(tensor) // 3
        background, star, square = tensor.split(rows)
        assert torch.equal(background, source[name][:rows]), name
        assert torch.equal(star, before[name][rows : 2 * rows]), name
        assert torch.equal(square, source[name][2 * rows :]), name


def test_no_rows_come_from_a_head_that_does_not_tell_classes_apart(weights: Path) -> None:
    agnostic = SMALL.with_fields(box_class_agnostic=True, mask_class_agnostic=True)
    save_model(build_network(agnostic), weights, torch.float32)
    start = load_matching_weights(build_network(SMALL.with_fields(class_names=('circle', 'star', 'moon'))), weights)
    assert start.partly.keys() == {f'roi_heads.box_predictor.cls_score.{kind}' for kind in ('weight', 'bias')}
    assert start.skipped.keys() == OF_CLASSES - start.partly.keys()


def test_class_agnostic_heads_are_loaded(weights: Path, tmp_path: Path) -> None:
    agnostic = SMALL.with_fields(box_class_agnostic=True, mask_class_agnostic=True)
    save_model(build_network(agnostic), weights, torch.float32)
    network = build_network(agnostic.with_fields(class_names=('cat', 'dog')))
    start = load_matching_weights(network, weights)
    assert start.skipped.keys() == {f'roi_heads.box_predictor.cls_score.{kind}' for kind in ('weight', 'bias')}


def test_a_track_head_is_not_loaded_from_weights_without_one(weights: Path) -> None:
    save_model(build_network(SMALL.with_fields(architecture='mask_rcnn')), weights, torch.float32)
    skipped = load_matching_weights(build_network(SMALL), weights).skipped
    assert skipped and all(name.startswith('track_head.') for name in skipped)
    assert set(skipped.values()) == {'not in the weights'}
