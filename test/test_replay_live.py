"""The parts of live replay one by one; with a running node it is tested in ros/test_live_replay.py."""

import itertools
import struct
import threading
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import with_stamp
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.read_ahead import ReadAhead
from vis_ros.replay.live.routes import find_routes
from vis_ros.replay.live.running_node import RunningNode, TargetCamera
from vis_ros.replay.live.timed_images import TimedImages, open_timed_images
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import to_time

# --- reading ahead ----------------------------------------------------------------------------------------------------


def test_items_come_in_order_and_are_read_ahead_of_time_but_not_far():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    with ReadAhead(items()) as ahead:
        numbers = iter(ahead)
        assert next(numbers) == 0
        wait_until(lambda: len(taken) > 10)
        time.sleep(0.05)
        assert len(taken) < 30, 'not the whole recording'
        assert list(numbers) == list(range(1, 1000))


def test_an_error_comes_where_it_happened():
    def items():
        yield from range(5)
        raise ValueError('broken off')

    seen = []
    with ReadAhead(items()) as ahead, pytest.raises(ValueError, match='broken off'):
        for item in ahead:
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    with ReadAhead(itertools.count()) as ahead:
        assert next(iter(ahead)) == 0
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def wait_until(condition, timeout_s=10):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- images -----------------------------------------------------------------------------------------------------------


@cache
def unstamped(value):
    """Once for each value: bytes that only fill up a message may be any."""
    return serialize_message(to_image(np.full((4, 5, 3), value, np.uint8), 'bgr8', Header(frame_id='optical')))


def serialized(stamp_ns=0, value=7):
    stamp = struct.pack('<iI', *divmod(stamp_ns, 10**9))
    return unstamped(value)[:4] + stamp + unstamped(value)[12:]


def test_another_stamp_changes_nothing_else():
    changed = with_stamp(serialized(5), 1_234_567_890_123_456_789)
    assert changed == serialized(1_234_567_890_123_456_789)
    assert deserialize_message(changed, Image).header.stamp == to_time(1_234_567_890_123_456_789)
    big_endian = struct.pack('>BBHiI', 0, 0, 0, 1, 2) + b'rest'
    assert with_stamp(big_endian, 3_000_000_004) == struct.pack('>BBHiI', 0, 0, 0, 3, 4) + b'rest'


