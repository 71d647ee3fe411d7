"""The engine protocol: what the rest of vis_ros needs of a detector, whichever library runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances

ENGINES = ('auto', 'tensorrt', 'openvino', 'torch')
PRECISIONS = ('auto', 'fp32', 'fp16', 'bf16', 'int8')


@dataclass(frozen=True)
class EngineInfo:
    """What actually runs. Shown in the diagnostics, by `vis-ros doctor` and in every report.

    Attributes:
        engine: library and version.
        device: name of the GPU, or 'cpu' with the number of threads.
        precision: one of PRECISIONS, read from the compiled network and not from the settings.
        model: name of the model.
        parameters: number of learned parameters.
        input_size: (height, width) of the network's largest input.
        note: why this is not the requested or the fastest engine or precision, and how to improve it; '' if there is
            nothing to note.
        unconverged: number of images so far for which non-maximum suppression did not converge. Their results are
            published, but they may contain a duplicate object or miss one.
    """

    engine: str
    device: str
    precision: str
    model: str
    parameters: int
    input_size: tuple[int, int]
    note: str = ''
    unconverged: int = 0


class CompilingError(ValueError):
    """The network is being compiled for images of this size, and none that is compiled already can take them."""


class DeviceLostError(OSError):
    """The device has failed in a way that only a new process mends."""


class Engine(Protocol):
    """A detector of single images. It returns objects with embeddings, but without track ids.

    Several threads may call `infer`; they wait for each other.
    """

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    """(height, width) of the network's largest input."""
    score_threshold: float
    """It returns no detection with a lower score."""
    batch: int
    """Number of images that are fastest together; 1 if a batch is no faster than its images one after another."""

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in a batch of images, each (height, width, 3) uint8 BGR. Sizes may differ.

        Raises:
            CompilingError: see `BackgroundCompiler`.
            DeviceLostError: every later call would fail as well.
        """
        ...

    def warm_up(self) -> float:
        """Run a few times on noise, until kernels are compiled and caches are filled; returns ms per image."""
        ...

    def describe(self) -> EngineInfo:
        """What actually runs: library, device and precision."""
        ...


@runtime_checkable
class BackgroundCompiler(Protocol):
    """An engine that compiles its network for each image size."""

    def compile_in_background(self) -> None:
        """From now on, compile in another thread. Until the network for an image is ready, a larger one takes it, with
        more padding and slightly different results; CompilingError if there is none.
        """
        ...


def timed_warm_up(engine: Engine) -> float:
    """Run an engine four times on an image of noise and return the shortest time in milliseconds.

    The image is not blank: on a blank image all anchors score alike, which is the slowest case for non-maximum
    suppression.
    """
    image = noise_image(engine.input_size)
    return 1000 * shortest_s(lambda: engine.infer([image]))


def noise_image(size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (height, width, 3) of noise, always the same."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def shortest_s(run: Callable[[], object]) -> float:
    """The shortest of four runs, in seconds."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def join_notes(*notes: str) -> str:
    """One text of all notes that are not empty."""
    return '; '.join(note for note in notes if note)
