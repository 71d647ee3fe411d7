"""The node, in this process, with a detector of colored rectangles: what goes in against what comes out."""

import gc
import math
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.image_messages import compressed_message, image_message
from helpers.rectangles import BLUE, GREEN, HEIGHT, RED, WIDTH, RectangleEngine, draw
from rclpy.event_handler import UnsupportedEventTypeError
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from vis_ros.msg import InstanceMask, InstanceMaskArray

from vis_ros.masks.encodings import decode
from vis_ros.node import vis_node, worker
from vis_ros.node.parameters import read
from vis_ros.visualization import draw_overlay


def ids(array):
    return [instance.track_id for instance in array.instances]


def id_of(array, class_name):
    (found,) = [instance.track_id for instance in array.instances if instance.class_name == class_name]
    return found


def scene(step):
    """A red and a blue rectangle that pass each other."""
    return draw((2 + 4 * step, 4, 12 + 4 * step, 14, RED), (50 - 4 * step, 28, 60 - 4 * step, 40, BLUE))


# --- what a subscriber gets -----------------------------------------------------------------------------------------


def test_every_image_gives_an_array_with_its_own_header(graph):
    graph.start()
    for step in range(6):
        stamp = Time(sec=1_700_000_000 + step, nanosec=123_456_789)
        array = graph.process(scene(step), stamp)
        assert array.header.stamp == stamp and array.header.frame_id == 'camera_optical_frame'
        assert (array.epoch, array.sequence, array.dropped) == (1, step + 1, 0)
        assert (array.image_height, array.image_width) == (HEIGHT, WIDTH)
        assert array.model.startswith('rectangles')


def test_tracks_last_while_objects_move(graph):
    graph.start(min_hits=3)
    arrays = [graph.process(scene(step)) for step in range(6)]
    assert [ids(array) for array in arrays] == [[1, 2]] * 6
    assert len({id_of(array, 'red') for array in arrays}) == 1
    assert [array.instances[0].hits for array in arrays] == [1, 2, 3, 4, 5, 6]
    states = [array.instances[1].state for array in arrays]
    assert states == [InstanceMask.TENTATIVE] * 2 + [InstanceMask.CONFIRMED] * 4
    assert arrays[0].instances[0].match_score == 1.0


def test_first_seen_is_the_exact_stamp_of_the_first_image(graph):
    graph.start()
    first = graph.process(draw((4, 4, 14, 14, RED))).header.stamp
    second = graph.process(scene(0)).header.stamp
    for _ in range(3):
        array = graph.process(scene(0))
    seen = {instance.class_name: instance.first_seen for instance in array.instances}
    assert seen == {'red': first, 'blue': second}
    assert first.nanosec % 1000 == 789


@pytest.mark.parametrize('encoding', ['mono8', 'bits', 'rle', 'png', 'none'])
def test_an_object_is_described_as_it_was_drawn(graph, encoding):
    graph.start(mask_encoding=encoding)
    (found,) = graph.process(draw((10, 6, 30, 17, GREEN))).instances
    roi = found.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (10, 6, 20, 11)
    assert (found.class_id, found.class_name) == (1, 'green')
    assert found.score == pytest.approx((250 - 20) / 255)
    assert found.area == 220
    assert (found.centroid_x, found.centroid_y) == (20.0, 11.5)
    assert all(math.isnan(value) for value in (found.position.x, found.position.y, found.position.z))
    number = {'none': 0, 'mono8': 1, 'bits': 2, 'rle': 3, 'png': 4}[encoding]
    assert found.mask_encoding == number
    if number:
        np.testing.assert_array_equal(decode(found.mask_data, number, 11, 20), np.ones((11, 20), np.uint8))
    else:
        assert not found.mask_data


def test_an_image_without_objects_gives_an_empty_array(graph):
    graph.start()
    array = graph.process(draw())
    assert len(array.instances) == 0 and array.sequence == 1
    assert graph.process(scene(0)).sequence == 2


def test_a_track_survives_a_gap_but_not_max_age(graph):
    graph.start(max_age_s=2.0)
    start = Time(sec=50)
    assert ids(graph.process(draw((4, 4, 14, 14, RED)), start)) == [1]
    graph.process(draw(), Time(sec=51))
    assert ids(graph.process(draw((4, 4, 14, 14, RED)), Time(sec=51, nanosec=900_000_000))) == [1]
    for second in (52, 53):
        graph.process(draw(), Time(sec=second, nanosec=500_000_000))
    assert ids(graph.process(draw((4, 4, 14, 14, RED)), Time(sec=54))) == [2]


