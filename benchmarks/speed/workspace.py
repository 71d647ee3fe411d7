"""Workspace: a temporary folder for everything that a measurement needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.speed.speed_settings import SpeedSettings
from vis_ros.demo.child_process import ended_by_signals
from vis_ros.extras import require
from vis_ros.networks.named_weights import resolve
from vis_ros.synthetic.scene import Scene

RANDOM = 'random:'
"""`--weights random:BACKBONE`: random weights, for speed only."""

_IMAGES = 12
_SCENE_FRAMES, _STEP = 150, 3  # length of the scene, and scene frames from one image to the next
_RANDOM_CLASSES = 40  # as many as YouTube-VIS has


@dataclass(frozen=True)
class Workspace:
    """Images, random weights, engine caches and logs in one folder."""

    folder: Path

    def images(self, size: tuple[int, int]) -> Path:
        """The .npy file (N, height, width, 3) uint8 BGR with frames of the synthetic scene, each of `size` pixels.

        The frames are drawn once for each size (height, width).
        """
        path = self.folder / f'images_{size[0]}x{size[1]}.npy'
        if not path.exists():
            scene = Scene(seed=0, size=size, frames=_SCENE_FRAMES)
            first = _SCENE_FRAMES // 4  # most of the objects are in view
            np.save(path, np.stack([scene.frame(first + _STEP * index).image for index in range(_IMAGES)]))
        return path

    def cache(self, name: str) -> Path:
        """A folder to use as the user's cache: empty at first, then with what engines store there."""
        path = self.folder / f'cache_{name}'
        path.mkdir(exist_ok=True)
        return path

    def with_weights(self, settings: SpeedSettings) -> SpeedSettings:
        """The settings with the path of the weights in place of their name. Random weights are made here."""
        if not settings.weights.startswith(RANDOM):
            return replace(settings, weights=str(resolve(settings.weights).resolve()))
        backbone = settings.weights.removeprefix(RANDOM)
        path = self.folder / f'random_{backbone}.safetensors'
        if not path.exists():
            _save_random_weights(backbone, path)
        return replace(settings, weights=str(path))


def _save_random_weights(backbone: str, path: Path) -> None:
    require('torch', 'making random weights')
    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.networks.random_model import save_random_model

    names = tuple(f'class {number}' for number in range(_RANDOM_CLASSES))
    save_random_model(ModelConfig(name=path.stem, class_names=names, backbone=backbone), path)


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A workspace that is deleted afterwards, also if a signal ends this process."""
    with ended_by_signals(), TemporaryDirectory(prefix='vis_ros_benchmark_') as folder:
        yield Workspace(Path(folder))
