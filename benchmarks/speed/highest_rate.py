"""The highest rate that something can hold, by bisection, as ros2_benchmark looks for it."""

from __future__ import annotations

from collections.abc import Callable

LEAST_HZ, MOST_HZ = 0.1, 480.0


def highest_rate(holds: Callable[[float], bool], start_hz: float, precision: float = 0.05) -> float:
    """The highest rate in Hz at which it holds, and a rate that is higher by at most `precision` at which it does not.

    Args:
        holds: tries a rate.
        start_hz: of the first attempt.
        precision: relative.

    Returns:
        A rate that was tried and held; 0.0 where none down to LEAST_HZ does. Above MOST_HZ nothing is tried.
    """
    low = high = min(start_hz, MOST_HZ)
    if holds(low):
        while holds(high := min(2 * low, MOST_HZ)):
            low = high
            if high == MOST_HZ:
                return low
    else:
        while not holds(low := high / 2):
            high = low
            if low < LEAST_HZ:
                return 0.0
    while high > low * (1 + precision):
        middle = (low * high) ** 0.5
        if holds(middle):
            low = middle
        else:
            high = middle
    return low
