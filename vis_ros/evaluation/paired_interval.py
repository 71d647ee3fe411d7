"""The interval of a mean of few paired differences, for which the usual bootstrap is too narrow.

It is the hull of two intervals, each of 96 % rather than 95 %, as a margin for figures that are no means (AP, HOTA):

- Student's t, exact for normal differences, too narrow for some others (few values of the same size);
- the typical values of Hartigan (1969, "Using subsample values as typical values"): the quantiles of the means of all
  subsets of the differences. It is the inversion of the sign-flip test, and exact for symmetric differences of any
  shape, as those of two equally good results are.

With 1,000 draws of noise alone, from 5 to 50 differences, normal, heavy-tailed or mostly zero, the hull leaves out zero
in at most 5.5 % of the draws, and the percentile bootstrap in up to 17 % (see doc/evaluation.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

_LEVEL = 0.96

FEWEST = 5
"""With fewer differences there is no interval: any two results of three videos agree by chance every fourth time."""

_ALL_SUBSETS = 12
"""Up to this many differences all subsets are used, beyond it _DRAWN of them."""
_DRAWN = 4095


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is inside."""
        return self.low <= value <= self.high


def paired_interval(differences: ArrayLike) -> Interval | None:
    """The 95 % interval of the mean of (N,) differences of independent pairs; None for fewer than FEWEST.

    The same differences always give the same interval.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < FEWEST:
        return None
    half = stdtrit(len(values) - 1, (1 + _LEVEL) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    means = _subset_means(values)
    # Together with the observed one there are len(means) + 1 sign flips; of five, the extremes are the widest possible.
    cut = max(1, int((1 - _LEVEL) / 2 * (len(means) + 1)))
    return Interval(
        low=float(min(values.mean() - half, means[cut - 1])), high=float(max(values.mean() + half, means[-cut]))
    )


def _subset_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ascending means of nonempty subsets."""
    count = len(values)
    if count <= _ALL_SUBSETS:
        chosen = (np.arange(1, 2**count)[:, None] >> np.arange(count)) & 1
    else:
        chosen = np.random.default_rng(0).integers(0, 2, (_DRAWN, count))
        chosen = chosen[chosen.any(1)]
    return np.sort(chosen @ values / chosen.sum(1))
