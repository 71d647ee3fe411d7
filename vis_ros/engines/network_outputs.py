"""NetworkOutputs: the raw output of a network for one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NetworkOutputs:
    """D objects in descending order of score.

    Attributes:
        boxes: (D, 4) x0 y0 x1 y1 in pixels of the network's input.
        scores: (D,).
        labels: (D,) integers, 1 to C (0 is the background).
        masks: (D, S, S) probabilities.
        embeddings: (D, E).
        converged: non-maximum suppression converged, so the result is exact.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[Any]
    masks: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    converged: bool = True
