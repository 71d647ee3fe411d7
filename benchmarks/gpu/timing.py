"""Times of repeated calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vis_ros.percentiles import percentiles


def milliseconds(work: Callable[[], object], count: int) -> NDArray[np.float64]:
    """Milliseconds of each of `count` calls, after a warm-up."""
    for _ in range(5):
        work()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return np.array(times)


def p50_p95(times: NDArray[np.float64]) -> str:
    """Median and 95th percentile in words."""
    return '{:.2f}, {:.2f}'.format(*percentiles(times.tolist(), 50, 95))
