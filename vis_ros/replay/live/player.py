"""Player: publishes images when they are due, /clock all the time, and lets callbacks run in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any

from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from vis_ros.recordings.topics import COMPRESSED_TYPE
from vis_ros.ros.stamps import NS_PER_S, to_time

CLOCK_HZ = 100
"""Messages of /clock in a second of wall time, beside the one before each image."""

_QUALITY = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_POLL_NS = NS_PER_S // 20


class Player:
    """One thread for everything: callbacks run only while it waits.

    Args:
        node: whose publishers these are.
        executor: which runs its callbacks.
        stop: where it is set, nothing is waited for any more.
    """

    def __init__(self, node: Node, executor: Executor, stop: Event) -> None:
        self._node = node
        self._executor = executor
        self._stop = stop
        self._clock = node.create_publisher(Clock, '/clock', _QUALITY)
        self._images: dict[str, Any] = {}
        self._time_ns: int | None = None
        self._set_at_ns = 0
        self._rate = 0.0
        self._told_ns = 0
        self._next_tick_ns = 0

    def add_topic(self, topic: str, kind: str) -> None:
        """Let images be published on a topic; kind: the type of the messages.

        Reliable, so that every subscriber can take them, those that ask for best effort too.
        """
        message_type = CompressedImage if kind == COMPRESSED_TYPE else Image
        self._images[topic] = self._node.create_publisher(message_type, topic, _QUALITY)

    def set_clock(self, time_ns: int, rate: float) -> None:
        """From now on /clock begins at a time and runs so many times as fast as the wall clock; 0: it stands."""
        self._time_ns, self._rate = time_ns, rate
        self._set_at_ns = time.perf_counter_ns()
        self._told_ns = self._next_tick_ns = 0

    def due_ns(self, time_ns: int) -> int:
        """When /clock will say so, on `time.perf_counter_ns`."""
        assert self._time_ns is not None
        return self._set_at_ns + round((time_ns - self._time_ns) / self._rate)

    def publish(self, topic: str, data: bytes, time_ns: int = 1) -> int:
        """Tell the time, `time_ns` at least, then send a serialised image; returns when, on `time.perf_counter_ns`."""
        if self._time_ns is not None:
            self._tell(time_ns)
        now = time.perf_counter_ns()
        self._images[topic].publish(data)
        return now

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def subscribers(self, topic: str) -> int:
        """How many DDS has connected with."""
        return int(self._images[topic].get_subscription_count())

    def run(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Let time pass until something holds, at most so long. Returns whether it does."""
        end_ns = time.perf_counter_ns() + round(seconds * NS_PER_S)
        while not until():
            if self._stop.is_set() or time.perf_counter_ns() >= end_ns:
                return False
            self._step(min(end_ns, time.perf_counter_ns() + _POLL_NS))
        return True

    def run_until(self, end_ns: int) -> bool:
        """Let time pass until an instant of `time.perf_counter_ns`. Returns False where it was stopped before."""
        while time.perf_counter_ns() < end_ns and not self._stop.is_set():
            self._step(end_ns)
        return not self._stop.is_set()

    def _step(self, end_ns: int) -> None:
        """Tell the time if it is time for that, else wait for one callback, the next time to tell, or the end."""
        now = time.perf_counter_ns()
        if self._time_ns is None:
            self._executor.spin_once(timeout_sec=max(end_ns - now, 0) / NS_PER_S)
        elif now < self._next_tick_ns:
            self._executor.spin_once(timeout_sec=max(min(end_ns, self._next_tick_ns) - now, 0) / NS_PER_S)
        else:
            self._tell()

    def _tell(self, at_least_ns: int = 1) -> None:
        """Publish the time; it never goes back but by `set_clock`."""
        assert self._time_ns is not None
        now = time.perf_counter_ns()
        passed = round((now - self._set_at_ns) * self._rate)
        self._told_ns = max(self._told_ns, self._time_ns + passed, at_least_ns)
        self._next_tick_ns = now + NS_PER_S // CLOCK_HZ
        self._clock.publish(Clock(clock=to_time(self._told_ns)))
