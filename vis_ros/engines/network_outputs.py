"""NetworkOutputs: what a static network gives for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NetworkOutputs:
    """R objects in descending order of score.

    boxes: (R, 4) in pixels of the canvas; scores: (R,); labels: (R,) from 1; masks: (R, 28, 28) probabilities;
    embeddings: (R, E); settled: whether every suppression came to its end, so that the answer is exact.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    settled: bool
