"""The weights in the package fit the networks of this version."""

from pathlib import Path

import numpy as np
import pytest

from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.synthetic.scene import Scene

WEIGHTS = Path(__file__).resolve().parents[1] / 'vis_ros' / 'weights'
DETECTORS = ('demo',)
SYSTEMS = sorted(path.stem for path in WEIGHTS.glob('*.safetensors') if path.stem not in DETECTORS)


def test_systems_are_packaged() -> None:
    assert {'feelvos', 'maskrnn', 'pts', 'rgmp'} == set(SYSTEMS)


@pytest.mark.parametrize('system', SYSTEMS)
def test_packaged_propagation_weights_follow_an_object(system: str) -> None:
    scene = Scene(3, (192, 320), frames=60)
    first, second = scene.frame(30), scene.frame(31)
    largest = int(np.argmax(first.masks.sum((1, 2))))
    (index,) = np.flatnonzero(second.object_ids == first.object_ids[largest])
    propagator = load_propagation_model(system, device='cpu', threads=1).new()
    propagator.start(1, first.image, first.masks[largest])
    found, truth = propagator.step(second.image).argmax(0) == 1, second.masks[index]
    assert (found & truth).sum() / (found | truth).sum() > 0.5
