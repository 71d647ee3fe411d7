"""ScoreFilter: an engine whose score threshold can be changed while it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine, EngineInfo
from vis_ros.instances import Instances


class ScoreFilter:
    """An `Engine` that passes on what another one detects with at least `threshold`."""

    def __init__(self, engine: Engine, threshold: float) -> None:
        self.threshold = threshold
        self.class_names = engine.class_names
        self.input_size = engine.input_size
        self._engine = engine

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        return [found[found.least_scores >= self.threshold] for found in self._engine.infer(images)]

    def warm_up(self) -> float:
        return self._engine.warm_up()

    def describe(self) -> EngineInfo:
        return self._engine.describe()
