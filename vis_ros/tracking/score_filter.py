"""ScoreFilter: an engine whose score threshold can be changed while it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine, EngineInfo
from vis_ros.instances import Instances


class ScoreFilter:
    """An `Engine` that passes on the detections of another one with a score of at least `threshold`.

    Args:
        engine: several filters may share it.
        threshold: the one that the engine was loaded with; `set_threshold` can raise it and lower it to this again.
    """

    def __init__(self, engine: Engine, threshold: float) -> None:
        self.class_names = engine.class_names
        self.input_size = engine.input_size
        self._engine = engine
        self._loaded = self._threshold = threshold

    def set_threshold(self, threshold: float) -> None:
        """Change the threshold. Raises ValueError below that of the engine, which gives no such detections."""
        if threshold < self._loaded:
            raise ValueError(
                f'score_threshold is {threshold}, but the network was loaded with {self._loaded}; '
                'for a lower threshold load the model again (deactivate and clean up the node first)'
            )
        self._threshold = threshold

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        return [found[found.least_scores >= self._threshold] for found in self._engine.infer(images)]

    def warm_up(self) -> float:
        return self._engine.warm_up()

    def describe(self) -> EngineInfo:
        return self._engine.describe()
