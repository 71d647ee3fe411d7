"""CameraReplies: what one camera of a running node answers, put to the images that were sent and kept in a bag."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile

from vis_ros.msg import InstanceMaskArray
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import read_header
from vis_ros.recordings.topics import INSTANCES_TYPE

_WALL_NS = time.time_ns() - time.perf_counter_ns()


def wall_ns(instant_ns: int) -> int:
    """Nanoseconds since 1970 of an instant of `time.perf_counter_ns`, unbent by corrections of the clock."""
    return _WALL_NS + instant_ns


@dataclass(frozen=True)
class Sent:
    """An image that was published.

    index: position in the replay, all rounds counted; round: from 1.
    name, stamp_ns, taken_ns: of the `TimedImage`.
    sent_ns: when it went out, on `time.perf_counter_ns`.
    """

    index: int
    round: int
    name: str
    stamp_ns: int
    taken_ns: int
    sent_ns: int


@dataclass(frozen=True)
class Answered:
    """An image that was answered; latency_ms: milliseconds from its publication until the answer was here."""

    sent: Sent
    latency_ms: float


class CameraReplies:
    """Listens to one topic with InstanceMaskArray.

    answered: in the order of the messages in the bag.
    unknown: answers to images that are not ours.
    newest_stamp_ns: of the last message that came, whosever it is; None before the first.

    A node answers in the order of the images and skips some. So an answer belongs to the earliest image with its
    stamp that is not older than what was answered before, also where a recording has a stamp twice.
    """

    def __init__(self, node: Node, topic: str, bag: BagWriter) -> None:
        self.answered: list[Answered] = []
        self.unknown = 0
        self.newest_stamp_ns: int | None = None
        self._topic = topic
        self._bag = bag
        self._waiting: deque[Sent] = deque()
        bag.add_topic(topic, INSTANCES_TYPE)
        offered = [publisher.qos_profile.reliability for publisher in node.get_publishers_info_by_topic(topic)]
        quality = QoSProfile(depth=100, reliability=offered[0]) if offered else QoSProfile(depth=100)
        self._subscription = node.create_subscription(InstanceMaskArray, topic, self._on_answer, quality, raw=True)

    def expect(self, sent: Sent) -> None:
        """An image was published."""
        self._waiting.append(sent)

    @property
    def waiting(self) -> int:
        """How many images since the last answered one are not answered."""
        return len(self._waiting)

    def give_up(self) -> None:
        """Expect no answers to the images so far any more."""
        self._waiting.clear()

    def _on_answer(self, data: bytes) -> None:
        arrived_ns = time.perf_counter_ns()
        stamp_ns, _ = read_header(data)
        self.newest_stamp_ns = stamp_ns
        position = next((i for i, sent in enumerate(self._waiting) if sent.stamp_ns == stamp_ns), None)
        if position is None:
            self.unknown += 1
            return
        for _ in range(position):
            self._waiting.popleft()
        sent = self._waiting.popleft()
        self.answered.append(Answered(sent, (arrived_ns - sent.sent_ns) / 1e6))
        self._bag.write(self._topic, wall_ns(arrived_ns), data)