def test_a_bag_gives_its_images_byte_for_byte_and_a_stamp_of_zero_the_time_of_recording(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        for topic in ('/a', '/b'):
            bag.add_topic(topic, IMAGE_TYPE)
        bag.add_topic('/empty', COMPRESSED_TYPE)
        bag.write('/a', 100, serialized(50, 1))
        bag.write('/b', 200, serialized(0, 2))
        bag.write('/a', 300, serialized(60, 3)[:12])
        bag.write('/a', 400, serialized(70, 4))
    images = open_timed_images(tmp_path / 'bag')
    assert images.topics == {'/a': IMAGE_TYPE, '/b': IMAGE_TYPE} and images.counts == {'/a': 3, '/b': 1}
    for _ in range(2):
        a, b, c = images
        assert [(x.topic, x.name, x.recorded_ns, x.stamp_ns) for x in (a, b, c)] == [
            ('/a', 'image 0', 100, 50), ('/b', 'image 0', 200, 200), ('/a', 'image 2', 400, 70),
        ]  # fmt: skip
        assert a.data == serialized(50, 1) and b.data == serialized(200, 2)
        assert images.skipped == 1 and 'image 1 of /a' in images.last_problem
    assert [image.topic for image in images.read(['/b'])] == ['/b']


def test_a_recording_without_images(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/a', IMAGE_TYPE)
    with pytest.raises(ValueError, match='has no images'):
        open_timed_images(tmp_path / 'bag')


# --- routes -----------------------------------------------------------------------------------------------------------


class Topics(TimedImages):
    def __init__(self, **topics):
        named = {f'/{name}'.replace('__', '/') if name else '': kind for name, kind in topics.items()}
        super().__init__(Path('made'), 'bag made', named, dict.fromkeys(named))

    def read(self, topics):
        return iter(())


class NoTopic(Topics):
    def __init__(self):
        TimedImages.__init__(self, Path('made'), 'video made', {'': IMAGE_TYPE}, {'': None})


SINGLE = [TargetCamera('', '/camera/image', '/vis_node/instances')]
TWO = [TargetCamera(name, f'/{name}/image', f'/vis_node/{name}/instances') for name in ('front', 'left')]


@pytest.mark.parametrize(
    ('images', 'cameras', 'topic', 'chosen', 'routes'),
    [
        (Topics(x=IMAGE_TYPE), SINGLE, None, None, [('/x', '')]),
        (NoTopic(), SINGLE, None, None, [('', '')]),
        (Topics(x=IMAGE_TYPE, camera__image=IMAGE_TYPE), SINGLE, None, {}, [('/camera/image', '')]),
        (Topics(x=IMAGE_TYPE, camera__image=IMAGE_TYPE), SINGLE, 'x', None, [('/x', '')]),
        (Topics(front__image=IMAGE_TYPE, x=IMAGE_TYPE), TWO, None, None, [('/front/image', 'front')]),
        (Topics(x=IMAGE_TYPE), TWO, None, {'left': '/x'}, [('/x', 'left')]),
        (Topics(left__image=IMAGE_TYPE, x=IMAGE_TYPE), TWO, None, {'left': None}, [('/left/image', 'left')]),
    ],
)  # fmt: skip
def test_which_topic_goes_to_which_camera(images, cameras, topic, chosen, routes):
    found = find_routes(images, cameras, topic, chosen)
    assert [(route.recorded, route.camera.name) for route in found] == routes


@pytest.mark.parametrize(
    ('images', 'cameras', 'topic', 'chosen', 'message'),
    [
        (Topics(a=IMAGE_TYPE, b=IMAGE_TYPE), SINGLE, None, None, r'/a \(Image\), /b \(Image\), but the node'),
        (Topics(a=IMAGE_TYPE), SINGLE, '/c', None, r'no images on the topic /c; it has /a \(Image\)'),
        (Topics(a=IMAGE_TYPE), TWO, None, {'right': '/a'}, 'no camera right; it has front, left'),
        (Topics(a=IMAGE_TYPE), TWO, None, {'left': None}, 'no images on the topic /left/image'),
        (NoTopic(), TWO, None, None, 'has no topics, but the node listens to /front/image, /left/image'),
        (Topics(a=COMPRESSED_TYPE), SINGLE, None, None, 'CompressedImage, .* Image .* image_transport:=compressed'),
        (NoTopic(), [TargetCamera('', '/x/compressed', '')], None, None, 'video made has .* image_transport:=raw'),
    ],
)  # fmt: skip
def test_topics_and_cameras_that_do_not_fit(images, cameras, topic, chosen, message):
    with pytest.raises(ValueError, match=message):
        find_routes(images, cameras, topic, chosen)


# --- player -----------------------------------------------------------------------------------------------------------


class Line:
    """Node, executor and publishers in one: what is published, in order, and nothing else ever happens."""

    def __init__(self):
        self.published = []

    def create_publisher(self, kind, topic, quality):
        line = self

        class Publisher:
            def publish(self, message):
                line.published.append((topic, message))

        return Publisher()

    def spin_once(self, timeout_sec):
        time.sleep(timeout_sec)


@contextmanager
def playing(time_ns, rate):
    line, stop = Line(), threading.Event()
    player = Player(line, line, stop)
    player.add_topic('/image', IMAGE_TYPE)
    player.set_clock(time_ns, rate)
    yield line, stop, player


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_before_each_image_the_clock_tells_its_time_and_it_never_goes_back(rate):
    times = [1000 * 10**9 + index * 30_000_000 for index in range(6)]
    with playing(times[0] - 10_000_000, rate) as (line, _, player):
        before = time.perf_counter_ns()
        for at in times:
            assert player.run_until(player.due_ns(at))
            player.publish('/image', serialized(at), at)
        passed = time.perf_counter_ns() - before
    told = 0
    images = iter(times)
    for topic, message in line.published:
        if topic == '/clock':
            now = message.clock.sec * 10**9 + message.clock.nanosec
            assert now >= told
            told = now
        else:
            at = next(images)
            assert deserialize_message(message, Image).header.stamp == to_time(at)
            assert told >= at, 'no image from the future'
    assert next(images, None) is None
    assert times[-1] - times[0] <= passed * rate, 'as slowly as recorded'
    assert told - (times[0] - 10_000_000) <= passed * rate * 1.5 + 10_000_000 * rate
    assert len(line.published) > 2 * len(times), 'the clock ticks between the images'


def test_a_clock_that_stands_and_one_that_begins_below_zero():
    with playing(500, 0.0) as (line, _, player):
        player.run_until(time.perf_counter_ns() + 50_000_000)
        assert {(message.clock.sec, message.clock.nanosec) for _, message in line.published} == {(0, 500)}
        line.published.clear()
        player.set_clock(-(10**9), 1.0)
        player.run_until(time.perf_counter_ns() + 50_000_000)
        assert {(message.clock.sec, message.clock.nanosec) for _, message in line.published} == {(0, 1)}


def test_nothing_is_waited_for_once_it_is_stopped():
    with playing(0, 1.0) as (_, stop, player):
        assert not player.run(0.05, lambda: False) and player.run(0.05, lambda: True)
        stop.set()
        assert not player.run_until(time.perf_counter_ns() + 10**12)
        assert not player.run(1000, lambda: False)


# --- target -----------------------------------------------------------------------------------------------------------


class Graph(Line):
    """A graph with two nodes of ours, without DDS."""

    topics = (
        ('/robot/vis_node/front/instances', [INSTANCES_TYPE]),
        ('/robot/vis_node/camera/instances', [INSTANCES_TYPE]),
        ('/robot/vis_node/front/overlay', [IMAGE_TYPE]),
    )

    def create_subscription(self, kind, topic, callback, depth):
        pass

    def get_fully_qualified_name(self):
        return '/replay'

    def get_node_names_and_namespaces(self):
        return [('replay', '/'), ('vis_node', '/robot'), ('tf', '/')]

    def get_topic_names_and_types(self):
        return list(self.topics)

    def get_publisher_names_and_types_by_node(self, name, namespace):
        assert (name, namespace) == ('vis_node', '/robot')
        return list(self.topics)


def target(name, *statuses):
    graph = Graph()
    found = RunningNode(graph, Player(graph, graph, threading.Event()), name)
    found.status.hear(DiagnosticArray(status=list(statuses)))
    return found


def status(name, **values):
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=DiagnosticStatus.OK, name=name, values=pairs)


def test_the_error_about_a_node_that_is_not_there_lists_those_that_are(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '17')
    message = (
        'no node /vis_node in ROS domain 17.*Nodes: /robot/vis_node, /tf; .*: /robot/vis_node/camera/instances, /rob'
    )
    with pytest.raises(TimeoutError, match=message):
        target('vis_node').wait(0.01, 0.01)


def test_the_cameras_of_a_node():
    about = [
        status('robot/vis_node', state='active'),
        status('robot/vis_node: front', topic='/robot/front/image/compressed'),
        status('robot/vis_node: camera', topic='/elsewhere'),
        status('other/vis_node: camera', topic='/wrong'),
    ]
    cameras = target('robot/vis_node', *about).wait(1, 1)
    assert cameras == [
        TargetCamera('camera', '/elsewhere', '/robot/vis_node/camera/instances'),
        TargetCamera('front', '/robot/front/image/compressed', '/robot/vis_node/front/instances'),
    ]
    assert [camera.image_type for camera in cameras] == [IMAGE_TYPE, COMPRESSED_TYPE]
    with pytest.raises(TimeoutError, match='/robot/vis_node is there, but is active and listens to no images'):
        target('robot/vis_node', *about[:2]).wait(1, 0.01)  # of one camera nothing was heard yet
