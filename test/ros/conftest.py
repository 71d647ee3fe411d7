"""A private graph for each test: the node under test and a test node in one executor; the worker is the only thread."""

import gc
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
    os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from helpers.image_messages import image_message
from helpers.processes import Process
from helpers.rectangles import RectangleEngine
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from vis_ros.msg import InstanceMaskArray

from vis_ros.node.vis_node import VisNode

TIMEOUT_S = 30.0
ROSOUT = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Graph:
    """The test's side of a ROS graph: it publishes, and collects all it receives."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = Node('tester', context=self.context)
        self.executor.add_node(self.node)
        self.under_test = None
        self.arrays, self.logs, self.diagnostics = [], [], []
        self._publishers = {}
        self._seconds = 100.0
        self.node.create_subscription(Log, '/rosout', self.logs.append, ROSOUT)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)
        self.listen(InstanceMaskArray, '/vis_node/instances', self.arrays)

    def close(self):
        if self.under_test is not None:
            self.under_test.destroy_node()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        # The state machine of a lifecycle node holds its rcl node, and with it /rosout of that name, until collected.
        self.under_test = self.executor = self.node = None
        self._publishers.clear()
        gc.collect()

    def start(self, active=True, engine_factory=RectangleEngine, cli_args=None, factories=None, **parameters):
        """The node under test, configured and active by default."""
        overrides = [Parameter(name, value=value) for name, value in {'autostart': False, **parameters}.items()]
        with patch('vis_ros.node.vis_node.epoch_of_start', return_value=0):
            self.under_test = VisNode(
                engine_factory,
                context=self.context,
                parameter_overrides=overrides,
                cli_args=cli_args,
                **(factories or {}),
            )
        self.executor.add_node(self.under_test)
        if active:
            assert self.under_test.trigger_configure().name == 'SUCCESS'
            assert self.under_test.trigger_activate().name == 'SUCCESS'
        return self.under_test

    @contextmanager
    def stranger(self):
        """A node with its own participant, as in another process."""
        context = Context()
        rclpy.init(context=context)
        node = Node('stranger', context=context)
        yield node
        node.destroy_node()
        rclpy.shutdown(context=context)

    def spin_until(self, condition, timeout_s=TIMEOUT_S):
        """Spin until the condition holds; fail if it does not in time."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f'did not happen within {timeout_s} s'
            self.executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def listen(self, message_type, topic, received=None):
        """A list that collects every message on a topic."""
        received = [] if received is None else received
        self.node.create_subscription(message_type, topic, received.append, 10)
        return received

    def publisher(self, message_type, topic, qos=10):
        """A publisher with a subscriber."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(message_type, topic, qos)
        publisher = self._publishers[topic]
        self.spin_until(publisher.get_subscription_count)
        self.spin_until(self._have_discovered_each_other)
        return publisher

    def _have_discovered_each_other(self):
        """Whether nothing that this node and the one under test send to each other can be lost: a best-effort message
        is, while its subscription does not know the publisher yet.
        """
        nodes = [self.node] if self.under_test is None else [self.node, self.under_test]
        publishers = Counter(each.topic_name for node in nodes for each in node.publishers)
        subscriptions = [each for node in nodes for each in node.subscriptions]
        subscribed = Counter(each.topic_name for each in subscriptions)
        return all(each.get_publisher_count() >= publishers[each.topic_name] for each in subscriptions) and all(
            each.get_subscription_count() >= subscribed[each.topic_name] for node in nodes for each in node.publishers
        )

    def stamp(self):
        """Stamps at 10 Hz, with odd nanoseconds."""
        self._seconds += 0.1
        return Time(sec=int(self._seconds), nanosec=int(self._seconds % 1 * 1e9) // 1000 * 1000 + 789)

    def send(self, image, stamp=None, topic='/image', frame_id='camera_optical_frame'):
        """Publish a BGR array, or an Image as it is, and wait until the node under test has taken it: its queue holds
        one. Returns the stamp.
        """
        message = image if isinstance(image, (Image, CompressedImage)) else image_message(image)
        message.header.stamp = self.stamp() if stamp is None else stamp
        message.header.frame_id = frame_id
        publisher = self.publisher(type(message), topic)
        cameras = [] if self.under_test is None else self.under_test._cameras
        taken = [(each, each.statistics.counts.received) for each in cameras if each.images and each.topic == topic]
        publisher.publish(message)
        self.spin_until(lambda: all(each.statistics.counts.received > count for each, count in taken))
        return message.header.stamp

    def process(self, image, stamp=None, topic='/image', arrays=None):
        """Publish an image and return the resulting array."""
        arrays = self.arrays if arrays is None else arrays
        count = len(arrays)
        stamp = self.send(image, stamp, topic)
        self.spin_until(lambda: len(arrays) > count and arrays[-1].header.stamp == stamp)
        return arrays[-1]

    def send_until(self, condition, image, stamp=None):
        """Publish an image again and again until the condition holds: to a node in another process the first ones may
        be lost. Returns the stamp of the last one.
        """
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, f'did not happen within {TIMEOUT_S} s'
            newest = self.send(image, stamp)
            self.spin_for(0.2)
        return newest

    def connect(self, stamp=None, size=(48, 64)):
        """Send empty images until one is processed, and return when all that arrived are."""
        newest = self.send_until(lambda: self.arrays, np.full((*size, 3), 128, np.uint8), stamp)
        self.spin_until(lambda: self.arrays[-1].header.stamp == newest)

    def call(self, service_type, name, request):
        client = self.node.create_client(service_type, name)
        self.spin_until(client.service_is_ready)
        future = client.call_async(request)
        self.spin_until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def status(self, condition, name='vis_node: camera', timeout_s=TIMEOUT_S):
        """The next diagnostic status of that name for which the condition holds, and its values."""
        self.diagnostics.clear()
        self.spin_until(lambda: self.reported(condition, name), timeout_s)
        return self.reported(condition, name)

    def reported(self, condition, name='vis_node: camera'):
        """The first diagnostic status of that name for which the condition holds, and its values; None if none does."""
        for message in self.diagnostics:
            for status in message.status:
                values = {pair.key: pair.value for pair in status.values}
                if status.name == name and condition(status, values):
                    return status, values
        return None

    def logged(self, text):
        """Messages in the log of the node under test that contain the text."""
        return [log.msg for log in self.logs if log.name == 'vis_node' and text in log.msg]


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def start():
    """Start a process that does not outlive the test."""
    yield from started_processes()


@pytest.fixture(scope='module')
def start_for_module():
    """Start a process that does not outlive the tests of a file."""
    yield from started_processes()


def started_processes():
    processes = []

    def run(*arguments, **environment):
        processes.append(Process(*arguments, **environment))
        return processes[-1]

    yield run
    for process in processes:
        process.stop()
