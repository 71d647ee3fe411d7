"""Soft aggregation: merges masks of several objects that were predicted independently of each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-7


def soft_aggregation(background: NDArray[np.float32], objects: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (M + 1, h, w), background first, that sum to 1 at each pixel (RGMP, Oh et al. 2018, equation 1).

    p_m = odds(q_m) / sum_j odds(q_j) with odds(q) = q / (1 - q) of the clamped probabilities q.

    Args:
        background: (h, w), probability that a pixel is on none of the objects.
        objects: (M, h, w), probability of each object on its own.
    """
    found = np.concatenate((background[None], objects)).clip(_EPSILON, 1 - _EPSILON)
    odds = found / (1 - found)
    return np.asarray(odds / odds.sum(0), np.float32)
