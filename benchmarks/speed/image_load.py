"""ImageLoad: images at a given rate for a running vis_node, its replies, and the search for the highest rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from vis_ros.msg import InstanceMaskArray

from vis_ros.recordings.cdr import read_header, with_stamp
from vis_ros.recordings.topics import IMAGE_TYPE
from vis_ros.replay.live.player import Player
from vis_ros.ros.stamps import nanoseconds

IMAGE_TOPIC = '/image'
TRACKER = '/vis_node'

LEAST_HZ, MOST_HZ = 0.1, 480.0
"""Rates outside of this range are not tried."""

MAX_LOSS = 0.05
"""A rate is sustained if a smaller share of the images is lost."""

_LEAST_SENT = 0.95  # of the wanted rate: the sender must keep up itself
_RESEND_S = 0.05
_LAST_REPLY_S = 5.0


@dataclass(frozen=True)
class Reply:
    """An image that was answered; all times in nanoseconds since 1970.

    stamp_ns: stamp of the image, different for each; sent_ns: when it was handed to DDS; published_ns: when the node
    handed its message to DDS, by its own clock; received_ns: when that message arrived here; objects: number of objects
    in it; dropped: images that the node skipped before this one.
    """

    stamp_ns: int
    sent_ns: int
    published_ns: int
    received_ns: int
    objects: int
    dropped: int


@dataclass(frozen=True)
class Trial:
    """Images at one rate.

    wanted_hz: None if each image was sent after the reply to the one before; rate_hz: the rate that was sent.
    """

    wanted_hz: float | None
    rate_hz: float
    sent: int
    replies: list[Reply]

    @property
    def loss(self) -> float:
        """Share of the images without a reply."""
        return 1 - len(self.replies) / self.sent

    @property
    def sent_in_time(self) -> bool:
        """Whether the sender kept the wanted rate."""
        return self.wanted_hz is None or self.rate_hz >= _LEAST_SENT * self.wanted_hz

    @property
    def sustained(self) -> bool:
        """Whether the node kept up with the wanted rate."""
        return self.loss < MAX_LOSS and self.sent_in_time


class ImageLoad:
    """Publishes images and receives replies, all in one thread.

    Args:
        node: owner of the publishers and subscriptions.
        player: of this node.
        images: serialized sensor_msgs/Image, played forwards and backwards.
    """

    def __init__(self, node: Node, player: Player, images: Sequence[bytes]) -> None:
        self._player = player
        self._images = [*images, *images[-2:0:-1]]
        self._count = 0
        self._sent: dict[int, int] = {}
        self._received: list[tuple[int, int, bytes]] = []
        self._newest_ns = 0
        player.add_topic(IMAGE_TOPIC, IMAGE_TYPE)
        topic = f'{TRACKER}/instances'
        node.create_subscription(InstanceMaskArray, topic, self._on_instances, QoSProfile(depth=100), raw=True)

    def _on_instances(self, data: bytes) -> None:
        received_ns = time.time_ns()
        self._newest_ns, _ = read_header(data)
        self._received.append((self._newest_ns, received_ns, data))

    def _send(self) -> int:
        """Publish the next image, stamped now; returns its stamp."""
        stamp_ns = time.time_ns()
        data = with_stamp(self._images[self._count % len(self._images)], stamp_ns)
        self._count += 1
        self._sent[stamp_ns] = time.time_ns()
        self._player.publish(IMAGE_TOPIC, data)
        return stamp_ns

    def until_reply(self, check: Callable[[], None], seconds: float) -> None:
        """Send images to a node that is starting, as soon as it subscribes, until it replies to one.

        Args:
            check: called repeatedly; raises if there is no point in waiting any longer.
            seconds: timeout.

        Raises:
            TimeoutError: there was no reply within the timeout.
        """
        end, last = time.monotonic() + seconds, 0.0
        self._newest_ns = 0
        while not self._newest_ns:
            check()
            if time.monotonic() > end:
                raise TimeoutError(f'{TRACKER} has not replied to any image within {seconds:.0f} s')
            if self._player.subscribers(IMAGE_TOPIC) and time.monotonic() - last > _RESEND_S:
                self._send()
                last = time.monotonic()
            self._player.run(0.01, lambda: bool(self._newest_ns))

    def one_by_one(self, count: int) -> Trial:
        """Send each image after the reply to the one before, or after a timeout."""
        self._start_trial()
        start = time.perf_counter()
        for _ in range(count):
            self._wait_for(self._send())
        return self._trial(None, count / (time.perf_counter() - start))

    def at_rate(self, rate_hz: float, count: int) -> Trial:
        """Send `count` images at a rate, and wait for the last reply."""
        self._start_trial()
        start = time.perf_counter_ns()
        for index in range(count):
            self._player.run_until(start + round(index / rate_hz * 1e9))
            stamp_ns = self._send()
        achieved = (count - 1) / ((time.perf_counter_ns() - start) / 1e9)
        self._wait_for(stamp_ns)
        return self._trial(rate_hz, achieved)

    def _start_trial(self) -> None:
        if self._sent:
            self._wait_for(max(self._sent))
        self._sent.clear()
        self._received.clear()

    def _wait_for(self, stamp_ns: int) -> None:
        self._player.run(_LAST_REPLY_S, lambda: self._newest_ns >= stamp_ns)

    def _trial(self, wanted_hz: float | None, rate_hz: float) -> Trial:
        replies = []
        for stamp_ns, received_ns, data in self._received:
            message: InstanceMaskArray = deserialize_message(data, InstanceMaskArray)
            published_ns = stamp_ns + (nanoseconds(message.latency) or 0)
            if stamp_ns in self._sent:
                sent_ns = self._sent[stamp_ns]
                objects = len(message.instances)
                replies.append(Reply(stamp_ns, sent_ns, published_ns, received_ns, objects, message.dropped))
        return Trial(wanted_hz, rate_hz, len(self._sent), replies)


def highest_rate(sustains: Callable[[float], bool], start_hz: float, precision: float = 0.05) -> float:
    """Find the highest sustained rate in Hz by bisection, as ros2_benchmark does.

    Args:
        sustains: tries a rate.
        start_hz: the first rate to try.
        precision: relative; a rate that is higher by this much is not sustained.

    Returns:
        A rate that was tried and sustained; 0.0 if none down to LEAST_HZ is. Rates above MOST_HZ are not tried.
    """
    low = high = min(start_hz, MOST_HZ)
    if sustains(low):
        while sustains(high := min(2 * low, MOST_HZ)):
            low = high
            if high == MOST_HZ:
                return low
    else:
        while not sustains(low := high / 2):
            high = low
            if low < LEAST_HZ:
                return 0.0
    while high > low * (1 + precision):
        middle = (low * high) ** 0.5
        if sustains(middle):
            low = middle
        else:
            high = middle
    return low
