"""Percentiles of measured times and other values."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def percentiles(values: ArrayLike, *levels: float) -> tuple[float, ...]:
    """Percentiles of (N,) values, interpolated linearly between neighboring values; NaN if N is 0.

    >>> p50, p95 = percentiles([1, 2, 3, 4, 5], 50, 95)
    >>> p50, p95
    (3.0, 4.8)
    """
    values = np.asarray(values, np.float64)
    return tuple(np.percentile(values, levels).tolist()) if values.size else (math.nan,) * len(levels)
