"""The node and images that it cannot use."""

import threading
import time
from types import SimpleNamespace

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.image_messages import compressed_message, image_message
from helpers.passing_rectangles import ids, scene
from helpers.rectangles import BLUE, HEIGHT, RED, WIDTH, RectangleEngine, draw
from rclpy.event_handler import UnsupportedEventTypeError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from vis_ros.node import vis_node, worker


def spoiled(**fields):
    message = image_message(scene(1))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


BAD_IMAGES = {
    'unknown encoding': (spoiled(encoding='32FC7'), "'32FC7'"),
    'step smaller than a row': (spoiled(step=10), 'step 10 is smaller'),
    'data shorter than the rows': (spoiled(data=image_message(scene(1)).data[:-7]), f'{HEIGHT * WIDTH * 3 - 7} bytes'),
    'no pixels': (Image(encoding='bgr8'), '0x0'),
}


@pytest.mark.parametrize('case', BAD_IMAGES)
def test_a_bad_image_is_refused_with_one_message_and_harms_nothing(graph, case):
    message, named = BAD_IMAGES[case]
    graph.start()
    before = graph.process(scene(0))
    for _ in range(5):
        graph.send(message)
        graph.spin_for(0.02)
    status, values = graph.status(
        lambda status, values: int(values['images refused']) + int(values['images dropped']) == 5
    )
    assert status.level == DiagnosticStatus.ERROR and named in status.message
    assert named in values['last issue'] and '/image' in values['last issue']
    after = graph.process(scene(1))
    assert ids(after) == ids(before) and (after.epoch, after.sequence, after.dropped) == (1, 2, 5)
    assert [instance.hits for instance in after.instances] == [2, 2]
    graph.spin_until(lambda: graph.logged(named))
    graph.spin_for(0.1)
    assert len(graph.logged(named)) == 1


