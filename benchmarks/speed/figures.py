"""Figures of measured times: percentiles, and the ratio of two engines with its uncertainty."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RESAMPLES = 5000


def milliseconds(seconds: ArrayLike) -> dict[str, float]:
    """Median and 95th percentile in milliseconds of times (N,) in seconds, N > 0."""
    median, high = np.percentile(np.asarray(seconds, np.float64), (50, 95)) * 1000
    return {'p50': round(float(median), 4), 'p95': round(float(high), 4)}


def ratio(seconds: ArrayLike, others: ArrayLike) -> dict[str, float]:
    """How many times as long the others take, as the ratio of the medians, and its 95 % bootstrap interval.

    Efron and Tibshirani 1993, chapter 13: percentiles of the ratio over resamples. Round k of both is drawn together,
    because both ran at about that time and met the same disturbance.

    Args:
        seconds: (N,) rounds of one engine.
        others: (N,) rounds of the other, in alternation with those.
    """
    mine, theirs = np.asarray(seconds, np.float64), np.asarray(others, np.float64)
    drawn = np.random.default_rng(0).integers(len(mine), size=(_RESAMPLES, len(mine)))
    resampled = _medians(theirs[drawn]) / _medians(mine[drawn])
    low, high = np.percentile(resampled, (2.5, 97.5))
    value = float(np.median(theirs) / np.median(mine))
    return {'ratio': round(value, 4), 'low': round(float(low), 4), 'high': round(float(high), 4)}


def _medians(values: NDArray[np.float64]) -> Any:
    return np.median(values, axis=1)
