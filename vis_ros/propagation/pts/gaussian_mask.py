"""gaussian_mask: the previous mask as RGSN takes it. Does not import torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NORMAL = 1.4826
"""Ratio of standard deviation and median absolute deviation of a normal distribution."""
_LEAST_STD = 5.0


def gaussian_mask(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The heat map (S, S) in [0, 1] of a mask (S, S); zero for an empty mask. As `mask_heat_map`, which training
    uses: the center is the median of the pixels, the standard deviation 1.4826 times their median absolute deviation.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    rows, columns = (_bell(mask.sum(axis)) for axis in (1, 0))
    return np.asarray(rows[:, None] * columns, np.float32)


def _bell(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """A Gaussian (S,) along one axis, with the moments of coordinates that occur `counts` (S,) times."""
    places = np.repeat(np.arange(len(counts)), counts)
    center = np.median(places)
    std = max(_NORMAL * float(np.median(np.abs(places - center))), _LEAST_STD)
    return np.asarray(np.exp(-0.5 * ((np.arange(len(counts)) - center) / std) ** 2), np.float64)
