"""BatchedEngine: one engine for single images and one that runs several at once, used where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import BackgroundCompiler, Engine, EngineInfo, join_notes, noise_image, shortest_s
from vis_ros.instances import Instances

_WORTH_IT = 0.95
"""A batch is used if it takes less than this share of the time that its images take alone."""


def batched(single: Engine, size: int, load: Callable[[], Engine]) -> Engine:
    """An engine that runs up to `size` images at once. If that cannot be loaded, its note says why.

    Args:
        single: runs single images.
        size: of a batch.
        load: loads the engine that runs a batch.
    """
    try:
        return BatchedEngine(single, load(), size)
    except (ValueError, OSError) as error:
        return BatchedEngine(single, None, 1, f'images of several cameras run one after another: {error}')


class BatchedEngine:
    """An `Engine` of two others. Both are timed when it is made.

    batch: `size` if a full batch is faster than its images alone; otherwise 1.

    Args:
        single: runs single images.
        several: runs up to `size` images at once, and takes as long for fewer; None without one.
        size: of a batch.
        note: last part of `EngineInfo.note`.
    """

    def __init__(self, single: Engine, several: Engine | None, size: int, note: str = '') -> None:
        self.class_names = single.class_names
        self.input_size = single.input_size
        self.score_threshold = single.score_threshold
        self.batch = 1
        self._single, self._several = single, several
        self._least = size + 1
        self._note = note
        if several is not None:
            self._least = self._least_images(single, several, size)
            self.batch = size if self._least <= size else 1

    @staticmethod
    def _least_images(single: Engine, several: Engine, size: int) -> int:
        """From how many images on a batch is faster."""
        image = noise_image(single.input_size)
        alone_s = shortest_s(lambda: single.infer([image]))
        together_s = shortest_s(lambda: several.infer([image] * size))
        return int(together_s / (_WORTH_IT * alone_s)) + 1

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect objects in images, each (height, width, 3) uint8 BGR. Only images of one size share a batch."""
        are_alike = len({image.shape for image in images}) == 1
        engine = self._several if are_alike and len(images) >= max(self._least, 2) else None
        return (engine or self._single).infer(images)

    def compile_in_background(self) -> None:
        """See `BackgroundCompiler`."""
        for engine in (self._single, self._several):
            if isinstance(engine, BackgroundCompiler):
                engine.compile_in_background()

    def warm_up(self) -> float:
        """Run a few times on an image of noise; returns the milliseconds of one image."""
        return self._single.warm_up()

    def describe(self) -> EngineInfo:
        """What actually runs: library, device and precision."""
        info = self._single.describe()
        unconverged = 0 if self._several is None else self._several.describe().unconverged
        return replace(info, note=join_notes(info.note, self._note), unconverged=info.unconverged + unconverged)
