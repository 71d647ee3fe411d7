"""Threads that share one network, such as those of two cameras in Python, get what each would get alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
from helpers.engines import openvino_engine
from numpy.typing import NDArray

from vis_ros.engines.propagation_model import load_propagation_model
from vis_ros.synthetic.scene import Scene

_RUNS = 40

Run = Callable[[], NDArray[np.float32]]


def _assert_each_gets_its_own(runs: Sequence[Run], expected: Sequence[NDArray[np.float32]]) -> None:
    start = Barrier(len(runs))

    def repeat(run: Run, wanted: NDArray[np.float32]) -> None:
        start.wait()
        for _ in range(_RUNS):
            np.testing.assert_allclose(run(), wanted, atol=1e-3)

    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(repeat, runs, expected))


def test_parts_of_a_propagation_network() -> None:
    """Where threads do not take turns, one reads inputs of another that may be freed already: a segmentation fault."""
    parts = load_propagation_model('feelvos', engine='openvino', device='cpu', threads=2)._parts
    side, cells = 8 + 2 * parts.config.local_window, np.ones((24, 32), np.float32)

    def of(squared: float) -> Run:
        return lambda: parts.run('local_distances', np.full((12, 64, side**2), squared, np.float32), cells)[0]

    distances = [0.5, 1.0, 2.0]
    expected = [np.full((1, 24, 32), 2 / (1 + np.exp(-each)) - 1, np.float32) for each in distances]
    _assert_each_gets_its_own([of(each) for each in distances], expected)


def test_a_detector() -> None:
    engine = openvino_engine('demo', precision='fp32', input_size=(96, 128), score_threshold=0.05, threads=2)
    images = [Scene(seed=seed, size=(96, 128)).frame(20).image for seed in range(3)]
    alone = [engine.infer([image])[0].boxes for image in images]
    assert len({each.tobytes() for each in alone}) == len(images)
    _assert_each_gets_its_own([lambda image=image: engine.infer([image])[0].boxes for image in images], alone)