def test_latency_is_publish_time_minus_stamp(graph):
    node = graph.start()
    before = node.get_clock().now().nanoseconds
    sent = before - 250_000_000
    latency = graph.process(draw(), Time(sec=sent // 10**9, nanosec=sent % 10**9)).latency
    after = node.get_clock().now().nanoseconds
    assert before - sent <= latency.sec * 10**9 + latency.nanosec <= after - sent
    future = after + 60 * 10**9
    latency = graph.process(draw(), Time(sec=future // 10**9)).latency
    assert (latency.sec, latency.nanosec) == (0, 0)


def test_compressed_images_come_from_the_topic_named_after_the_remapped_one(graph):
    remap = ['--ros-args', '-r', 'image:=/front/image_raw']
    node = graph.start(image_transport='compressed', new_track_score=0.4, cli_args=remap)  # JPEG dulls the color
    topic = '/front/image_raw/compressed'
    assert node.count_subscribers(topic) == 1
    for kind in ('jpeg', 'png'):
        array = graph.process(compressed_message(draw((10, 6, 30, 17, GREEN)), kind), topic=topic)
        assert [instance.class_name for instance in array.instances] == ['green']
        graph._publishers.clear()


# --- forgetting -----------------------------------------------------------------------------------------------------


def test_reset_starts_an_epoch_and_counts_ids_from_one(graph):
    graph.start()
    for step in range(3):
        graph.process(draw() if step else scene(0))
    assert ids(graph.process(draw((4, 4, 14, 14, GREEN)))) == [3]
    answer = graph.call(Trigger, '/vis_node/reset', Trigger.Request())
    assert answer.success and 'epoch 2' in answer.message
    array = graph.process(draw((4, 4, 14, 14, GREEN)))
    assert (array.epoch, array.sequence, ids(array)) == (2, 1, [1])
    assert array.instances[0].first_seen == array.header.stamp


def test_reset_names_the_epoch_that_really_starts(graph):
    """Also where another reset follows before an image does, which activation is too."""
    node = graph.start()
    graph.process(scene(0))
    assert node.trigger_deactivate().name == 'SUCCESS'
    answers = [graph.call(Trigger, '/vis_node/reset', Trigger.Request()).message for _ in range(2)]
    assert node.trigger_activate().name == 'SUCCESS'
    answers.append(graph.call(Trigger, '/vis_node/reset', Trigger.Request()).message)
    assert answers == ['camera starts epoch 2'] * 3
    assert graph.process(scene(0)).epoch == 2


def test_stamps_that_jump_back_start_one_epoch(graph):
    graph.start()
    for second in (100, 101):
        graph.process(scene(0), Time(sec=second))
    arrays = [graph.process(scene(1), Time(sec=second, nanosec=7)) for second in (49, 50, 51, 52)]
    assert [array.epoch for array in arrays] == [1, 2, 2, 2], 'the second stamp confirms the jump'
    assert [array.sequence for array in arrays] == [3, 1, 2, 3]
    assert arrays[3].instances[0].first_seen == Time(sec=50, nanosec=7)
    graph.spin_until(lambda: graph.logged('jumped back'))
    graph.spin_for(0.2)
    (text,) = graph.logged('jumped back')
    assert 'by 5' in text and '/image' in text and 'epoch 2' in text


@pytest.mark.parametrize('wrong', [Time(sec=3700), Time(sec=5), Time(sec=97), Time(sec=2**31 - 1)])
def test_one_wrong_stamp_keeps_tracks_and_epoch(graph, wrong):
    graph.start()
    stamps = [Time(sec=100), wrong, Time(sec=101), Time(sec=101, nanosec=1), wrong, Time(sec=102)]
    arrays = [graph.process(scene(0), stamp) for stamp in stamps]
    assert {array.epoch for array in arrays} == {1}
    assert [ids(array) for array in arrays] == [[1, 2]] * 6
    assert arrays[1].header.stamp == wrong and arrays[1].latency.sec == 0
    graph.status(lambda status, values: values['images with wrong stamps'] == '2')


def test_an_image_a_little_out_of_order_is_skipped(graph):
    graph.start()
    graph.process(scene(0), Time(sec=100, nanosec=400_000_000))
    graph.send(scene(0), Time(sec=100, nanosec=300_000_000))
    graph.status(lambda status, values: values['images late'] == '1')
    array = graph.process(scene(1), Time(sec=100, nanosec=400_000_000))
    assert (array.epoch, array.sequence, array.dropped, ids(array)) == (1, 2, 1, [1, 2])


def test_simulated_time_that_jumps_back_starts_one_epoch(graph):
    node = graph.start(use_sim_time=True)
    clock = graph.publisher(Clock, '/clock', 1)

    def play(*seconds):
        for second in seconds:
            clock.publish(Clock(clock=Time(sec=second)))
            graph.spin_until(lambda second=second: node.get_clock().now().nanoseconds == second * 10**9)
            graph.process(scene(0), Time(sec=second))

    play(10, 11, 12)
    play(3, 4, 5)
    assert [array.epoch for array in graph.arrays] == [1, 1, 1, 2, 2, 2]
    assert [ids(array) for array in graph.arrays] == [[1, 2]] * 6
    graph.spin_until(lambda: graph.logged('jumped back'))
    graph.spin_for(0.2)
    assert len(graph.logged('jumped back')) == 1
    play(12)  # forward is no reason to forget
    assert graph.arrays[-1].epoch == 2


def test_a_clock_that_jumps_back_starts_an_epoch(graph):
    node = graph.start(use_sim_time=True)
    clock = graph.publisher(Clock, '/clock', 1)
    for second in (10, 3):
        clock.publish(Clock(clock=Time(sec=second)))
        graph.spin_until(lambda second=second: node.get_clock().now().nanoseconds == second * 10**9)
        graph.process(scene(0), Time(sec=110 - second))  # a camera with its own clock
    assert [array.epoch for array in graph.arrays] == [1, 2]


def test_a_clock_that_jumps_back_after_the_stamps_counts_as_the_same_jump(graph):
    node = graph.start(use_sim_time=True)
    clock = graph.publisher(Clock, '/clock', 1)
    clock.publish(Clock(clock=Time(sec=10)))
    graph.spin_until(lambda: node.get_clock().now().nanoseconds == 10 * 10**9)
    graph.process(scene(0), Time(sec=10))
    assert [graph.process(scene(0), Time(sec=3, nanosec=step)).epoch for step in (0, 1)] == [1, 2]
    clock.publish(Clock(clock=Time(sec=3)))
    graph.spin_until(lambda: node.get_clock().now().nanoseconds == 3 * 10**9)
    assert graph.process(scene(0), Time(sec=4)).epoch == 2


# --- bad input ------------------------------------------------------------------------------------------------------


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
    graph.spin_until(lambda: graph.logged('inference has finished'))


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


# --- several cameras ------------------------------------------------------------------------------------------------


def test_cameras_have_separate_memories_and_topics(graph):
    graph.start(cameras=['front', 'left'])
    front = graph.listen(InstanceMaskArray, '/vis_node/front/instances')
    left = graph.listen(InstanceMaskArray, '/vis_node/left/instances')
    for step in range(3):
        graph.process(scene(step), topic='/front/image', arrays=front)
    graph.process(draw(), topic='/left/image', arrays=left)
    alone = graph.process(draw((4, 4, 14, 14, GREEN)), topic='/left/image', arrays=left)
    assert (alone.sequence, ids(alone)) == (2, [1])
    last = graph.process(scene(3), topic='/front/image', arrays=front)
    assert (last.sequence, ids(last)) == (4, [1, 2])
    for step in range(2):  # the second image confirms that time was set back
        graph.process(scene(0), Time(sec=1, nanosec=step), topic='/left/image', arrays=left)
    assert left[-1].epoch == 2
    assert graph.process(scene(4), topic='/front/image', arrays=front).epoch == 1
    _, values = graph.status(lambda status, values: True, 'vis_node: left')
    assert values['tracks'] == '2' and values['epoch'] == '2'
    answer = graph.call(Trigger, '/vis_node/reset', Trigger.Request())
    assert 'front starts epoch 2' in answer.message and 'left starts epoch 3' in answer.message


# --- more images than the network can process -----------------------------------------------------------------------


@pytest.fixture
def busy(graph):
    """A node with one image in flight, and the event that lets its network go on."""
    go_on, at_work = threading.Event(), threading.Event()

    class SlowEngine(RectangleEngine):
        def infer(self, images):
            if images[0].any():  # not while it warms up
                at_work.set()
                go_on.wait(60)
            return super().infer(images)

    graph.start(engine_factory=SlowEngine)
    graph.send(scene(0))
    graph.spin_until(at_work.is_set)
    yield graph, go_on
    go_on.set()


def send_and_receive(graph, image):
    """Send an image, and return its stamp once the node has it."""
    counts = graph.under_test._cameras[0].statistics.counts
    before = counts.received
    stamp = graph.send(image)
    graph.spin_until(lambda: counts.received > before)
    return stamp


def test_only_the_newest_image_waits_for_the_network(busy):
    graph, go_on = busy
    stamps = [send_and_receive(graph, scene(step)) for step in (1, 2, 3)]
    go_on.set()
    graph.spin_until(lambda: len(graph.arrays) == 2)
    assert graph.arrays[1].header.stamp == stamps[2]
    assert sum(array.dropped for array in graph.arrays) == 2
    assert ids(graph.process(scene(4))) == [1, 2]


def test_an_image_that_waits_is_ignored_when_the_node_is_disabled(busy):
    graph, go_on = busy
    send_and_receive(graph, scene(1))
    assert graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=False)).success
    go_on.set()
    graph.status(lambda status, values: values['images ignored'] == '1' and values['images processed'] == '1')
    assert graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=True)).success
    assert graph.process(scene(2)).sequence == 2