def test_a_corrupt_jpeg_is_refused(graph):
    graph.start(image_transport='compressed')
    message = compressed_message(scene(0))
    before = graph.process(message, topic='/image/compressed')
    broken = CompressedImage(format='jpeg', data=message.data[: len(message.data) // 2])
    graph.send(broken, topic='/image/compressed')
    status, _ = graph.status(lambda status, values: values['images refused'] == '1')
    assert status.level == DiagnosticStatus.ERROR and 'corrupt JPEG' in status.message
    after = graph.process(message, topic='/image/compressed')
    assert ids(after) == ids(before) and after.dropped == 1


def test_stamps_of_zero_are_copied_and_ages_follow_the_clock(graph):
    graph.start(max_age_s=3600.0)
    arrays = [graph.process(scene(step), Time()) for step in range(4)]
    assert [array.header.stamp for array in arrays] == [Time()] * 4
    assert [array.latency.sec + array.latency.nanosec for array in arrays] == [0] * 4
    assert [ids(array) for array in arrays] == [[1, 2]] * 4
    graph.spin_until(lambda: graph.logged('invalid stamp'))
    graph.spin_for(0.2)
    (text,) = graph.logged('invalid stamp')
    assert '0 s 0 ns' in text


def test_one_stamp_of_zero_in_a_stream_harms_nothing(graph):
    graph.start()
    stamps = [Time(sec=100), Time(), Time(sec=100, nanosec=300_000_000)]
    arrays = [graph.process(scene(step), stamp) for step, stamp in enumerate(stamps)]
    assert [(array.epoch, ids(array)) for array in arrays] == [(1, [1, 2])] * 3


def test_a_malformed_stamp_is_invalid(graph):
    graph.start()
    array = graph.process(scene(0), Time(sec=5, nanosec=4_000_000_000))
    assert array.header.stamp.nanosec == 4_000_000_000 and ids(array) == [1, 2]
    graph.spin_until(lambda: graph.logged('4000000000 ns'))


def test_an_image_of_another_size_is_logged_and_tracks_are_kept(graph):
    graph.start()
    graph.process(scene(0))
    other = graph.process(draw((2, 4, 12, 14, RED), (50, 28, 60, 40, BLUE), height=60, width=100))
    assert (other.image_height, other.image_width) == (60, 100)
    assert ids(graph.process(scene(1))) == [1, 2]
    graph.spin_until(lambda: graph.logged('64x48 to 100x60'))
    assert graph.arrays[-1].epoch == 1


class FailingEngine(RectangleEngine):
    """Fails on an image whose first pixel is white."""

    def infer(self, images):
        if images[0][0, 0].min() == 255:
            raise RuntimeError('out of memory, 7 GiB wanted')
        return super().infer(images)


def test_an_engine_error_skips_one_image(graph):
    graph.start(engine_factory=FailingEngine)
    before = graph.process(scene(0))
    bad = scene(1)
    bad[0, 0] = 255
    for _ in range(3):
        graph.send(bad)
        graph.spin_for(0.05)
    status, _ = graph.status(lambda status, values: int(values['images failed']) + int(values['images dropped']) == 3)
    assert status.level == DiagnosticStatus.ERROR and 'RuntimeError: out of memory, 7 GiB wanted' in status.message
    after = graph.process(scene(1))
    assert ids(after) == ids(before) and after.dropped == 3
    graph.spin_until(lambda: graph.logged('7 GiB wanted'))
    assert len(graph.logged('7 GiB wanted')) == 1


def test_a_network_that_hangs_is_reported_and_the_node_can_be_stopped(graph, monkeypatch):
    monkeypatch.setattr(worker, 'STALLED_S', 0.5)
    monkeypatch.setattr(vis_node, 'STOP_TIMEOUT_S', 0.2)
    hanging = threading.Event()

    class HangingEngine(RectangleEngine):
        def infer(self, images):
            if images[0][0, 0].min() == 255:
                hanging.wait(60)
            return super().infer(images)

    node = graph.start(engine_factory=HangingEngine)
    graph.process(scene(0))
    bad = scene(1)
    bad[0, 0] = 255
    graph.send(bad)
    status, _ = graph.status(lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    assert 'inference on /image has been running for' in status.message and 'restarted' in status.message
    graph.spin_until(lambda: graph.logged('inference on /image has been running'))
    assert node.trigger_deactivate().name == 'SUCCESS'
    for transition in (node.trigger_activate, node.trigger_cleanup, node.trigger_configure):
        expected = 'SUCCESS' if transition == node.trigger_cleanup else 'FAILURE'
        assert transition().name == expected
    graph.spin_until(lambda: len(graph.logged('inference from the previous activation is still running')) == 2)
    before = len(graph.arrays)
    hanging.set()
    end = time.monotonic() + 10
    while node.hangs and time.monotonic() < end:
        time.sleep(0.01)
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]
    assert len(graph.arrays) == before + 1, 'the worker that was left behind has published'
    assert len(graph.logged('inference on /image has been running')) == 1


def test_an_activation_that_was_refused_leaves_nothing_open(graph, monkeypatch):
    monkeypatch.setattr(vis_node, 'STOP_TIMEOUT_S', 0.2)
    go_on, at_work = threading.Event(), threading.Event()

    class HangingEngine(RectangleEngine):
        def infer(self, images):
            if images[0].any():
                at_work.set()
                go_on.wait(60)
            return super().infer(images)

    node = graph.start(engine_factory=HangingEngine)
    graph.send(scene(0))
    graph.spin_until(at_work.is_set)
    assert node.trigger_deactivate().name == 'SUCCESS' and node.trigger_activate().name == 'FAILURE'
    status, values = graph.status(lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    assert 'inference from the previous activation is still running' in status.message and values['state'] == 'inactive'
    go_on.set()
    graph.spin_until(lambda: not node.hangs)
    graph.spin_for(0.3)
    assert not graph.arrays, 'an inactive node published'
    assert node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]


def test_publishing_that_hangs_is_reported_as_what_it_is(graph, monkeypatch):
    monkeypatch.setattr(worker, 'STALLED_S', 0.5)
    monkeypatch.setattr(vis_node, 'STOP_TIMEOUT_S', 0.2)
    go_on, at_work = threading.Event(), threading.Event()
    node = graph.start()
    (camera,) = node._cameras
    publish = camera.publishers.instances.publish

    def hang(message):
        at_work.set()
        assert go_on.wait(60)
        publish(message)

    monkeypatch.setattr(camera.publishers.instances, 'publish', hang)
    graph.send(scene(0))
    graph.spin_until(at_work.is_set)
    graph.send(scene(1))
    status, _ = graph.status(lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    assert 'publishing a result has been running for' in status.message and 'middleware' in status.message
    assert node.trigger_deactivate().name == 'SUCCESS' and node.trigger_activate().name == 'FAILURE'
    assert 'publishing from the previous activation is still running' in node._fault
    go_on.set()
    graph.spin_until(lambda: not node.hangs)
    assert node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]
    graph.spin_until(lambda: graph.logged('stopped, but publishing is still running'))
    assert not graph.logged('inference')


def test_a_network_that_no_longer_hangs_is_logged(graph, monkeypatch):
    monkeypatch.setattr(worker, 'STALLED_S', 0.5)
    go_on = threading.Event()

    class SlowEngine(RectangleEngine):
        def infer(self, images):
            if images[0].any():  # not while it warms up
                go_on.wait(60)
            return super().infer(images)

    graph.start(engine_factory=SlowEngine)
    graph.send(scene(0))
    graph.status(lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    go_on.set()
    graph.spin_until(lambda: graph.arrays)
    graph.status(lambda status, values: status.level == DiagnosticStatus.OK, 'vis_node')
    graph.spin_until(lambda: graph.logged('images are processed again'))


def test_a_silent_topic_is_reported_with_its_name_and_publishers(graph):
    graph.start(cli_args=['--ros-args', '-r', 'image:=/front/image_raw'])
    with graph.stranger() as stranger:
        stranger.create_publisher(CompressedImage, '/front/image_raw', 10)
        status, _ = graph.status(lambda status, values: 'publishers: 1' in status.message)
    assert status.level == DiagnosticStatus.WARN
    assert 'no image on /front/image_raw' in status.message and 'CompressedImage' in status.message
    graph.status(lambda status, values: 'publishers: 0' in status.message)
    assert len(graph.logged('no image on /front/image_raw')) == 1


def test_incompatible_qos_is_logged(graph):
    node = graph.start(**{'qos_overrides./image.subscription.reliability': 'reliable'})
    assert node.get_parameter('qos_overrides./image.subscription.reliability').value == 'reliable'
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    graph.node.create_publisher(Image, '/image', best_effort)
    graph.spin_until(lambda: graph.logged('QoS'))
    (text,) = graph.logged('QoS')
    assert '/image' in text and 'RELIABILITY' in text


def test_images_lost_in_the_middleware_are_reported_with_a_remedy(graph):
    node = graph.start()
    graph.process(scene(0))
    node._cameras[0].images.on_lost(
        SimpleNamespace(total_count_change=3)
    )  # what Fast DDS reports cannot be had on demand
    node._cameras[0].images.on_lost(SimpleNamespace(total_count_change=9))
    status, _ = graph.status(lambda status, values: values['images lost'] == '12')
    assert status.level == DiagnosticStatus.WARN
    assert '12 images on /image were lost' in status.message and 'fastdds_shm.xml' in status.message
    assert graph.process(scene(1)).dropped == 12


def test_impossible_numbers_of_lost_images_are_not_counted(graph):
    """Fast DDS reports them, over UDP, where parts of large images are lost."""
    node = graph.start()
    graph.process(scene(0))
    for change in (1, 3, 2**31 - 1, 2**31 - 3, 2**64 - 2**31, 2**64 - 2**31 + 2, 2**64 - 2):
        node._cameras[0].images.on_lost(SimpleNamespace(total_count_change=change))
    assert node._cameras[0].statistics.counts.lost == 1 + 3 + 0 + 0 + 1 + 3 + 0
    assert graph.process(scene(1)).dropped == 8


def test_a_middleware_that_does_not_report_lost_messages_is_accepted(graph, monkeypatch):
    node = graph.start(active=False)
    create = node.create_subscription

    def create_without_events(*arguments, event_callbacks, **options):
        if event_callbacks.message_lost:
            raise UnsupportedEventTypeError('message lost')
        return create(*arguments, event_callbacks=event_callbacks, **options)

    monkeypatch.setattr(node, 'create_subscription', create_without_events)
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]
