"""ScoreFilter: an engine whose score threshold and classes can be changed while it runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine, EngineInfo
from vis_ros.instances import Instances
from vis_ros.tracking.class_scores import lowest_scores


class ScoreFilter:
    """An `Engine` that passes on the detections of another one with a score of at least `threshold`, of some classes.

    Args:
        engine: several filters may share it.
        threshold: the one that the engine was loaded with; `configure` can raise it and lower it to this again.
        classes: those that are passed on, and their own thresholds, see `parse_classes`; '' for all.

    Raises ValueError for a class that the engine does not know.
    """

    def __init__(self, engine: Engine, threshold: float, classes: str = '') -> None:
        self.class_names = engine.class_names
        self.input_size = engine.input_size
        self._engine = engine
        self._loaded = self._threshold = threshold
        self._lowest = lowest_scores(classes, engine.class_names)

    def configure(self, threshold: float, classes: str) -> None:
        """Change threshold and classes. Raises ValueError for an unknown class, and for a threshold below that of the
        engine, which gives no such detections; then nothing has changed.
        """
        if threshold < self._loaded:
            raise ValueError(
                f'score_threshold is {threshold}, but the network was loaded with {self._loaded}; '
                'for a lower threshold load the model again (deactivate and clean up the node first)'
            )
        self._lowest = lowest_scores(classes, self.class_names)
        self._threshold = threshold

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        lowest = np.maximum(self._lowest, self._threshold)
        return [found[found.least_scores >= lowest[found.class_ids]] for found in self._engine.infer(images)]

    def warm_up(self) -> float:
        return self._engine.warm_up()

    def describe(self) -> EngineInfo:
        return self._engine.describe()