# --- services and lazy topics ---------------------------------------------------------------------------------------


def test_images_are_ignored_while_disabled_and_tracks_are_kept(graph):
    graph.start()
    graph.process(scene(0))
    assert graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=False)).success
    for _ in range(3):
        graph.send(scene(1))
    status, _ = graph.status(lambda status, values: values['images ignored'] == '3')
    assert 'disabled' in status.message and len(graph.arrays) == 1
    graph.call(SetBool, '/vis_node/enable', SetBool.Request(data=True))
    array = graph.process(scene(1))
    assert (ids(array), array.sequence, array.dropped) == ([1, 2], 2, 0)


def pixels(message, dtype, channels):
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, *channels)


def test_overlays_are_drawn_only_for_subscribers(graph, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        'vis_ros.node.camera_publishers.draw_overlay',
        lambda *arguments: drawn.append(arguments) or draw_overlay(*arguments),
    )
    graph.start()
    graph.process(scene(0))
    assert not drawn
    overlays = graph.listen(Image, '/vis_node/overlay')
    labels = graph.listen(Image, '/vis_node/instance_image')
    array = graph.process(scene(1))
    while not (overlays and labels):  # discovery takes a moment
        array = graph.process(scene(1))
        graph.spin_for(0.1)
    assert overlays[-1].encoding == 'bgr8' and overlays[-1].header == array.header
    np.testing.assert_array_equal(pixels(overlays[-1], np.uint8, (3,)), draw_overlay(*drawn[-1]))
    assert labels[-1].encoding == 'mono16' and labels[-1].header == array.header
    truth = np.zeros((HEIGHT, WIDTH), np.uint16)
    truth[4:14, 6:16] = 1 + [i.class_name for i in array.instances].index('red')
    truth[28:40, 46:56] = 1 + [i.class_name for i in array.instances].index('blue')
    np.testing.assert_array_equal(pixels(labels[-1], np.uint16, ()), truth)


