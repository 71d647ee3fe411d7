"""Which image a camera processes next, and which are replaced."""

import pytest
from builtin_interfaces.msg import Time
from helpers.image_messages import image_message
from helpers.rectangles import draw

from vis_ros.node.image_queue import ArrivedImage, ImageQueue
from vis_ros.recordings.cdr import serialize


def message(seconds):
    image = image_message(draw())
    image.header.stamp = Time(sec=seconds, nanosec=5)
    return ArrivedImage.now(serialize(image, 'sensor_msgs/msg/Image'))


def take(queue):
    return queue.take().stamp_ns // 10**9


def test_the_newest_image_replaces_those_that_wait_for_the_network():
    queue = ImageQueue(None)
    assert queue.wait_s() is None and queue.take() is None
    assert [queue.put(message(second)) for second in (1, 2, 3)] == [0, 1, 1]
    assert queue.wait_s() == 0 and take(queue) == 3 and queue.take() is None


def test_an_image_that_waits_for_depth_is_processed_before_the_next_one():
    waits = {1: 0.02, 2: 0.03, 3: 0.0}
    queue = ImageQueue(lambda image: waits[image.stamp_ns // 10**9])
    assert queue.put(message(1)) == 0 and queue.wait_s() == pytest.approx(0.02)
    assert queue.put(message(2)) == 0 and queue.wait_s() == 0
    assert take(queue) == 1
    assert queue.wait_s() == pytest.approx(0.03)
    assert queue.put(message(3)) == 0
    assert queue.put(message(1)) == 2, 'the network is busy: both wait for it'
    assert take(queue) == 1


def test_an_image_whose_depth_has_come_is_replaced():
    waits = [0.02]
    queue = ImageQueue(lambda image: waits[0])
    queue.put(message(1))
    waits[0] = -0.1
    assert queue.wait_s() == -0.1 and queue.put(message(2)) == 1
    assert queue.clear() == 1 and queue.clear() == 0


def test_a_message_without_a_whole_header_is_kept_for_whoever_reports_it():
    queue = ImageQueue(None)
    queue.put(ArrivedImage.now(b'\0\1\0'))
    assert queue.take().stamp_ns is None
