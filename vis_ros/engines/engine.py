"""The engine protocol: what the rest of vis_ros needs of a detector, whichever library runs it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances

ENGINES = ('auto', 'tensorrt', 'openvino', 'torch')
PRECISIONS = ('auto', 'fp32', 'fp16', 'bf16', 'int8')


@dataclass(frozen=True)
class EngineInfo:
    """What really runs: shown in diagnostics, `vis-ros doctor` and every report.

    engine: library and version.
    precision: a name of PRECISIONS, read from what runs and not from what was asked for.
    note: why another engine or precision than the requested or the best one runs, and what would improve it; '' if
        there is nothing to note.
    unconverged: number of images so far in which non-maximum suppression did not converge. Their results are published
        but may contain a duplicate object or miss one.
    """

    engine: str
    device: str
    precision: str
    model: str
    parameters: int
    input_size: tuple[int, int]
    note: str = ''
    unconverged: int = 0


class Engine(Protocol):
    """A detector without memory: images in, objects without identities (but with embeddings) out."""

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    """(height, width) of the network's largest input."""

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in a batch of images, each (height, width, 3) uint8 BGR; sizes may differ."""
        ...

    def warm_up(self) -> float:
        """Run on an image of noise until the time settles; returns the milliseconds of one image."""
        ...

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        ...


def timed_warm_up(engine: Engine) -> float:
    """Run an engine on an image of noise until the time settles; returns the milliseconds of one image.

    Not on an empty one: there all proposals score alike, and their suppression is the longest there is.
    """
    image = np.random.default_rng(0).integers(0, 256, (*engine.input_size, 3), np.uint8)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        engine.infer([image])
        times.append(time.perf_counter() - start)
    return min(times) * 1000
