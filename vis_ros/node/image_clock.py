"""ImageClock: when the images of one camera were taken: their stamps, or the node clock where one is wrong."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock
from std_msgs.msg import Header

from vis_ros.ros.stamps import Order, StampOrder, nanoseconds


class ImageClock:
    """Follows the stamps of the images of one camera, and replaces a single stamp that is invalid or jumps.

    order: of the times so far.
    has_wrong_stamp: whether the stamp of the newest image was replaced.

    Args:
        clock: of the node.
        on_wrong_stamp: called with the header and with what is wrong with its stamp.
    """

    def __init__(self, clock: Clock, on_wrong_stamp: Callable[[Header, str], None]) -> None:
        self.order = StampOrder()
        self.has_wrong_stamp = False
        self._clock = clock
        self._on_wrong_stamp = on_wrong_stamp
        self._clock_at_last = 0

    def follow(self, header: Header) -> tuple[Order, int]:
        """How the next image follows the last one, and its time in nanoseconds. After BACKWARD, which takes no time
        over, call `order.forget` and `order.follow`.
        """
        self.has_wrong_stamp = False
        now = int(self._clock.now().nanoseconds)
        stamp = nanoseconds(header.stamp)
        if stamp is None:
            self._replace(header, 'an invalid stamp')
            stamp = self._expected(now)
        order = self.order.follow(stamp, now - self._clock_at_last)
        if order is Order.LATE:
            return order, stamp
        if order is Order.OUTLIER:
            assert self.order.last is not None
            seconds = (stamp - self.order.last) / 1e9
            self._replace(header, f'a stamp that is {seconds:+.3f} s from the last one')
            stamp = self._expected(now)
            self.order.bridge(stamp)
        self._clock_at_last = now
        return order, stamp

    def _replace(self, header: Header, problem: str) -> None:
        self.has_wrong_stamp = True
        self._on_wrong_stamp(header, problem)

    def _expected(self, now: int) -> int:
        """The last time plus the time since then on the node clock, or that clock if there is no last time."""
        return now if self.order.last is None else self.order.last + max(now - self._clock_at_last, 0)
