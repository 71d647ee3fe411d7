"""Engine: the protocol by which a detector is run, and the choice of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances

ENGINES = ('auto', 'torch')


@dataclass(frozen=True)
class EngineInfo:
    """What really runs: shown in diagnostics, `vis-ros doctor` and every report."""

    engine: str
    device: str
    precision: str
    model: str
    parameters: int
    input_size: tuple[int, int]


class Engine(Protocol):
    """A detector without memory: images in, objects without identities (but with embeddings) out."""

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    """(height, width) of the network's largest input."""

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in a batch of images, each (height, width, 3) uint8 BGR; sizes may differ."""
        ...

    def warm_up(self) -> float:
        """Run on an empty image until the time settles; returns the milliseconds of one image."""
        ...

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        ...


def load_engine(
    weights: str | Path,
    *,
    model: str = 'auto',
    engine: str = 'auto',
    device: str = 'auto',
    input_size: tuple[int, int] | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    threads: int = 0,
) -> Engine:
    """Load weights by packaged name (`demo`) or by path and return the engine that runs them.

    Args:
        weights: a name of `vis_ros.networks.weights` or the path of a .safetensors file.
        model: 'auto' (what the file says), 'masktrack_rcnn', or 'mask_rcnn' (ignores the track head; the embedding
            is then the normalised box-head feature).
        engine: one of ENGINES.
        device: 'auto' (CUDA where it is there), 'cpu', 'cuda' or 'cuda:N'.
        input_size: (height, width) limits of the network's input; None takes the model's own.
        score_threshold: detections below are not returned; None takes the model's own.
        max_detections: at most so many objects an image; None takes the model's own.
        threads: CPU threads of the network; 0 leaves the library's choice.

    Raises:
        FileNotFoundError: no such weights; the message says which command fetches them.
        ValueError: the file is not a vis_ros model, or a name is not known.
    """
    if engine not in ENGINES:
        raise ValueError(f'engine {engine!r} is not one of {", ".join(ENGINES)}')
    from vis_ros.engines.torch_engine import TorchEngine

    return TorchEngine(
        weights,
        model=model,
        device=device,
        input_size=input_size,
        score_threshold=score_threshold,
        max_detections=max_detections,
        threads=threads,
    )
