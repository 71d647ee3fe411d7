"""The trainer on clips: it learns, resumes bit for bit, starts from backbones and files, and rejects bad configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from helpers.tiny_propagation import TinyLosses, TinyNetwork, use_tiny_network
from safetensors.torch import load_file
from test_trainer import rows, same

from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import load_propagation, save_propagation
from vis_ros.propagation.propagation_header import read_propagation_config
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.synthetic.davis_sequence import DAVIS_TRAIN
from vis_ros.training.optimization import build_optimizer, freeze
from vis_ros.training.pretrained import efficientnet_lite0_state, load_pretrained_encoders, load_propagation_weights
from vis_ros.training.train_config import TrainConfig
from vis_ros.training.trainer import Trainer, train

ROOT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, Any] = {
    'data': [{'kind': 'scenes'}],
    'model': {
        'architecture': 'feelvos',
        'name': 'tiny',
        'backbone': 'resnet18',
        'input_height': 64,
        'input_width': 96,
    },
    'pretrained': '',
    'image_height': 64,
    'image_width': 96,
    'clip_frames': 3,
    'pairs': 1,
    'workers': 0,
    'frozen_blocks': -1,
    'warm_up_steps': 2,
    'log_every': 1,
    'checkpoint_every': 3,
    'device': 'cpu',
}
VALIDATION = {'data': {'kind': 'scenes'}, 'every': 2, 'videos': 1, 'frames': 3}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


def write(path: Path, **values: object) -> Path:
    path.write_text(yaml.safe_dump(SETTINGS | values))
    return path


def write_davis(folder: Path) -> Path:
    """A DAVIS folder with a bright square that moves to the right and back over noise."""
    random = np.random.default_rng(0)
    for kind in ('JPEGImages', 'Annotations'):
        (folder / kind / 'square').mkdir(parents=True)
    for time in range(8):
        x = 8 + 6 * min(time, 8 - time)
        mask = np.zeros((64, 96), np.uint8)
        mask[20:44, x : x + 24] = 255
        image = random.integers(0, 90, (64, 96, 3)).astype(np.uint8)
        image[mask > 0] = (60, 120, 240)
        cv2.imwrite(str(folder / 'JPEGImages' / 'square' / f'{time:05d}.jpg'), image)
        cv2.imwrite(str(folder / 'Annotations' / 'square' / f'{time:05d}.png'), mask)
    return folder


def test_a_video_is_overfitted(tmp_path: Path) -> None:
    data = {'kind': 'videos', 'annotations': str(write_davis(tmp_path / 'davis')), 'object_class': 'object'}
    settings = {'data': [data], 'steps': 60, 'learning_rate': 2e-3, 'backbone_learning_rate': 2e-3, 'ema': 0.8}
    more = {'weight_decay': 0.0, 'checkpoint_every': 1000, 'validation': {'data': data, 'every': 1000, 'frames': 8}}
    path = train(write(tmp_path / 'train.yaml', **settings, **more), tmp_path / 'out')
    _start, row = [json.loads(line) for line in (tmp_path / 'out' / 'validation.jsonl').read_text().splitlines()]
    assert row['step'] == 60 and row['J'] > 0.9
    assert read_propagation_config(path).architecture == 'feelvos'
    assert (tmp_path / 'out' / 'tiny_best.safetensors').is_file()


def test_whatever_is_not_annotated_is_background(tmp_path: Path) -> None:
    """In DAVIS too, where detectors ignore these pixels. Only pixels beyond the image are unknown."""
    data = {'kind': 'videos', 'annotations': str(write_davis(tmp_path / 'davis')), 'object_class': 'object'}
    trainer = Trainer(TrainConfig.read(write(tmp_path / 'train.yaml', data=[data], steps=6)), tmp_path / 'out')
    for images, labels in trainer.batches():
        assert images.shape == (1, 3, 64, 96, 3) and labels.shape == (1, 3, 64, 96)
        assert set(labels.unique().tolist()) <= {0, 1, 255}
        assert (labels == 0).float().mean() > 0.5 and (images[labels == 255] == 0).all()
        red = images[labels == 1].float().mean(0)[2]
        assert red > 200 > 100 > images[labels == 0].float().mean(0)[2]


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / 'train.yaml', steps=5, validation=VALIDATION)
    whole = train(path, tmp_path / 'whole')
    train_step = Trainer.train_step

    def interrupted(self: Trainer, *batch: Any) -> dict[str, float]:
        if self.step == 4:
            raise KeyboardInterrupt
        return train_step(self, *batch)

    monkeypatch.setattr(Trainer, 'train_step', interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(path, tmp_path / 'parts')
    monkeypatch.setattr(Trainer, 'train_step', train_step)
    torch.rand(10)
    TinyLosses.progress.clear()
    resumed = train(path, tmp_path / 'parts')
    assert TinyLosses.progress == [3 / 5, 4 / 5]
    assert same(load_file(whole), load_file(resumed))
    assert same(*(torch.load(tmp_path / name / 'checkpoint.pt', weights_only=True) for name in ('whole', 'parts')))
    for name in ('losses.jsonl', 'validation.jsonl'):
        assert rows(tmp_path / 'whole' / name) == rows(tmp_path / 'parts' / name)


def test_losses_of_lower_precision_and_scaled_input_are_finite(tmp_path: Path) -> None:
    train(write(tmp_path / 'a.yaml', steps=2, precision='bfloat16', input_scales=[0.5, 1.5]), tmp_path / 'out')
    assert all('not_finite' not in row for row in rows(tmp_path / 'out' / 'losses.jsonl'))


# --- initial weights --------------------------------------------------------------------------------------------------


def folded(extra: int) -> FrameEncoder:
    torch.manual_seed(3)
    return FrameEncoder(FeelvosConfig('a'), extra)


def test_the_backbone_fills_the_first_three_planes_of_a_widened_stem() -> None:
    network = torch.nn.ModuleDict({'plain': folded(0), 'widened': folded(2)})
    fresh = network['widened'].body.network.conv_stem.weight.detach().clone()
    published = network['plain'].body.state_dict()
    assert load_pretrained_encoders(network, FeelvosConfig('a'), 'efficientnet_lite0') == 2 * len(published)
    assert same(dict(network['plain'].body.state_dict()), dict(published))
    for name, tensor in network['widened'].body.state_dict().items():
        assert torch.equal(tensor[:, :3] if 'conv_stem.weight' in name else tensor, published[name]), name
    found = network['widened'].body.network.conv_stem.weight
    assert torch.equal(found[:, 3:], fresh[:, 3:]) and found.shape[1] == 5


def test_imagenet_backbone_without_folding_is_loaded_unchanged() -> None:
    config = FeelvosConfig('a', batch_norm_folded=False)
    network = FrameEncoder(config, 1)
    load_pretrained_encoders(network, config, 'efficientnet_lite0')
    state = efficientnet_lite0_state()
    mine = network.body.network.state_dict()
    assert torch.equal(mine['conv_stem.weight'][:, :3], state['conv_stem.weight'])
    assert all(torch.equal(mine[name], state[name]) for name in mine if name != 'conv_stem.weight')


def test_backbones_that_do_not_fit_are_rejected() -> None:
    config = FeelvosConfig('a', backbone='resnet18')
    with pytest.raises(ValueError, match="does not fit the backbone 'resnet18'"):
        load_pretrained_encoders(FrameEncoder(config), config, 'efficientnet_lite0')


def test_a_run_starts_from_a_file(tmp_path: Path) -> None:
    config = FeelvosConfig('old', backbone='resnet18', input_height=64, input_width=96)
    network = TinyNetwork(config)
    save_propagation(network, tmp_path / 'old.safetensors', torch.float32)
    values = SETTINGS | {'weights': str(tmp_path / 'old.safetensors'), 'model': {'name': 'new', 'input_width': 64}}
    path = tmp_path / 'train.yaml'
    path.write_text(yaml.safe_dump(values | {'steps': 1}))
    read = TrainConfig.read(path).model
    assert isinstance(read, PropagationConfig) and read == config.with_fields(name='new', input_width=64)
    trainer = Trainer(TrainConfig.read(path), tmp_path / 'out')
    assert same(dict(trainer.network.state_dict()), dict(network.state_dict()))
    start = load_propagation_weights(
        torch.nn.ModuleDict({'head': torch.nn.Conv2d(64, 1, 1)}), tmp_path / 'old.safetensors'
    )
    assert start.loaded == 2 and not start.skipped
    assert load_propagation(tmp_path / 'old.safetensors').config == config


def test_every_encoder_has_the_rate_of_backbones_and_a_widened_stem_is_trained() -> None:
    network = torch.nn.ModuleDict({'one': folded(0), 'two': folded(1), 'head': torch.nn.Conv2d(3, 3, 1)})
    freeze(network, 1)
    body, rest = build_optimizer(network, TrainConfig.from_dict({'data': [{'kind': 'scenes'}]})).param_groups
    assert {id(p) for p in rest['params']} == {id(p) for p in network['head'].parameters()}
    trained = {id(p) for p in body['params']}
    assert id(network['two'].body.network.conv_stem.weight) in trained
    assert id(network['one'].body.network.conv_stem.weight) not in trained
    for encoder in (network['one'], network['two']):
        for name, parameter in encoder.body.network.named_parameters():
            assert (id(parameter) in trained) == (not name.startswith('blocks.0.')) or 'conv_stem' in name, name


# --- configs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('architecture', PROPAGATION_SYSTEMS)
@pytest.mark.parametrize('run', ['', '_fine'])
def test_shipped_recipes(architecture: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not train on the DAVIS test half or val2017, and are validated on held-out images."""
    values = yaml.safe_load((ROOT / 'config' / f'train_{architecture}{run}.yaml').read_text())
    assert values.pop('weights', '') == (f'runs/{architecture}/{architecture}.safetensors' if run else '')
    config = TrainConfig.from_dict(values)
    assert isinstance(config.model, PROPAGATION_SYSTEMS[architecture].config) and config.model.name == architecture
    assert config.validation is not None and config.validation.figure == 'J'
    (held_out,) = config.validation.data
    assert held_out.part == 'held-out'
    assert any(source.kind == 'videos' for source in config.data) == bool(run)
    for source in config.data:
        if source.annotations == held_out.annotations:
            assert source.part == 'training'
        for videos in (source, *source.crops):
            assert 'val2017' not in videos.images + videos.annotations
            if videos.annotations == 'datasets/davis':
                assert set(videos.only) == set(DAVIS_TRAIN)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'model': {'architecture': 'osvos'}}, "architecture 'osvos' is not one of .*masktrack_rcnn.*feelvos"),
        ({'model': {'architecture': 'rgmp', 'fpn_channels': 3}}, 'fpn_channels.* of model'),
        ({'model': {'architecture': 'rgmp', 'decoder_chanels': 3}}, r'\(did you mean decoder_channels\?\)'),
        ({'clip_frames': 2}, 'clip_frames 2 is less than 3'),
        ({'clip_objects': 0}, 'clip_objects 0'),
        ({'clip_stride': 0}, 'clip_stride 0'),
        ({'image_width': 100}, 'image_width 100 is not a multiple of 32'),
        ({'pretrained': 'demos'}, "'demos' is not 'efficientnet_lite0' or ''"),
        ({'weights': 'demo'}, 'demo.safetensors is a detector'),
        ({'validation': VALIDATION | {'figure': 'AP'}}, "figure 'AP' is not 'J'"),
    ],
)
def test_errors_name_the_wrong_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(SETTINGS | values)


def test_weights_of_another_architecture_are_rejected(tmp_path: Path) -> None:
    save_propagation(TinyNetwork(FeelvosConfig('old', backbone='resnet18')), tmp_path / 'old.safetensors')
    values = SETTINGS | {'weights': str(tmp_path / 'old.safetensors'), 'model': {'architecture': 'rgmp'}}
    with pytest.raises(ValueError, match='holds a feelvos network, but model architecture is rgmp'):
        TrainConfig.from_dict(values)