def test_an_overlay_that_fails_skips_no_image(graph, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError('no color left')

    monkeypatch.setattr('vis_ros.node.camera_publishers.draw_overlay', fail)
    graph.start()
    graph.listen(Image, '/vis_node/overlay')
    graph.spin_until(graph.under_test._cameras[0].publishers.overlay.get_subscription_count)
    arrays = [graph.process(scene(step)) for step in range(3)]
    assert [array.dropped for array in arrays] == [0, 0, 0]
    _, values = graph.status(lambda status, values: values['images processed'] == '3')
    assert values['images failed'] == '0' and 'no color left' in values['last issue']


# --- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'value', 'named'),
    [
        ('score_threshold', 1.5, 'score_threshold'),
        ('new_track_score', -0.1, 'new_track_score'),
        ('max_identities', 0, 'max_identities'),
        ('mask_encoding', 'polygon', 'mono8'),
        ('max_age_s', 5000, 'max_age_s is 5000.0, but must be from 0.0 to 3600.0'),
        ('max_age_s', 'long', "max_age_s is 'long', but must be float"),
        ('max_age_s', True, 'max_age_s is True, but must be float'),
        ('weights', 'other', 'unconfigured'),
        ('cameras', ['front'], 'unconfigured'),
        ('autostart', True, 'read-only'),
    ],
)
def test_an_invalid_change_is_rejected_while_active(graph, name, value, named):
    node = graph.start()
    before = node.get_parameter(name).value
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and named in result.reason
    assert node.get_parameter(name).value == before
    assert ids(graph.process(scene(0))) == [1, 2]


