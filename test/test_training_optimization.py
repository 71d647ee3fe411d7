"""Learning rate schedules against the published recipe, parameter groups, and the logs of a run."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console

from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.training.optimization import build_optimizer, choose_precision, freeze, learning_rate_factor
from vis_ros.training.run_log import RunLog
from vis_ros.training.train_config import TrainConfig

SMALL = ModelConfig(name='small', class_names=('a',), backbone='resnet18', fpn_channels=16, box_head_channels=32)


def make(**values: Any) -> TrainConfig:
    return TrainConfig.from_dict({'data': [{'kind': 'scenes'}]} | values)


def test_warm_up_and_steps_are_those_of_the_published_recipe() -> None:
    """Linear from 1/3 over 500 steps, then a tenth after 8 and after 11 of 12 epochs (MaskTrack R-CNN, 1x)."""
    config = make(schedule='step', steps=1200, decay_steps=[800, 1100], warm_up_steps=500, warm_up_from=1 / 3)
    factors = [learning_rate_factor(step, config) for step in range(1200)]
    for step in range(500):
        assert factors[step] == pytest.approx(1 / 3 + 2 / 3 * (step + 1) / 500)
    assert factors[500:800] == [1.0] * 300
    assert factors[800:1100] == [pytest.approx(0.1)] * 300 and factors[1100:] == [pytest.approx(0.01)] * 100


def test_cosine_goes_from_one_to_a_hundredth() -> None:
    config = make(steps=300, warm_up_steps=100)
    factors = np.array([learning_rate_factor(step, config) for step in range(301)])
    np.testing.assert_allclose(factors[:100], np.arange(1, 101) / 100)
    assert factors[100] == 1 and factors[200] == pytest.approx(0.505) and factors[300] == pytest.approx(0.01)
    assert (np.diff(factors[100:]) < 0).all()


@pytest.mark.parametrize(('optimizer', 'kind'), [('sgd', torch.optim.SGD), ('adamw', torch.optim.AdamW)])
def test_backbone_and_heads_have_their_own_rates(optimizer: str, kind: type) -> None:
    network = build_network(SMALL)
    freeze(network, 1)
    made = build_optimizer(network, make(optimizer=optimizer, learning_rate=0.3, backbone_learning_rate=0.1))
    assert isinstance(made, kind)
    body, heads = made.param_groups
    assert (body['lr'], heads['lr']) == (0.1, 0.3)
    trained = [p for p in network.parameters() if p.requires_grad]
    assert len(body['params']) + len(heads['params']) == len(trained)
    inside = {id(p) for p in network.backbone.body.parameters()}
    assert {id(p) for p in body['params']} <= inside and not {id(p) for p in heads['params']} & inside


@pytest.mark.parametrize(('blocks', 'frozen'), [(-1, set()), (0, {'conv1'}), (2, {'conv1', 'layer1', 'layer2'})])
def test_frozen_blocks(blocks: int, frozen: set[str]) -> None:
    network = build_network(SMALL)
    freeze(network, blocks)
    body = network.backbone.body
    assert {name.split('.')[0] for name, p in body.named_parameters() if not p.requires_grad} == frozen


def test_precision_on_a_cpu_is_float32_by_default() -> None:
    cpu = torch.device('cpu')
    assert choose_precision('auto', cpu) == torch.float32
    assert choose_precision('bfloat16', cpu) == torch.bfloat16


# --- the logs of a run ------------------------------------------------------------------------------------------------


def log_of(out: Path, step: int = 0, terminal: bool = False) -> tuple[RunLog, io.StringIO]:
    text = io.StringIO()
    return RunLog(out, step, 10, Console(file=text, force_terminal=terminal, width=100)), text


def test_log_has_means_and_counts_steps_that_are_not_finite(tmp_path: Path) -> None:
    log, text = log_of(tmp_path)
    with log:
        for step, total in enumerate((1.0, float('nan'), 3.0), start=1):
            log.add(step, {'mask': total / 2, 'total': total})
        log.close_window(3, 0.01)
    (row,) = [json.loads(line) for line in (tmp_path / 'losses.jsonl').read_text().splitlines()]
    assert row.pop('steps_per_second') > 0
    assert row == {'step': 3, 'mask': 1.0, 'total': 2.0, 'learning_rate': 0.01, 'not_finite': 1}
    assert 'step 3 of 10, loss 2.000' in text.getvalue() and 'left' in text.getvalue()


def test_a_loss_that_some_steps_do_not_have_is_averaged_over_the_others(tmp_path: Path) -> None:
    log, _ = log_of(tmp_path)
    with log:
        for losses in ({'total': 1.0}, {'total': 2.0, 'auxiliary': 0.5}, {'total': 3.0, 'auxiliary': 1.5}):
            log.add(1, losses)
        log.close_window(3, 0.01)
        log.validation(3, {'J': 0.5}, True)
    row = json.loads((tmp_path / 'losses.jsonl').read_text())
    assert (row['total'], row['auxiliary']) == (2.0, 1.0)


def test_a_terminal_gets_a_bar_instead_of_lines(tmp_path: Path) -> None:
    log, text = log_of(tmp_path, terminal=True)
    with log:
        log.add(1, {'total': 1.0})
        log.close_window(1, 0.01)
    assert 'step 1 of 10' not in text.getvalue() and '1/10' in text.getvalue()


def test_rows_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    for name in ('losses.jsonl', 'validation.jsonl'):
        (tmp_path / name).write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"step": 8, "tot')
    log_of(tmp_path, step=4)
    for name in ('losses.jsonl', 'validation.jsonl'):
        assert (tmp_path / name).read_text() == '{"step": 2}\n{"step": 4}\n'


def test_tensorboard_has_scalars_and_images(tmp_path: Path) -> None:
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    log, _ = log_of(tmp_path)
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[..., 2] = 255  # red, as BGR
    with log:
        log.add(2, {'total': 1.5})
        log.close_window(2, 0.01)
        log.validation(2, {'AP': 0.25, 'AP50': 0.5, 'HOTA': 0.3, 'IDF1': 0.4}, True)
        log.image(2, 'training pairs', picture)
    events = accumulator.EventAccumulator(str(tmp_path / 'tensorboard')).Reload()
    assert [(each.step, each.value) for each in events.Scalars('losses/total')] == [(2, 1.5)]
    assert events.Scalars('validation/AP')[0].value == 0.25
    (shown,) = events.Images('training pairs')
    image = cv2.imdecode(np.frombuffer(shown.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(image, picture)


def test_without_tensorboard_only_its_files_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    log, text = log_of(tmp_path)
    with log:
        log.add(1, {'total': 1.0})
        log.close_window(1, 0.01)
        log.image(1, 'nothing', np.zeros((2, 2, 3), np.uint8))
    assert 'TensorBoard is not installed' in text.getvalue()
    assert (tmp_path / 'losses.jsonl').is_file() and not (tmp_path / 'tensorboard').exists()
