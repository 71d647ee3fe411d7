"""The trainer: a resumed run equals an uninterrupted one, and its model file loads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.coco_files import annotation, write_dataset
from safetensors.torch import load_file

from vis_ros.networks.model_file import load_model
from vis_ros.networks.model_header import read_config
from vis_ros.training.detection_losses import LOSSES
from vis_ros.training.mixture import Mixture
from vis_ros.training.pairs import pair_loader, to_input
from vis_ros.training.train_config import TrainConfig
from vis_ros.training.trainer import Trainer, train
from vis_ros.training.validation import DetectionValidator, ValidationResult

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


VALIDATION = {'data': {'kind': 'scenes'}, 'every': 2, 'videos': 1, 'frames': 2, 'score_threshold': 0.0}


def rows(path: Path) -> list[dict[str, float]]:
    """The rows of a log without the fields that depend on the clock."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != 'steps_per_second'} for row in found]


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, averages, optimizer, schedule, random state, best figure and logs; pulled out at the 6th of 7 steps,
    with a checkpoint at the 3rd and a validation that was never saved at the 4th."""
    path = write(tmp_path / 'train.yaml', steps=7, validation=VALIDATION, log_every=1)
    train(path, tmp_path / 'whole')
    train_step = Trainer.train_step

    def interrupted(self: Trainer, *batch: Any) -> dict[str, float]:
        if self.step == 5:
            raise KeyboardInterrupt
        return train_step(self, *batch)

    monkeypatch.setattr(Trainer, 'train_step', interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(path, tmp_path / 'parts')
    monkeypatch.undo()
    assert [row['step'] for row in rows(tmp_path / 'parts' / 'losses.jsonl')] == [1, 2, 3, 4, 5]
    torch.rand(10)  # whatever happens between two starts
    train(path, tmp_path / 'parts')
    expected, found = (load_file(tmp_path / name / 'tiny.safetensors') for name in ('whole', 'parts'))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    ends = [torch.load(tmp_path / name / 'checkpoint.pt', weights_only=True) for name in ('whole', 'parts')]
    assert ends[0]['step'] == ends[0]['pairs_seen'] == 7 and ends[0]['best']['step'] in (0, 2, 4, 6, 7)
    assert same(*ends)
    for name in ('losses.jsonl', 'validation.jsonl'):
        assert rows(tmp_path / 'whole' / name) == rows(tmp_path / 'parts' / name)
    best = [load_file(tmp_path / name / 'tiny_best.safetensors') for name in ('whole', 'parts')]
    assert same(*best)


def test_validation_is_the_evaluation_of_the_averaged_weights(tmp_path: Path) -> None:
    """The metrics in the log equal those of the saved model replayed over the same videos."""
    path = write(tmp_path / 'train.yaml', steps=2, validation=VALIDATION | {'figure': 'HOTA'})
    best_file = train(path, tmp_path / 'out')
    model = tmp_path / 'out' / 'tiny.safetensors'
    start, row = rows(tmp_path / 'out' / 'validation.jsonl')
    assert (start['step'], row['step']) == (0, 2) and {'AP', 'AP50', 'HOTA', 'IDF1'} <= row.keys()
    config = TrainConfig.read(path)
    assert config.validation is not None
    validator = DetectionValidator(config.validation, config, ('shape',))
    (truth,) = validator.truths.values()
    assert len(truth.videos) == 1 and len(truth.videos[0]) == 2
    found = validator.run(load_model(model))
    assert found.metrics['HOTA'] == pytest.approx(row['HOTA'], abs=0.02)  # the file has half precision
    assert found.image.ndim == 3
    best = torch.load(tmp_path / 'out' / 'checkpoint.pt', weights_only=True)['best']
    improved = row['HOTA'] > start['HOTA']
    assert best == {'start': start['HOTA'], 'step': 2 * improved, 'value': max(row['HOTA'], start['HOTA'])}
    assert best_file == tmp_path / 'out' / 'tiny_best.safetensors'
    assert same(load_file(model), load_file(best_file)) == improved


def test_only_a_better_metric_replaces_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, [0.1, 0.2, 0.5, 0.5, 0.1])
    train(write(tmp_path / 'train.yaml', steps=4, validation=VALIDATION | {'every': 1}), tmp_path / 'out')
    saved = torch.load(tmp_path / 'out' / 'checkpoint.pt', weights_only=True)
    assert saved['best'] == {'start': 0.1, 'step': 2, 'value': 0.5}


def answer_with(monkeypatch: pytest.MonkeyPatch, figures: Iterable[float]) -> None:
    """Let the validations find these figures, one after the other."""
    each = iter(figures)
    picture = np.zeros((4, 4, 3), np.uint8)
    answer = lambda *_: ValidationResult(dict.fromkeys(('AP', 'AP50', 'HOTA', 'IDF1'), next(each)), picture)  # noqa: E731
    monkeypatch.setattr(DetectionValidator, 'run', answer)


def test_a_run_stops_when_validation_no_longer_improves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two validations without a new best after step 2, of the ten that there could be; started again it stops again."""
    answer_with(monkeypatch, [0.1, 0.2, 0.5, 0.4, 0.5])
    path = write(tmp_path / 'train.yaml', steps=10, validation=VALIDATION | {'every': 1, 'patience': 2})
    assert train(path, tmp_path / 'out') == tmp_path / 'out' / 'tiny_best.safetensors'
    said = capsys.readouterr().out
    assert 'stopped at step 4: no new best in the last 2 steps' in said
    assert f'Best: {tmp_path}/out/tiny_best.safetensors, AP 0.500 at step 2, 0.100 at step 0' in said
    assert torch.load(tmp_path / 'out' / 'checkpoint.pt', weights_only=True)['step'] == 4
    train(path, tmp_path / 'out')
    assert 'stopped at step 4' in capsys.readouterr().out
    assert [row['step'] for row in rows(tmp_path / 'out' / 'validation.jsonl')] == [0, 1, 2, 3, 4]