@pytest.mark.parametrize(
    ('name', 'value'), [('new_track_score', 1.0000005), ('max_age_s', -1e-9), ('new_track_score', math.nan)]
)
def test_a_value_just_outside_its_range_is_rejected(graph, name, value):
    """Rclpy accepts it, and using it would raise in the executor."""
    node = graph.start()
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and name in result.reason
    assert ids(graph.process(scene(0))) == [1, 2]


def test_an_int_is_a_float(graph):
    """As in a parameter file that is read offline."""
    node = graph.start(max_age_s=2, new_track_score=0)
    assert read(node).max_age_s == 2.0 and read(node).new_track_score == 0.0
    assert node.set_parameters([Parameter('max_age_s', value=5)])[0].successful
    assert read(node).max_age_s == 5.0 and type(read(node).max_age_s) is float
    assert ids(graph.process(scene(0))) == [1, 2]


def test_thresholds_change_while_active(graph):
    node = graph.start(score_threshold=0.2, new_track_score=0.9)
    dim = (180, 80, 80)  # saturation 100 / 255
    picture = draw((2, 4, 12, 14, RED), (50, 28, 60, 40, dim))
    assert [i.class_name for i in graph.process(picture).instances] == ['red']
    assert node.set_parameters([Parameter('new_track_score', value=0.3)])[0].successful
    assert [i.class_name for i in graph.process(picture).instances] == ['red', 'blue']
    assert node.set_parameters([Parameter('score_threshold', value=0.5)])[0].successful
    assert [i.class_name for i in graph.process(picture).instances] == ['red']
    (result,) = node.set_parameters([Parameter('score_threshold', value=0.1)])
    assert not result.successful and '0.1' in result.reason and '0.2' in result.reason
    assert node.set_parameters([Parameter('mask_encoding', value='rle')])[0].successful
    assert graph.process(picture).instances[0].mask_encoding == InstanceMask.MASK_RLE


@pytest.mark.parametrize(
    ('name', 'bad', 'good', 'named'),
    [
        ('new_track_score', 7.0, 0.5, '7.0'),
        ('max_identities', 2.5, 10, '2.5'),
        ('association', 'hungarian', 'one_to_one', "'hungarian'"),
        ('cameras', ['a b'], [''], "'a b'"),
        ('cameras', ['left', 'left'], ['left'], 'twice'),
        ('cameras', [], ['left'], 'cameras'),
        ('input_height', 320, 0, 'input_width is 0'),
    ],
)
def test_an_invalid_parameter_at_start_fails_configuration_until_it_is_corrected(graph, name, bad, good, named):
    node = graph.start(active=False, **{name: bad})
    assert node.trigger_configure().name == 'FAILURE'
    status, _ = graph.status(lambda status, values: values['state'] == 'unconfigured', 'vis_node')
    assert status.level == DiagnosticStatus.ERROR and name in status.message and named in status.message
    assert node.set_parameters([Parameter(name, value=good)])[0].successful
    assert node.trigger_configure().name == 'SUCCESS'


# --- lifecycle ------------------------------------------------------------------------------------------------------


def test_autostart_activates_by_itself(graph):
    graph.start(active=False, autostart=True)
    assert ids(graph.process(scene(0))) == [1, 2]


def missing_weights(weights, **_arguments):
    raise FileNotFoundError(f'no weights {weights!r}; fetch them with: vis-ros weights fetch {weights}')


