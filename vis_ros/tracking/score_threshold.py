"""ScoreThreshold: the score below which a tracker drops detections; it may change while the tracker runs."""

from __future__ import annotations

from vis_ros.engines.engine import Engine


class ScoreThreshold:
    """The threshold of one tracker; `value` is the current one.

    Args:
        engine: where the detections come from.
        loaded: the setting that the engine was loaded with; 0 stands for the model's own threshold.
    """

    def __init__(self, engine: Engine, loaded: float = 0.0) -> None:
        self.value = self._loaded = loaded
        self._lowest = engine.score_threshold

    def set(self, threshold: float) -> None:
        """Change the threshold. Raises ValueError below that of the engine, which returns no such detections."""
        if threshold < self._lowest and threshold != self._loaded:
            raise ValueError(
                f'score_threshold is {threshold}, but the network was loaded with {self._lowest}; '
                'for a lower threshold load the model again (deactivate and clean up the node first)'
            )
        self.value = threshold
