"""The node, in this process, with a detector of colored rectangles: what goes in against what comes out."""

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from helpers.image_messages import compressed_message
from helpers.passing_rectangles import id_of, ids, scene
from helpers.rectangles import GREEN, HEIGHT, RED, WIDTH, draw
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger
from vis_ros.msg import InstanceMask

from vis_ros.masks.encodings import decode

# --- what a subscriber gets -------------------------------------------------------------------------------------------


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


# --- forgetting -------------------------------------------------------------------------------------------------------


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