def test_missing_weights_fail_configuration_and_can_be_corrected(graph):
    def factory(weights, **arguments):
        return (RectangleEngine if weights == 'here' else missing_weights)(weights, **arguments)

    node = graph.start(active=False, engine_factory=factory, weights='elsewhere', autostart=True)
    status, _ = graph.status(lambda status, values: status.level == DiagnosticStatus.ERROR, 'vis_node')
    assert 'vis-ros weights fetch elsewhere' in status.message
    graph.spin_until(lambda: graph.logged('vis-ros weights fetch elsewhere'))
    assert len(graph.logged('weights fetch')) == 1
    assert node.trigger_configure().name == 'FAILURE'
    assert node.set_parameters([Parameter('weights', value='here')])[0].successful
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]


def test_the_engine_gets_the_parameters(graph):
    got = {}

    def factory(weights, **arguments):
        got.update(weights=weights, **arguments)
        return RectangleEngine()

    graph.start(
        engine_factory=factory, weights='w', model='mask_rcnn', device='cpu', precision='bf16', threads=2,
        input_height=320, input_width=512, score_threshold=0.25, max_detections=7, accuracy_check=False,
    )  # fmt: skip
    assert got == {
        'weights': 'w', 'model': 'mask_rcnn', 'engine': 'auto', 'device': 'cpu', 'precision': 'bf16',
        'input_size': (320, 512), 'score_threshold': 0.25, 'max_detections': 7, 'threads': 2, 'accuracy_check': False,
    }  # fmt: skip


def test_an_inactive_node_does_not_subscribe_but_publishes_diagnostics(graph):
    node = graph.start()
    graph.process(scene(0))
    assert node.trigger_deactivate().name == 'SUCCESS'
    assert node.count_subscribers('/image') == 0
    status, values = graph.status(lambda status, values: True)
    assert status.level == DiagnosticStatus.STALE and 'inactive' in status.message
    _, values = graph.status(lambda status, values: True, 'vis_node')
    assert values['state'] == 'inactive' and values['engine model'] == 'rectangles'
    assert (values['engine precision'], values['engine note'], values['engine unconverged']) == ('uint8', '', '0')
    assert node.trigger_cleanup().name == 'SUCCESS'
    status, values = graph.status(lambda status, values: values['state'] == 'unconfigured', 'vis_node')
    assert status.level == DiagnosticStatus.STALE and 'engine' not in values
    answer = graph.call(Trigger, '/vis_node/reset', Trigger.Request())
    assert not answer.success and 'unconfigured' in answer.message


def test_an_error_frees_everything_and_leaves_a_configurable_node(graph, monkeypatch):
    node = graph.start()
    stop, faults = node._stop, [RuntimeError('once')]

    def fail_once():
        if faults:
            raise faults.pop()
        stop()

    monkeypatch.setattr(node, '_stop', fail_once)
    assert node.trigger_deactivate().name == 'ERROR'
    assert node.count_subscribers('/image') == 0
    assert node.trigger_configure().name == 'SUCCESS' and node.trigger_activate().name == 'SUCCESS'
    assert ids(graph.process(scene(0))) == [1, 2]


def test_each_activation_starts_an_epoch_that_was_never_used(graph):
    node = graph.start()
    epochs = [graph.process(scene(0)).epoch]
    node.trigger_deactivate()
    node.trigger_activate()
    epochs.append(graph.process(scene(0)).epoch)
    node.trigger_deactivate()
    node.trigger_cleanup()
    node.trigger_configure()
    node.trigger_activate()
    epochs.append(graph.process(scene(0)).epoch)
    assert epochs == [1, 2, 3]
    assert [array.sequence for array in graph.arrays] == [1, 1, 1]


def resident_mb():
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def test_twenty_lifecycles_leak_nothing(graph):
    node = graph.start(active=False)

    def cycle():
        for transition in (node.trigger_configure, node.trigger_activate):
            assert transition().name == 'SUCCESS'
        graph.process(scene(0))
        for transition in (node.trigger_deactivate, node.trigger_cleanup):
            assert transition().name == 'SUCCESS'
        return len(list(node.publishers)), len(list(node.subscriptions)), threading.active_count()

    first = cycle()
    for _ in range(3):
        cycle()
    gc.collect()
    before = resident_mb()
    assert [cycle() for _ in range(16)] == [first] * 16
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == 'vis_worker']
    assert resident_mb() - before < 10
