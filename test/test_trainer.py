"""The trainer: a run interrupted and resumed is the run that was not, and its model file loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from vis_ros.networks.model_file import load_model, read_config
from vis_ros.training.config import TrainConfig
from vis_ros.training.losses import LOSSES
from vis_ros.training.trainer import Trainer, train

SETTINGS = {
    'data': [{'kind': 'scenes'}],
    'model': {
        'name': 'tiny',
        'class_names': ['shape'],
        'backbone': 'resnet18',
        'fpn_channels': 16,
        'proposals_before_nms': 40,
        'proposals': 20,
        'box_head_channels': 32,
        'mask_channels': 16,
        'mask_layers': 1,
        'embedding_size': 16,
    },
    'pretrained': '',
    'image_height': 96,
    'image_width': 128,
    'input_scales': [0.5, 1.0],
    'pairs': 1,
    'workers': 0,
    'warm_up_steps': 2,
    'log_every': 2,
    'checkpoint_every': 3,
    'device': 'cpu',
}


def write(path: Path, **values: object) -> Path:
    path.write_text(yaml.safe_dump(SETTINGS | values))
    return path


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(write(tmp_path / 'train.yaml', steps=6), tmp_path / 'whole')
    config = TrainConfig.read(tmp_path / 'train.yaml')
    first = Trainer(config, tmp_path / 'parts')
    for number, (images, targets) in enumerate(first.batches()):
        if number == 3:
            break
        first.train_step(images, targets)
    first.save()
    torch.rand(10)  # whatever happens between two starts
    second = Trainer(config, tmp_path / 'parts')
    assert second.step == 3
    resumed = second.run()
    expected, found = load_file(whole), load_file(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_run_leaves_a_log_and_a_model_that_loads(tmp_path: Path) -> None:
    path = train(write(tmp_path / 'train.yaml', steps=4), tmp_path / 'out')
    rows = [json.loads(line) for line in (tmp_path / 'out' / 'losses.jsonl').read_text().splitlines()]
    assert [row['step'] for row in rows] == [2, 4]
    assert set(LOSSES) <= rows[0].keys()
    assert read_config(path).class_names == ('shape',)
    start = Trainer(TrainConfig.read(write(tmp_path / 'train.yaml', steps=0)), tmp_path / 'other')
    trained = load_model(path).state_dict()
    assert not torch.equal(
        trained['rpn.head.cls_logits.weight'], start.network.state_dict()['rpn.head.cls_logits.weight']
    )
    assert torch.equal(
        trained['backbone.body.conv1.weight'], start.average['backbone.body.conv1.weight'].half().float()
    )


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    Trainer(TrainConfig.read(write(tmp_path / 'a.yaml', steps=1)), tmp_path / 'out').save()
    other = write(tmp_path / 'b.yaml', steps=1, model=SETTINGS['model'] | {'embedding_size': 8})  # type: ignore[operator]
    with pytest.raises(ValueError, match='another model'):
        Trainer(TrainConfig.read(other), tmp_path / 'out')


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'data': []}, 'data is empty'),
        ({'data': [{'kind': 'photos'}]}, "'photos' is not one of"),
        ({'data': [{'kind': 'images'}]}, 'needs images'),
        ({'data': [{'kind': 'scenes', 'weight': -1}]}, '-1'),
        ({'stepz': 3}, 'stepz'),
        ({'model': {'class_names': ['cat']}}, "not in model class_names: 'shape'"),
        ({'data': [{'kind': 'images', 'images': 'nowhere', 'annotations': 'nowhere.json'}]}, 'nowhere'),
    ],
)
def test_a_wrong_config_is_named_before_the_first_step(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = write(tmp_path / 'train.yaml', steps=1, **values)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(path, tmp_path / 'out')


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no\.yaml'):
        train(tmp_path / 'no.yaml')