def test_a_run_that_does_not_help_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(monkeypatch, [0.3, 0.2])
    best = train(write(tmp_path / 'train.yaml', steps=1, validation=VALIDATION), tmp_path / 'out')
    assert 'No validation was better than the start (AP 0.300)' in capsys.readouterr().out
    start = Trainer(TrainConfig.read(write(tmp_path / 'start.yaml', steps=0)), tmp_path / 'start').averaged()
    assert same({name: t.half() for name, t in start.state_dict().items()}, load_file(best))


def test_validation_on_photos_and_scenes_and_the_verdict_against_the_start(tmp_path: Path) -> None:
    """Six held-out photos of 64, of which AP selects the best; metrics of the scenes have their name before them."""
    square = lambda n: [[n % 50, 10, n % 50 + 30, 10, n % 50 + 30, 40, n % 50, 40]]  # noqa: E731
    photos = [(n, f'{n}.png', 48, 96) for n in range(1, 65)]
    labels = write_dataset(tmp_path, photos, [annotation(n, n, 1, square(n)) for n in range(1, 65)])
    source = {'kind': 'images', 'images': str(tmp_path / 'images'), 'annotations': str(labels), 'classes': 'categories'}
    start = train(write(tmp_path / 'start.yaml', steps=0), tmp_path / 'start')
    data = [source | {'part': 'held-out'}, {'kind': 'scenes'}]
    path = write(
        tmp_path / 'train.yaml',
        data=[{'kind': 'scenes'}, source | {'part': 'training'}],
        weights=str(start),
        model={'name': 'tiny'},
        steps=1,
        validation=VALIDATION | {'data': data},
    )
    trainer = Trainer(TrainConfig.read(path), tmp_path / 'out')
    assert isinstance(trainer.validator, DetectionValidator)
    photo_truth, scene_truth = trainer.validator.truths.values()
    assert [video.name for video in photo_truth.videos] == [f'{n // 10 - 1} {n}' for n in range(10, 70, 10)]
    trainer.best = {'start': 0.0, 'step': 1, 'value': 0.5}
    trainer.task.save(trainer.averaged(), trainer.best_file)
    verdicts = list(trainer.task.verdicts(trainer.best_file, trainer.device))
    assert [(name, verdict.unit) for name, verdict in verdicts] == [('photos', 'photo'), ('scenes', 'segment')]
    assert [verdict.units for _, verdict in verdicts] == [6, 1]
    assert verdicts[0][1].figure == 'AP' and verdicts[1][1].figure == 'HOTA'
    found = trainer.validator.run(trainer.averaged())
    assert {'AP', 'J', 'scenes/AP', 'scenes/HOTA'} <= found.metrics.keys() and 'HOTA' not in found.metrics
    assert len(scene_truth.videos) == 1 and found.image.shape[1:] == (1000, 3)


