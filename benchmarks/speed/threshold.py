"""The score threshold at which a network finds as many objects as a measurement wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine

_BELOW = 0.999
"""The threshold is so many times the score that must pass: scores of the same image may differ in the last bits."""


def load_for(
    load: Callable[[float | None], Engine], images: Sequence[NDArray[np.uint8]], detections: int
) -> tuple[Engine, float | None, int]:
    """An engine that finds so many objects in every image, where its network can.

    A detection is suppressed only by a better one. So the best K are the same at every threshold below the score of the
    K-th, and the highest of these thresholds gives non-maximum suppression the least to do beyond what is wanted.

    Args:
        load: loads the engine with a score threshold (None: its own) and at most `detections` objects an image.
        images: BGR.
        detections: K > 0.

    Returns:
        The engine, its threshold (None: its own), and how many objects it finds in every image at the least.
    """
    engine = load(None)
    if min(map(len, _scores(engine, images))) >= detections:
        return engine, None, detections
    scores = _scores(load(0.0), images)
    least = min(map(len, scores))
    threshold = _BELOW * min(map(min, scores)) if least >= detections else 0.0
    return load(threshold), threshold, least


def _scores(engine: Engine, images: Sequence[NDArray[np.uint8]]) -> list[list[float]]:
    return [engine.infer([image])[0].least_scores.tolist() for image in images]
