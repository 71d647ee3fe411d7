"""The stamps of one camera: nanoseconds out of messages, whether they run forward, and how to make them do so."""

from __future__ import annotations

import heapq
from enum import Enum
from typing import Generic, TypeVar

from builtin_interfaces.msg import Duration, Time

REGRESSION_TOLERANCE_NS = 500_000_000
"""An image older than the last one by at most this came out of order; by more, time was set back (a bag loops)."""

FOLDER_RATE = 30.0
"""Images per second of an image folder, which has no clock of its own."""

NS_PER_S = 1_000_000_000
"""Nanoseconds per second."""


def nanoseconds(stamp: Time) -> int | None:
    """Nanoseconds of a stamp, exact; None where it tells no time (zero, negative, or malformed)."""
    value = stamp.sec * NS_PER_S + stamp.nanosec
    return value if value > 0 and stamp.sec >= 0 and stamp.nanosec < NS_PER_S else None


def to_time(value: int) -> Time:
    """A Time message of nanoseconds; negative ones, which Time cannot hold in Python, become zero."""
    sec, nanosec = divmod(max(value, 0), NS_PER_S)
    return Time(sec=sec, nanosec=nanosec)


def to_duration(value: int) -> Duration:
    """A Duration message of nanoseconds."""
    sec, nanosec = divmod(value, NS_PER_S)
    return Duration(sec=sec, nanosec=nanosec)


class Order(Enum):
    """How a stamp follows the one before."""

    FORWARD = 'forward'
    LATE = 'late'
    BACKWARD = 'backward'


class StampOrder:
    """Watches the stamps of the processed images of one camera.

    `seconds` counts from the first stamp, so that float64 keeps every nanosecond for 26 days: the exact stamp of the
    first image of an identity can be told from the seconds that the memory stores.
    """

    def __init__(self) -> None:
        self.origin = 0
        self.last: int | None = None

    def follow(self, value: int) -> Order:
        """Say how a stamp in nanoseconds follows the last one. Only a FORWARD one becomes the last."""
        if self.last is None:
            self.origin = value
        elif value < self.last:
            return Order.LATE if self.last - value <= REGRESSION_TOLERANCE_NS else Order.BACKWARD
        self.last = value
        return Order.FORWARD

    def forget(self) -> None:
        """Accept any stamp next, and count from it."""
        self.last = None

    def seconds(self, value: int) -> float:
        """Seconds since the first stamp."""
        return (value - self.origin) / NS_PER_S


Item = TypeVar('Item')


class StampWindow(Generic[Item]):
    """Puts the images of one recorded camera into the order of their stamps, as far as they are out of it.

    An image waits until one has come that is newer by more than REGRESSION_TOLERANCE_NS, or until too many wait. A step
    back by more than that is time set back: what waits comes first, then the next epoch begins.

    late: images that were left out because one with a later stamp was already given; only where too many waited.
    reordered: images that came after one with a later stamp.
    """

    LARGEST = 64
    """So many images wait at the most, whatever their stamps are."""

    def __init__(self) -> None:
        self.late = 0
        self.reordered = 0
        self._waiting: list[tuple[int, int, Item]] = []
        self._arrived = 0
        self._epoch = 0
        self._newest: int | None = None
        self._given: int | None = None

    def add(self, stamp_ns: int, item: Item) -> list[tuple[int, int, Item]]:
        """Take the next image; returns those that need not wait any longer, each as (epoch, stamp, item)."""
        ready: list[tuple[int, int, Item]] = []
        if self._newest is not None and self._newest - stamp_ns > REGRESSION_TOLERANCE_NS:
            ready = self.flush()
            self._epoch += 1
            self._newest = self._given = None
        if self._given is not None and stamp_ns < self._given:
            self.late += 1
            return ready
        self.reordered += self._newest is not None and stamp_ns < self._newest
        self._newest = stamp_ns if self._newest is None else max(self._newest, stamp_ns)
        self._arrived += 1  # equal stamps stay in the order of arrival
        heapq.heappush(self._waiting, (stamp_ns, self._arrived, item))
        while self._newest - self._waiting[0][0] > REGRESSION_TOLERANCE_NS or len(self._waiting) > self.LARGEST:
            ready.append(self._give())
        return ready

    def flush(self) -> list[tuple[int, int, Item]]:
        """Everything that waits: there is nothing more to come."""
        return [self._give() for _ in range(len(self._waiting))]

    def _give(self) -> tuple[int, int, Item]:
        self._given, _, item = heapq.heappop(self._waiting)
        return self._epoch, self._given, item