def test_validation_data_are_checked_before_the_first_step(tmp_path: Path) -> None:
    for data, message in (
        ({'kind': 'videos', 'annotations': str(tmp_path / 'nowhere.json')}, 'nowhere'),
        ({'kind': 'composites', 'images': 'a', 'annotations': 'b.json'}, r'b\.json'),
    ):
        path = write(tmp_path / 'train.yaml', steps=1, validation=VALIDATION | {'data': data})
        with pytest.raises((ValueError, OSError), match=message):
            train(path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_lower_precision_learns_the_same(tmp_path: Path) -> None:
    """On a CPU, which has the autocast and the loss scaling of a GPU. The losses stay close to those of float32."""
    losses = {}
    for name in ('float32', 'bfloat16', 'float16'):
        train(write(tmp_path / f'{name}.yaml', steps=2, precision=name, log_every=1), tmp_path / name)
        losses[name] = [row['total'] for row in rows(tmp_path / name / 'losses.jsonl')]
        assert all('not_finite' not in row for row in rows(tmp_path / name / 'losses.jsonl'))
        average = torch.load(tmp_path / name / 'checkpoint.pt', weights_only=True)['average']
        assert {tensor.dtype for tensor in average.values()} == {torch.float32}
    for name in ('bfloat16', 'float16'):
        assert losses[name] != losses['float32']
        assert losses[name] == pytest.approx(losses['float32'], rel=0.1)


def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    trainer = Trainer(TrainConfig.read(write(tmp_path / 'train.yaml', steps=4)), tmp_path / 'out')
    images, targets = next(iter(trainer.batches()))
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    losses = trainer.losses
    trainer.losses = _Broken(losses)
    row = trainer.train_step(images, targets)
    assert not np.isfinite(row['gradient_norm'])
    assert same(before, trainer.network.state_dict()) and trainer.step == 1
    trainer.losses = losses
    trainer.train_step(images, targets)
    assert not same(before, trainer.network.state_dict())


class _Broken(torch.nn.Module):
    def __init__(self, losses: torch.nn.Module) -> None:
        super().__init__()
        self.losses = losses

    def forward(self, *batch: Any) -> dict[str, torch.Tensor]:
        return {name: value * float('nan') for name, value in self.losses(*batch).items()}


def test_each_process_has_its_share_of_the_pairs() -> None:
    def numbers(first: int, rank: int, world: int, steps: int) -> list[int]:
        return list(pair_loader(_Numbers(), 2, steps, 0, first=first, rank=rank, world=world).sampler)

    assert numbers(0, 0, 1, 3) == [0, 1, 2, 3, 4, 5]
    assert numbers(0, 0, 2, 3) == [0, 1, 4, 5, 8, 9] and numbers(0, 1, 2, 3) == [2, 3, 6, 7, 10, 11]
    assert numbers(8, 1, 2, 1) == [10, 11]  # resumed after two steps


class _Numbers(Mixture):
    def __init__(self) -> None:
        pass


RANK = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from vis_ros.training.trainer import train
train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_two_processes_make_the_step_of_both_their_batches(tmp_path: Path) -> None:
    """Two processes over gloo, compared with one that averages the gradients of both shares."""
    settings = {'steps': 3, 'ema': 0.0, 'optimizer': 'sgd', 'learning_rate': 0.01, 'backbone_learning_rate': 0.01}
    path = write(tmp_path / 'train.yaml', **settings)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    common = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'OMP_NUM_THREADS': '1'}
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', RANK, str(path), str(tmp_path / 'both')],
            env=os.environ | common | {'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert '2 processes' in outputs[0] and not outputs[1].strip()
    saved = torch.load(tmp_path / 'both' / 'checkpoint.pt', weights_only=True)
    assert saved['pairs_seen'] == 6 and len(saved['random']) == 2

    alone = Trainer(TrainConfig.read(path), tmp_path / 'alone')
    shares = [iter(pair_loader(alone.task.mixture, 1, 3, 0, rank=rank, world=2)) for rank in (0, 1)]
    states = [torch.manual_seed(rank).get_state() for rank in (0, 1)]
    for step in range(3):
        gradients: list[list[torch.Tensor]] = []
        for rank in (0, 1):
            torch.set_rng_state(states[rank])
            scale = alone.config.input_scales[int(torch.randint(2, ()))]
            batch = to_input(*next(shares[rank]), alone.model, scale, alone.device)
            alone.optimizer.zero_grad()
            alone.network.train()
            torch.stack(list(alone.losses(batch.images, batch.targets, batch.sizes).values())).sum().backward()
            gradients.append([p.grad for p in alone.network.parameters() if p.grad is not None])
            states[rank] = torch.get_rng_state()
        trained = [p for p in alone.network.parameters() if p.grad is not None]
        for parameter, one, other in zip(trained, *gradients, strict=True):
            parameter.grad = (one + other) / 2
        torch.nn.utils.clip_grad_norm_(trained, alone.config.gradient_clip)
        alone.optimizer.step()
        alone.scheduler.step()
        assert step < 3
    start = Trainer(TrainConfig.read(path), tmp_path / 'start').network.state_dict()
    moved = 0.0
    for name, tensor in alone.network.state_dict().items():
        torch.testing.assert_close(saved['network'][name], tensor, rtol=1e-4, atol=1e-6)
        moved = max(moved, float((tensor - start[name]).abs().max()))
    assert moved > 1e-3


def test_run_leaves_a_log_and_a_model_that_loads(tmp_path: Path) -> None:
    path = train(write(tmp_path / 'train.yaml', steps=4), tmp_path / 'out')
    found = rows(tmp_path / 'out' / 'losses.jsonl')
    assert [row['step'] for row in found] == [2, 4]
    assert set(LOSSES) <= found[0].keys()
    assert read_config(path).class_names == ('shape',)
    start = Trainer(TrainConfig.read(write(tmp_path / 'train.yaml', steps=0)), tmp_path / 'other')
    trained = load_model(path).state_dict()
    assert not torch.equal(
        trained['rpn.head.cls_logits.weight'], start.network.state_dict()['rpn.head.cls_logits.weight']
    )
    assert torch.equal(
        trained['backbone.body.conv1.weight'], start.average['backbone.body.conv1.weight'].half().float()
    )


def test_a_checkpoint_of_another_model_is_rejected(tmp_path: Path) -> None:
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
def test_a_wrong_config_is_rejected_before_training(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = write(tmp_path / 'train.yaml', steps=1, **values)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(path, tmp_path / 'out')


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'no\.yaml'):
        train(tmp_path / 'no.yaml')
