"""Percentiles of measured times and other values, and the ratio of two series of times."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

_RESAMPLES = 5000


def percentiles(values: ArrayLike, *levels: float) -> tuple[float, ...]:
    """Percentiles of (N,) values, interpolated linearly between neighboring values; NaN if N is 0.

    >>> p50, p95 = percentiles([1, 2, 3, 4, 5], 50, 95)
    >>> p50, p95
    (3.0, 4.8)
    """
    values = np.asarray(values, np.float64)
    return tuple(np.percentile(values, levels).tolist()) if values.size else (math.nan,) * len(levels)


def milliseconds(seconds: ArrayLike) -> dict[str, float]:
    """p50 and p95 in milliseconds of (N,) seconds, N > 0."""
    p50, p95 = percentiles(seconds, 50, 95)
    return {'p50': round(1000 * p50, 4), 'p95': round(1000 * p95, 4)}


def median_ratio(first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """Median of `second` divided by the median of `first`, with its 95 % bootstrap interval.

    Both are (N,) times taken in turn. The bootstrap resamples pairs of times, because a disturbance of the machine
    affects both times of a pair. Percentile interval of Efron and Tibshirani (1993), chapter 13.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    pairs = np.random.default_rng(0).integers(len(a), size=(_RESAMPLES, len(a)))
    low, high = percentiles(np.median(b[pairs], axis=1) / np.median(a[pairs], axis=1), 2.5, 97.5)
    ratio = float(np.median(b) / np.median(a))
    return {'ratio': round(ratio, 4), 'low': round(low, 4), 'high': round(high, 4)}
