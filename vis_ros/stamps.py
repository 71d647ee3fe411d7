"""The stamps of one camera: nanoseconds out of messages, and whether they run forward."""

from __future__ import annotations

from enum import Enum

from builtin_interfaces.msg import Duration, Time

REGRESSION_TOLERANCE_NS = 500_000_000
"""An image older than the last one by at most this came out of order; by more, time was set back (a bag loops)."""

FOLDER_RATE = 30.0
"""Images per second of an image folder, which has no clock of its own."""

_NS = 1_000_000_000


def nanoseconds(stamp: Time) -> int | None:
    """Nanoseconds of a stamp, exact; None where it tells no time (zero, negative, or malformed)."""
    value = stamp.sec * _NS + stamp.nanosec
    return value if value > 0 and stamp.sec >= 0 and stamp.nanosec < _NS else None


def to_time(value: int) -> Time:
    """A Time message of nanoseconds; negative ones, which Time cannot hold in Python, become zero."""
    sec, nanosec = divmod(max(value, 0), _NS)
    return Time(sec=sec, nanosec=nanosec)


def to_duration(value: int) -> Duration:
    """A Duration message of nanoseconds."""
    sec, nanosec = divmod(value, _NS)
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
        return (value - self.origin) / _NS
