"""Load: images at a rate for a running vis_node, and what it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from vis_ros.msg import InstanceMaskArray

from vis_ros.recordings.bags import IMAGE_TYPE, read_header
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.timed_images import with_stamp
from vis_ros.ros.stamps import nanoseconds

IMAGE_TOPIC = '/image'
TRACKER = '/vis_node'

_RESEND_S = 0.05
_LINGER_S = 5.0


@dataclass(frozen=True)
class Reply:
    """An image that was answered; all times in nanoseconds since 1970.

    stamp_ns: of the image, each its own; sent_ns: when it was given to DDS; published_ns: when the node gave its answer
    to DDS, by its own account;
    received_ns: when that was here; objects: in it; dropped: images that the node skipped before.
    """

    stamp_ns: int
    sent_ns: int
    published_ns: int
    received_ns: int
    objects: int
    dropped: int


@dataclass(frozen=True)
class Trial:
    """Images at one rate. wanted_hz: None: each when the one before was answered; rate_hz: as they were sent."""

    wanted_hz: float | None
    rate_hz: float
    sent: int
    replies: list[Reply]

    @property
    def loss(self) -> float:
        """Share of the images that was not answered."""
        return 1 - len(self.replies) / self.sent


class Load:
    """Publishes and listens in one thread.

    Args:
        node: whose publishers and subscriptions these are.
        player: of this node.
        images: serialised sensor_msgs/Image; they are sent to and fro.
    """

    def __init__(self, node: Node, player: Player, images: Sequence[bytes]) -> None:
        self._player = player
        self._images = [*images, *images[-2:0:-1]]
        self._count = 0
        self._sent: dict[int, int] = {}
        self._answers: list[tuple[int, int, bytes]] = []
        self._newest_ns = 0
        player.add_topic(IMAGE_TOPIC, IMAGE_TYPE)
        node.create_subscription(InstanceMaskArray, f'{TRACKER}/instances', self._hear, QoSProfile(depth=100), raw=True)

    def _hear(self, data: bytes) -> None:
        received_ns = time.time_ns()
        self._newest_ns, _ = read_header(data)
        self._answers.append((self._newest_ns, received_ns, data))

    def _send(self) -> int:
        """Publish the next image, as taken now; returns its stamp."""
        stamp_ns = time.time_ns()
        data = with_stamp(self._images[self._count % len(self._images)], stamp_ns)
        self._count += 1
        self._sent[stamp_ns] = time.time_ns()
        self._player.publish(IMAGE_TOPIC, data)
        return stamp_ns

    def until_answered(self, check: Callable[[], None], seconds: float) -> None:
        """Send images to a node that is about to start, from the moment that it listens, until it answers one.

        Args:
            check: called again and again; raises where there is nothing to wait for any more.
            seconds: raise TimeoutError after so many.
        """
        end, last = time.monotonic() + seconds, 0.0
        self._newest_ns = 0
        while not self._newest_ns:
            check()
            if time.monotonic() > end:
                raise TimeoutError(f'{TRACKER} answers no image within {seconds:.0f} s')
            if self._player.subscribers(IMAGE_TOPIC) and time.monotonic() - last > _RESEND_S:
                self._send()
                last = time.monotonic()
            self._player.run(0.01, lambda: bool(self._newest_ns))

    def one_by_one(self, count: int) -> Trial:
        """Send each image when the one before was answered (or was not, for a long time)."""
        self._begin()
        begun = time.perf_counter()
        for _ in range(count):
            self._await(self._send())
        return self._trial(None, count / (time.perf_counter() - begun))

    def at_rate(self, rate_hz: float, count: int) -> Trial:
        """Send so many images at a rate, and wait for the last answer."""
        self._begin()
        begun = time.perf_counter_ns()
        for index in range(count):
            self._player.run_until(begun + round(index / rate_hz * 1e9))
            stamp_ns = self._send()
        achieved = (count - 1) / ((time.perf_counter_ns() - begun) / 1e9)
        self._await(stamp_ns)
        return self._trial(rate_hz, achieved)

    def _begin(self) -> None:
        if self._sent:
            self._await(max(self._sent))
        self._sent.clear()
        self._answers.clear()

    def _await(self, stamp_ns: int) -> None:
        self._player.run(_LINGER_S, lambda: self._newest_ns >= stamp_ns)

    def _trial(self, wanted_hz: float | None, rate_hz: float) -> Trial:
        replies = []
        for stamp_ns, received_ns, data in self._answers:
            message: InstanceMaskArray = deserialize_message(data, InstanceMaskArray)
            published_ns = stamp_ns + (nanoseconds(message.latency) or 0)
            if stamp_ns in self._sent:
                sent_ns = self._sent[stamp_ns]
                objects = len(message.instances)
                replies.append(Reply(stamp_ns, sent_ns, published_ns, received_ns, objects, message.dropped))
        return Trial(wanted_hz, rate_hz, len(self._sent), replies)
