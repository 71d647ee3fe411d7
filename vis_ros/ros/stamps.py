"""Stamps of one camera: nanoseconds of messages, their order, and how to restore it."""

from __future__ import annotations

import heapq
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from vis_ros.ros.new_message import NewMessage, ros_message

REGRESSION_TOLERANCE_NS = 500_000_000
"""An image up to this much older than the last one arrived out of order. If it is older than that, time was set back,
as in a bag that loops."""

FORWARD_TOLERANCE_NS = 1_000_000_000
"""An image may be newer than the last one by the time that has passed and this much. If it is newer than that, either
its stamp is wrong or time was set forward."""

FOLDER_RATE = 30.0
"""Frames per second of an image folder, which has no stamps."""

NS_PER_S = 1_000_000_000
"""Nanoseconds per second."""


class AnyTime(Protocol):
    """A builtin_interfaces/Time of any class."""

    sec: int
    nanosec: int


def nanoseconds(stamp: AnyTime) -> int | None:
    """Nanoseconds of a stamp, exact; None if the stamp is invalid (zero, negative or malformed)."""
    value = stamp.sec * NS_PER_S + stamp.nanosec
    return value if value > 0 and stamp.sec >= 0 and stamp.nanosec < NS_PER_S else None


def to_time(value: int, new: NewMessage = ros_message) -> Any:
    """A Time message of nanoseconds; zero for negative values, which Time cannot hold in Python."""
    message = new('builtin_interfaces/msg/Time')
    message.sec, message.nanosec = divmod(max(value, 0), NS_PER_S)
    return message


_LONGEST_STEP_NS = 10 * NS_PER_S
"""The second image after a jump is at most this much newer than the first, beside the time that has passed."""


class Order(Enum):
    """How a stamp follows the previous one."""

    FORWARD = 'forward'
    LATE = 'late'
    BACKWARD = 'backward'
    OUTLIER = 'outlier'


class StampOrder:
    """Checks the stamps of the processed images of one camera.

    `seconds` counts from the first stamp, so that float64 resolves every nanosecond for 26 days. The exact stamp of the
    first image of a track can therefore be computed from the seconds that the tracker stores.

    origin: the first stamp in nanoseconds; last: the newest one, None before the first.
    """

    def __init__(self) -> None:
        self.origin = 0
        self.last: int | None = None
        self._suspect: int | None = None
        self._usual_step = 0  # longer than the time between images where a recording is played faster than it was made

    def follow(self, value: int, elapsed_ns: int | None = None) -> Order:
        """How a stamp in nanoseconds follows the last one. Only a FORWARD stamp becomes the last one.

        One stamp that jumps is an OUTLIER, because a driver may write a wrong one. Time was set, forward or back, if
        the clock jumped by as much or if the next stamp continues from the jump.

        Args:
            value: the stamp.
            elapsed_ns: time since the last image on another clock. None believes every jump, for stamps that have been
                checked.
        """
        if self.last is None:
            self.origin = value
        elif -REGRESSION_TOLERANCE_NS <= value - self.last < 0:
            return Order.LATE
        elif elapsed_ns is not None and not self._is_plausible(value, elapsed_ns):
            self._suspect = value
            return Order.OUTLIER
        elif value < self.last:
            return Order.BACKWARD
        self.last, self._suspect = value, None
        return Order.FORWARD

    def _is_plausible(self, value: int, elapsed_ns: int) -> bool:
        """Whether a stamp fits the clock, or continues from the one before it, which did not."""
        assert self.last is not None
        step, passed = value - self.last, max(elapsed_ns, 0)
        if step >= 0 and step <= max(passed, self._usual_step) + FORWARD_TOLERANCE_NS:
            return True
        if step < 0 and elapsed_ns < 0 and abs(step - elapsed_ns) <= FORWARD_TOLERANCE_NS:
            return True
        if self._suspect is None or not -REGRESSION_TOLERANCE_NS <= value - self._suspect <= passed + _LONGEST_STEP_NS:
            return False
        self._usual_step = max(value - self._suspect, 0)
        return True

    def bridge(self, value: int) -> None:
        """Make an estimate the last stamp, in place of an OUTLIER. A second one is still compared with the first."""
        self.last = value

    def forget(self) -> None:
        """Accept any stamp next, and count seconds from it."""
        self.last = self._suspect = None

    def seconds(self, value: int) -> float:
        """Seconds since the first stamp."""
        return (value - self.origin) / NS_PER_S


Item = TypeVar('Item')


class StampWindow(Generic[Item]):
    """Sorts the images of one recorded camera by stamp.

    An image is held back until one arrives that is newer by more than REGRESSION_TOLERANCE_NS, or until too many are
    held back. A step back by more than that means that time was set back: all images held back are returned, then the
    next epoch starts.

    late: images left out because a newer one was returned already; only if too many were held back.
    reordered: images that arrived after one with a later stamp.
    """

    MAX_IMAGES = 64
    """Maximum number of images held back, whatever their stamps are."""

    def __init__(self) -> None:
        self.late = 0
        self.reordered = 0
        self._held: list[tuple[int, int, Item]] = []
        self._arrived = 0
        self._epoch = 0
        self._newest: int | None = None
        self._returned: int | None = None

    def add(self, stamp_ns: int, item: Item) -> list[tuple[int, int, Item]]:
        """Add the next image. Returns those that are no longer held back, each as (epoch, stamp, item)."""
        ready: list[tuple[int, int, Item]] = []
        if self._newest is not None and self._newest - stamp_ns > REGRESSION_TOLERANCE_NS:
            ready = self.flush()
            self._epoch += 1
            self._newest = self._returned = None
        if self._returned is not None and stamp_ns < self._returned:
            self.late += 1
            return ready
        self.reordered += self._newest is not None and stamp_ns < self._newest
        self._newest = stamp_ns if self._newest is None else max(self._newest, stamp_ns)
        self._arrived += 1  # equal stamps stay in the order of arrival
        heapq.heappush(self._held, (stamp_ns, self._arrived, item))
        while self._newest - self._held[0][0] > REGRESSION_TOLERANCE_NS or len(self._held) > self.MAX_IMAGES:
            ready.append(self._release())
        return ready

    def flush(self) -> list[tuple[int, int, Item]]:
        """All images held back, at the end of the recording."""
        return [self._release() for _ in range(len(self._held))]

    def _release(self) -> tuple[int, int, Item]:
        self._returned, _, item = heapq.heappop(self._held)
        return self._epoch, self._returned, item
