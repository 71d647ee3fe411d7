"""The kinds of files of models that are damaged: checkpoints, graphs and weights."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from helpers.rectangles import BLUE, RED, draw

from robustness.kind import Kind, LostWithoutAWordError, damaged_file, one_of
from robustness.mutations import changed_value, cut, damage

_WEIGHTS = Path(__file__).resolve().parents[2] / 'vis_ros' / 'weights'
_DETECTOR = ('demo.mask_rcnn.cpu.onnx', 'demo.safetensors')
_PROPAGATION = ('rgmp.reference.cpu.onnx', 'rgmp.segment.cpu.onnx', 'rgmp.safetensors')
_ROBOT = 'robot'
"""Name of a case on a machine without torch."""


def _prepare_checkpoints(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.networks.model_header import CONFIG_KEY

    state = {f'layer{number}.weight': torch.rand(4, 5) for number in range(3)}
    torch.save({'state_dict': state, 'meta': {'CLASSES': ('a', 'b'), 'epoch': 3}}, folder / 'new.pth')
    torch.save(state, folder / 'old.pth', _use_new_zipfile_serialization=False)
    save_file(state, folder / 'plain.safetensors')
    save_file(state, folder / 'model.safetensors', {CONFIG_KEY: ModelConfig('made', ('a', 'b')).to_json()})


def _make_checkpoint(sound: Path, target: Path, chance: random.Random) -> Path:
    source = one_of(sound, chance)
    if source.name != 'model.safetensors' or chance.random() < 0.3:
        return damaged_file(source, target, chance)
    from safetensors.torch import load_file, save_file

    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.networks.model_header import CONFIG_KEY

    values = changed_value(json.loads(ModelConfig('made', ('a', 'b')).to_json()), chance)
    save_file(load_file(source), target / 'model.safetensors', {CONFIG_KEY: json.dumps(values)})
    return target / 'model.safetensors'


def _read_checkpoint(path: Path) -> None:
    from vis_ros.networks.checkpoint_file import read_checkpoint
    from vis_ros.networks.model_header import read_config

    if 'model' in path.name:
        read_config(path)
    else:
        read_checkpoint(path)


def _prepare_graphs(folder: Path) -> None:
    for name in (*_DETECTOR, *_PROPAGATION):
        shutil.copy(_WEIGHTS / name, folder / name)
    for system in ('demo', 'rgmp'):
        np.save(folder.parent / f'{system}.npy', _outputs(folder, system))


def _make_graph(sound: Path, target: Path, chance: random.Random) -> Path:
    is_robot, system = chance.random() < 0.8, chance.choice((_DETECTOR, _DETECTOR, _PROPAGATION))
    target = target / (_ROBOT if is_robot else 'workstation')
    target.mkdir()
    victim = chance.choice(system)
    for name in system:
        if name == victim:
            (target / name).write_bytes((cut if chance.random() < 0.3 else damage)((sound / name).read_bytes(), chance))
        else:
            (target / name).symlink_to(sound / name)
    return target


def _read_graph(path: Path) -> None:
    os.environ['XDG_CACHE_HOME'] = str(path / 'cache')
    system = 'demo' if (path / 'demo.safetensors').exists() else 'rgmp'
    with _without_torch(path.name == _ROBOT), patch('logging.Logger.warning') as warning:
        found = _outputs(path, system)
    expected = np.load(next(each / f'{system}.npy' for each in path.parents if (each / f'{system}.npy').exists()))
    same = found.shape == expected.shape and np.allclose(found, expected, atol=1e-2)
    if not same and not warning.called:
        raise LostWithoutAWordError('other outputs than those of the sound network')


@contextmanager
def _without_torch(is_missing: bool) -> Iterator[None]:
    if not is_missing:
        yield
        return
    absent: Any = lambda extra: ('torch',)  # noqa: E731
    places = ('export.find_graph', 'export.part_graphs', 'engines.loading', 'engines.propagation_model', 'extras')
    patches = [patch(f'vis_ros.{place}.missing', absent) for place in places]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def _outputs(folder: Path, system: str) -> np.ndarray:
    """What a network finds in a picture, loaded as `vis-ros replay` does."""
    image = draw((5, 10, 25, 35, RED), (40, 20, 60, 40, BLUE), height=64)
    if system == 'demo':
        from vis_ros.engines.loading import load_engine

        engine = load_engine(
            folder / 'demo.safetensors', model='mask_rcnn', input_size=(64, 64), precision='fp32', score_threshold=0.01
        )
        (found,) = engine.infer([image])
        return np.column_stack([found.scores, found.class_ids, found.boxes])
    from vis_ros.engines.propagation_model import load_propagation_model

    propagator = load_propagation_model(system, str(folder / f'{system}.safetensors'), device='cpu').new()
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[10:35, 5:25] = 1
    propagator.start(1, image, mask)
    return np.asarray(propagator.step(image))


MODEL_KINDS = (
    Kind('checkpoints', 60, _prepare_checkpoints, _make_checkpoint, _read_checkpoint),
    Kind('graphs and weights', 60, _prepare_graphs, _make_graph, _read_graph),
)
