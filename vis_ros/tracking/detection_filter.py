"""DetectionFilter: which detections a tracker keeps; it may change while the tracker runs."""

from __future__ import annotations

import numpy as np

from vis_ros.engines.engine import Engine
from vis_ros.instances import Instances
from vis_ros.tracking.class_scores import lowest_scores


class DetectionFilter:
    """Keeps detections of some classes with a score of at least a threshold.

    Args:
        engine: where the detections come from.
        loaded: the threshold that the engine was loaded with; 0 stands for the model's own.
        classes: those that are kept, and their own thresholds, see `parse_classes`; '' for all.

    Raises:
        ValueError: the engine does not know a class.
    """

    def __init__(self, engine: Engine, loaded: float = 0.0, classes: str = '') -> None:
        self._class_names = engine.class_names
        self._engine_threshold = engine.score_threshold
        self._loaded = self._threshold = loaded
        self._lowest = lowest_scores(classes, engine.class_names)

    def configure(self, threshold: float, classes: str) -> None:
        """Change threshold and classes.

        Raises:
            ValueError: an unknown class, or a threshold below that of the engine, which returns no such detections;
                nothing has changed then.
        """
        if threshold < self._engine_threshold and threshold != self._loaded:
            raise ValueError(
                f'score_threshold is {threshold}, but the network was loaded with {self._engine_threshold}; '
                'for a lower threshold load the model again (deactivate and clean up the node first)'
            )
        self._lowest = lowest_scores(classes, self._class_names)
        self._threshold = threshold

    def keep(self, found: Instances) -> Instances:
        """The detections that are kept."""
        kept = found.least_scores >= np.maximum(self._lowest, self._threshold)[found.class_ids]
        return found if kept.all() else found[kept]
