"""Player: publishes recorded images when they are due, with /clock, and runs callbacks in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from vis_ros.ros.environment import prepare_environment
from vis_ros.ros.new_message import message_class
from vis_ros.ros.stamps import NS_PER_S, to_time

CLOCK_HZ = 100
"""Rate of /clock per second of wall time. One more message precedes each image."""

_QUALITY = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_POLL_NS = NS_PER_S // 20


class Player:
    """Publishes images and /clock. Everything is in one thread: callbacks run only while the player waits.

    Instants are in nanoseconds on the clock of `time.perf_counter_ns`, times are in nanoseconds on /clock.

    Args:
        node: owner of the publishers.
        executor: runs the callbacks of the node.
        stop: once it is set, every wait returns at once.
    """

    def __init__(self, node: Node, executor: Executor, stop: Event) -> None:
        self.node = node
        self._executor = executor
        self._stop = stop
        self._clock = node.create_publisher(Clock, '/clock', _QUALITY)
        self._images: dict[str, Any] = {}
        self._start_time_ns: int | None = None
        self._start_instant_ns = 0
        self._rate = 0.0
        self._clock_ns = 0
        self._next_tick_ns = 0

    @property
    def stopped(self) -> bool:
        """Whether the replay was interrupted."""
        return self._stop.is_set()

    def add_topic(self, topic: str, message_type: str) -> None:
        """Create the publisher of a topic with images.

        It is reliable, which suits every subscription, best-effort ones included.
        """
        self._images[topic] = self.node.create_publisher(message_class(message_type), topic, _QUALITY)

    def subscribers(self, topic: str) -> int:
        """Number of subscriptions that DDS has matched with the publisher of a topic."""
        return int(self._images[topic].get_subscription_count())

    def set_clock(self, time_ns: int, rate: float) -> None:
        """Set /clock to a time. From now on it runs `rate` times as fast as wall time; 0 stops it."""
        self._start_time_ns, self._rate = time_ns, rate
        self._start_instant_ns = time.perf_counter_ns()
        self._clock_ns = self._next_tick_ns = 0

    def due_ns(self, time_ns: int) -> int:
        """The instant at which /clock reaches a time."""
        assert self._start_time_ns is not None
        return self._start_instant_ns + round((time_ns - self._start_time_ns) / self._rate)

    def publish(self, topic: str, data: bytes, time_ns: int = 1) -> int:
        """Publish /clock, `time_ns` or later, and then a serialized image. Returns the instant of the image."""
        if self._start_time_ns is not None:
            self._publish_clock(time_ns)
        now_ns = time.perf_counter_ns()
        self._images[topic].publish(data)
        return now_ns

    def run(self, timeout_s: float, until: Callable[[], bool]) -> bool:
        """Run callbacks until a condition holds. Returns False after the timeout, or if stopped."""
        end_ns = time.perf_counter_ns() + round(timeout_s * NS_PER_S)
        while not until():
            if self._stop.is_set() or time.perf_counter_ns() >= end_ns:
                return False
            self._step(min(end_ns, time.perf_counter_ns() + _POLL_NS))
        return True

    def run_until(self, end_ns: int) -> bool:
        """Run callbacks until an instant. Returns False if stopped."""
        while time.perf_counter_ns() < end_ns and not self._stop.is_set():
            self._step(end_ns)
        return not self._stop.is_set()

    def _step(self, end_ns: int) -> None:
        """Publish /clock if its next message is due. Otherwise wait until it is, for one callback, or until the end."""
        now_ns = time.perf_counter_ns()
        if self._start_time_ns is None:
            self._executor.spin_once(timeout_sec=max(end_ns - now_ns, 0) / NS_PER_S)
        elif now_ns < self._next_tick_ns:
            self._executor.spin_once(timeout_sec=max(min(end_ns, self._next_tick_ns) - now_ns, 0) / NS_PER_S)
        else:
            self._publish_clock()

    def _publish_clock(self, at_least_ns: int = 1) -> None:
        """Publish the time. It never goes back, except by `set_clock`."""
        assert self._start_time_ns is not None
        now_ns = time.perf_counter_ns()
        passed_ns = round((now_ns - self._start_instant_ns) * self._rate)
        self._clock_ns = max(self._clock_ns, self._start_time_ns + passed_ns, at_least_ns)
        self._next_tick_ns = now_ns + NS_PER_S // CLOCK_HZ
        self._clock.publish(Clock(clock=to_time(self._clock_ns)))


@contextmanager
def open_player(node_name: str, stop: Event) -> Iterator[Player]:
    """A player whose node has a ROS context of its own and runs on wall time, even if `use_sim_time` is set globally.

    Args:
        node_name: name of the node.
        stop: see `Player`.
    """
    prepare_environment()
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = Node(
            node_name,
            context=context,
            use_global_arguments=False,
            parameter_overrides=[Parameter('use_sim_time', value=False)],
        )
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            yield Player(node, executor, stop)
        finally:
            executor.shutdown()
            node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
