"""The parts of live replay one by one; with a running node it is tested in ros/test_live_replay.py."""

import itertools
import json
import struct
import threading
import time
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from helpers.rectangle_scene import PERIOD_NS, START_NS, SceneTracker, expected_records, scene, stamp_of, write_bag
from helpers.video_packets import COMPRESSED as VIDEO
from helpers.video_packets import packet_message, typestore
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import read_header, with_stamp
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.live import player as player_module
from vis_ros.replay.live.camera_stream import CameraStream
from vis_ros.replay.live.live_results import write_live_results
from vis_ros.replay.live.live_session import LiveSession, PublishTiming, Timeouts
from vis_ros.replay.live.node_status import NodeStatus
from vis_ros.replay.live.player import CLOCK_HZ, Player
from vis_ros.replay.live.read_ahead import ReadAhead
from vis_ros.replay.live.routes import Route, find_routes
from vis_ros.replay.live.running_node import NodeCamera, RunningNode
from vis_ros.replay.live.timed_images import TimedImage, TimedImages, open_timed_images
from vis_ros.replay.offline.video_files import VideoFiles
from vis_ros.ros.messages import to_image
from vis_ros.ros.serialized_instances import MessageContext, encode_masks, serialized_instances
from vis_ros.ros.stamps import to_time

# --- reading ahead ----------------------------------------------------------------------------------------------------


def test_items_come_in_order_and_are_read_ahead_but_not_far():
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


def test_an_error_is_raised_after_the_items_before_it():
    def items():
        yield from range(5)
        raise ValueError('broken off')

    seen = []
    with ReadAhead(items()) as ahead, pytest.raises(ValueError, match='broken off'):
        for item in ahead:
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_leaving_the_context_ends_the_thread():
    with ReadAhead(itertools.count()) as ahead:
        assert next(iter(ahead)) == 0
        assert reading_threads() == 1
    assert reading_threads() == 0


def reading_threads():
    return sum(thread.name == 'read ahead' for thread in threading.enumerate())


def wait_until(condition, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- images -----------------------------------------------------------------------------------------------------------


@cache
def unstamped(value):
    """Cached, because padding bytes of a message are arbitrary."""
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


def test_a_bag_has_its_images_byte_for_byte_and_a_stamp_of_zero_becomes_the_time_of_recording(tmp_path):
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
        super().__init__(Path('test'), 'bag test', named, dict.fromkeys(named))

    def read(self, topics):
        return iter(())


class NoTopic(Topics):
    def __init__(self):
        TimedImages.__init__(self, Path('test'), 'video test', {'': IMAGE_TYPE}, {'': None})


SINGLE = [NodeCamera('', '/camera/image', '/vis_node/instances')]
TWO = [NodeCamera(name, f'/{name}/image', f'/vis_node/{name}/instances') for name in ('front', 'left')]


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
    assert [(route.recorded_topic, route.camera.name) for route in found] == routes


@pytest.mark.parametrize(
    ('images', 'cameras', 'topic', 'chosen', 'message'),
    [
        (Topics(a=IMAGE_TYPE, b=IMAGE_TYPE), SINGLE, None, None, r'/a \(Image\), /b \(Image\), but the node'),
        (Topics(a=IMAGE_TYPE), SINGLE, '/c', None, r'no images on the topic /c; it has /a \(Image\)'),
        (Topics(a=IMAGE_TYPE), TWO, None, {'right': '/a'}, 'no camera right; it has front, left'),
        (Topics(a=IMAGE_TYPE), TWO, None, {'left': None}, 'no images on the topic /left/image'),
        (NoTopic(), TWO, None, None, 'has no topics, but the node is subscribed to /front/image, /left/image'),
        (Topics(a=COMPRESSED_TYPE), SINGLE, None, None, 'CompressedImage, .* Image .* image_transport:=compressed'),
        (NoTopic(), [NodeCamera('', '/x/compressed', '')], None, None, 'video test has .* image_transport:=raw'),
    ],
)  # fmt: skip
def test_topics_and_cameras_that_do_not_fit(images, cameras, topic, chosen, message):
    with pytest.raises(ValueError, match=message):
        find_routes(images, cameras, topic, chosen)


# --- player -----------------------------------------------------------------------------------------------------------


class Graph:
    """Node, executor, publishers and clock in one, so that a player runs in simulated time.

    now_ns: what `time.perf_counter_ns` returns.
    published: every message that was published, as (instant, topic, message).
    received: messages that wait for their subscription, as (topic, message); `spin_once` delivers one of them, which
        takes `delivery_ns`.
    """

    delivery_ns = 0

    def __init__(self):
        self.now_ns = 123
        self.published = []
        self.received = []
        self._callbacks = {}

    def create_publisher(self, kind, topic, quality):
        return Publisher(self, topic)

    def create_subscription(self, kind, topic, callback, quality, raw=False):
        self._callbacks[topic] = callback

    def get_publishers_info_by_topic(self, topic):
        return []

    def count_publishers(self, topic):
        return 1

    def get_fully_qualified_name(self):
        return '/replay'

    def on_published(self, topic, message):
        """Hook of subclasses."""

    def spin_once(self, timeout_sec):
        if self.received:
            topic, message = self.received.pop(0)
            self.now_ns += self.delivery_ns
            self._callbacks[topic](message)
        else:
            self.now_ns += max(1, round(timeout_sec * 1e9))


class Publisher:
    def __init__(self, graph, topic):
        self._graph, self._topic = graph, topic

    def publish(self, message):
        self._graph.published.append((self._graph.now_ns, self._topic, message))
        self._graph.on_published(self._topic, message)

    def get_subscription_count(self):
        return 1


@pytest.fixture
def simulate(monkeypatch):
    """Call it with a graph to put its clock in the place of the real one; returns the graph."""

    def simulate(graph):
        monkeypatch.setattr(player_module.time, 'perf_counter_ns', lambda: graph.now_ns)
        return graph

    return simulate


@pytest.fixture
def graph(simulate):
    return simulate(Graph())


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def player(graph, stop):
    player = Player(graph, graph, stop)
    player.add_topic('/image', IMAGE_TYPE)
    return player


def clock_ns(message):
    return message.clock.sec * 10**9 + message.clock.nanosec


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_images_are_published_on_time_after_the_clock(graph, player, rate):
    start = 1000 * 10**9
    times = [start + 10_000_000 + index * 30_000_000 for index in range(6)]
    player.set_clock(start, rate)
    begin = graph.now_ns
    for at in times:
        assert player.run_until(player.due_ns(at))
        assert player.publish('/image', serialized(at), at) == graph.now_ns
    images = [(now, message) for now, topic, message in graph.published if topic == '/image']
    assert [now - begin for now, _ in images] == pytest.approx([(at - start) / rate for at in times], abs=2)
    assert [deserialize_message(data, Image).header.stamp for _, data in images] == [to_time(at) for at in times]
    ticks = [(now, clock_ns(message)) for now, topic, message in graph.published if topic == '/clock']
    assert [told for _, told in ticks] == sorted(told for _, told in ticks)
    for now, told in ticks:
        assert told == pytest.approx(start + (now - begin) * rate, abs=4)
    assert max(after - before for (before, _), (after, _) in itertools.pairwise(ticks)) <= 10**9 / CLOCK_HZ
    for now, at in zip((now for now, _ in images), times, strict=True):
        assert max(told for then, told in ticks if then <= now) >= at, 'no image is from the future'


def test_the_clock_is_never_behind_an_image_and_never_goes_back(graph, player):
    """A player that is early for an image, by rounding or because the image is older than the last one."""
    player.set_clock(10**9, 1.0)
    player.publish('/image', serialized(), 10**9 + 5)
    player.publish('/image', serialized(), 10**9 + 2)
    player.run_until(graph.now_ns + 3)
    assert [clock_ns(message) for _, topic, message in graph.published if topic == '/clock'] == [10**9 + 5] * 2


def test_a_clock_that_is_stopped_and_one_that_starts_below_zero(graph, player):
    player.set_clock(500, 0.0)
    player.run_until(graph.now_ns + 50_000_000)
    assert [clock_ns(message) for _, _, message in graph.published] == [500] * 5
    graph.published.clear()
    player.set_clock(-(10**9), 1.0)
    player.run_until(graph.now_ns + 50_000_000)
    assert [clock_ns(message) for _, _, message in graph.published] == [1] * 5


def test_waiting_for_a_condition(graph, player):
    begin = graph.now_ns
    assert player.run(10.0, lambda: graph.now_ns >= begin + 10**9)
    assert graph.now_ns - begin < 1.2 * 10**9
    assert not player.run(0.05, lambda: False) and player.run(0.0, lambda: True)


def test_nothing_is_waited_for_once_it_is_stopped(graph, stop, player):
    player.set_clock(0, 1.0)
    stop.set()
    begin = graph.now_ns
    assert not player.run_until(begin + 10**12)
    assert not player.run(1000, lambda: False)
    assert graph.now_ns == begin and player.stopped


# --- replies ----------------------------------------------------------------------------------------------------------


class FakeBag:
    def __init__(self):
        self.topics, self.written = [], []

    def add_topic(self, name, type):
        self.topics.append((name, type))

    def write(self, topic, recorded_ns, data):
        self.written.append((topic, data))


def reply(stamp_ns):
    """The header is all that is read."""
    return serialized(stamp_ns)


def stream_of(player, *, copy_images=False):
    bag = FakeBag()
    return bag, CameraStream(player, Route('/recorded', SINGLE[0]), bag, copy_images=copy_images)


def image(stamp_ns):
    return TimedImage('/recorded', 'image', stamp_ns, stamp_ns, stamp_ns, serialized(stamp_ns))


def deliver(graph, *stamps_ns):
    """Deliver replies to images with these stamps."""
    for stamp_ns in stamps_ns:
        graph.received.append(('/vis_node/instances', reply(stamp_ns)))
        graph.spin_once(0)


def test_replies_are_matched_by_stamp_and_images_before_them_are_dropped(graph, player):
    bag, stream = stream_of(player)
    sent_ns = []
    for stamp_ns in (10, 20, 30, 40):
        sent_ns.append(stream.send(image(stamp_ns), 1))
        graph.now_ns += 5_000_000
    assert (stream.sent, stream.in_flight, stream.stamp_span_ns) == (4, 4, 30)
    deliver(graph, 20)
    assert [(each.image.index, each.image.stamp_ns) for each in stream.replies] == [(1, 20)]
    assert stream.replies[0].image.sent_ns == sent_ns[1] and stream.replies[0].latency_ms == 15.0
    assert stream.in_flight == 2 and stream.unknown == 0
    deliver(graph, 10, 20, 35)
    assert stream.unknown == 3 and len(stream.replies) == 1 and stream.newest_stamp_ns == 35
    deliver(graph, 40)
    assert [each.image.index for each in stream.replies] == [1, 3] and stream.in_flight == 0
    assert bag.written == [('/vis_node/instances', reply(20)), ('/vis_node/instances', reply(40))]


def test_replies_to_images_with_equal_stamps_are_in_the_order_of_the_images(graph, player):
    _, stream = stream_of(player)
    for stamp_ns in (10, 20, 10, 20):
        stream.send(image(stamp_ns), 1)
    deliver(graph, 20, 10, 20)
    assert [each.image.index for each in stream.replies] == [1, 2, 3] and stream.unknown == 0


def test_replies_to_a_video_come_in_the_order_of_display(player, graph):
    camera = NodeCamera('', '/camera/image/compressed', '/vis_node/instances')
    stream = CameraStream(player, Route('/recorded', camera), FakeBag(), copy_images=False)
    store = typestore()
    for stamp_ns in (10, 40, 20, 30, 70, 50, 60):
        data = packet_message(VIDEO, b'a packet', stamp_ns, store=store)
        stream.send(TimedImage('/recorded', 'image', stamp_ns, stamp_ns, stamp_ns, data), 1)
    deliver(graph, 10, 20)
    assert stream.in_flight == 5, 'the third image in the order of display may still come, and the one before it'
    deliver(graph, 40, 60)
    assert [each.image.index for each in stream.replies] == [0, 2, 1, 6] and stream.unknown == 0
    assert stream.in_flight == 1
    deliver(graph, 50)
    assert stream.unknown == 1


def test_replies_to_images_that_were_given_up_are_unknown(graph, player):
    _, stream = stream_of(player)
    stream.send(image(10), 1)
    stream.forget_in_flight()
    stream.send(image(10), 2)
    assert stream.in_flight == 1
    deliver(graph, 10, 10)
    assert [(each.image.index, each.image.round) for each in stream.replies] == [(1, 2)] and stream.unknown == 1


def test_a_probe_is_not_counted_and_not_copied(graph, player):
    bag, stream = stream_of(player, copy_images=True)
    stream.send_probe(image(10), 11)
    assert graph.published[-1][2] == serialized(11)
    deliver(graph, 11)
    assert (stream.sent, stream.replies, stream.newest_stamp_ns, bag.written) == (0, [], 11, [])
    stream.send(image(20), 1)
    assert bag.written == [('/camera/image', serialized(20))]
    assert bag.topics == [('/camera/image', IMAGE_TYPE), ('/vis_node/instances', INSTANCES_TYPE)]


def test_the_timing_of_published_images():
    timing = PublishTiming()
    assert (timing.rate_hz, timing.recorded_hz) == (0, 0)
    for delay_ms in (0, 10, 11, 3):
        timing.add(delay_ms * 1_000_000)
    for _ in range(3):
        timing.add_interval(50_000_000, 40_000_000)
    assert (timing.late, timing.latest_ms) == (1, 11.0)
    assert (timing.rate_hz, timing.recorded_hz) == (20.0, 25.0)


# --- running node -----------------------------------------------------------------------------------------------------


class TwoNodes(Graph):
    """A graph with a vis_node and another node."""

    topics = (
        ('/robot/vis_node/front/instances', [INSTANCES_TYPE]),
        ('/robot/vis_node/camera/instances', [INSTANCES_TYPE]),
        ('/robot/vis_node/front/overlay', [IMAGE_TYPE]),
    )

    def get_node_names_and_namespaces(self):
        return [('replay', '/'), ('vis_node', '/robot'), ('tf', '/')]

    def get_topic_names_and_types(self):
        return list(self.topics)

    def get_publisher_names_and_types_by_node(self, name, namespace):
        assert (name, namespace) == ('vis_node', '/robot')
        return list(self.topics)


def running_node(name, *statuses):
    graph = TwoNodes()
    found = RunningNode(Player(graph, graph, threading.Event()), name)
    found.status.update(DiagnosticArray(status=list(statuses)))
    return found


def status(name, level=DiagnosticStatus.OK, message='', **values):
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, values=pairs)


def test_the_error_about_a_missing_node_lists_those_that_exist(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '17')
    message = (
        'no node /vis_node in ROS domain 17.*Nodes: /robot/vis_node, /tf; .*: /robot/vis_node/camera/instances, /rob'
    )
    with pytest.raises(TimeoutError, match=message):
        running_node('vis_node').wait_until_active(0.01, 0.01)


ABOUT = [
    status('robot/vis_node', state='active', engine='opencv'),
    status('robot/vis_node: front', topic='/robot/front/image/compressed'),
    status('robot/vis_node: camera', DiagnosticStatus.WARN, 'no image', topic='/elsewhere'),
    status('other/vis_node: camera', topic='/wrong'),
]


def test_the_cameras_of_a_node():
    found = running_node('robot/vis_node', *ABOUT)
    cameras = found.wait_until_active(1, 1)
    assert cameras == [
        NodeCamera('camera', '/elsewhere', '/robot/vis_node/camera/instances'),
        NodeCamera('front', '/robot/front/image/compressed', '/robot/vis_node/front/instances'),
    ]
    assert [camera.image_type for camera in cameras] == [IMAGE_TYPE, COMPRESSED_TYPE]
    assert found.status.engine == {'engine': 'opencv'} and found.status.issues == {'camera': 'no image'}


@pytest.mark.parametrize(
    ('statuses', 'error', 'message'),
    [
        (ABOUT[:2], TimeoutError, 'exists, but is active and has not subscribed to any images after 0 s'),  # one of two
        ([status('robot/vis_node', state='inactive')], TimeoutError, 'exists, but is inactive and has not subscribed'),
        ([], TimeoutError, 'exists, but publishes no diagnostics and has not subscribed'),
        ([status('robot/vis_node', DiagnosticStatus.ERROR, 'no weights')], ConnectionError, 'cannot work: no weights'),
    ],
)  # fmt: skip
def test_a_node_that_is_not_ready(statuses, error, message):
    with pytest.raises(error, match=f'/robot/vis_node {message}'):
        running_node('robot/vis_node', *statuses).wait_until_active(1, 0.01)


# --- session ----------------------------------------------------------------------------------------------------------


class SimulatedNode(Graph):
    """A graph with a vis_node that replies to an image at once.

    Args:
        dropped, lost: images without a reply, counted over all rounds: those that the node reports as dropped, and
            those that it has never received.
    """

    name = '/vis_node'
    delivery_ns = 5_000_000

    def __init__(self, dropped=(), lost=()):
        super().__init__()
        self.status = NodeStatus(self.name)
        self.status.weights_sha256 = 'c0ffee'
        self._dropped, self._lost = dropped, lost
        self._count = self._pending = self._epoch = 0

    def parameters(self):
        return {'weights': 'rectangles', 'use_sim_time': True}

    def reset(self):
        self._tracker, self._sequence, self._newest_ns = SceneTracker(), 0, 0
        self._epoch += 1

    def on_published(self, topic, message):
        if topic != SINGLE[0].image_topic:
            return
        stamp_ns, _ = read_header(message)
        index = (stamp_ns - START_NS) // PERIOD_NS
        if stamp_ns == stamp_of(index):  # otherwise it is a probe
            self._count += 1
            self._pending += self._count - 1 in self._dropped
            if self._count - 1 in {*self._dropped, *self._lost}:
                return
        if stamp_ns < self._newest_ns:
            self.reset()
        self._newest_ns = stamp_ns
        self._sequence += 1
        header = Header(stamp=to_time(stamp_ns))
        found = self._tracker.step(index, stamp_ns)
        context = MessageContext(
            header, self._epoch, self._sequence, self._pending, 'test', 7_000_000, self._tracker.first_ns
        )
        self._pending = 0
        data = serialized_instances(found, context, encode_masks(found, 'rle'))
        self.received.append((SINGLE[0].instances_topic, data))


def play(node, folder, *, loop=1, on_image=lambda: None, stop=None):
    """Play a bag with the scene to the node, write the results, and return the summary."""
    write_bag(folder / 'recording')
    player = Player(node, node, stop or threading.Event())
    with BagWriter(folder / 'bag') as bag:
        session = LiveSession(
            player,
            node,
            open_timed_images(folder / 'recording'),
            [Route('/camera/image', SINGLE[0])],
            bag,
            rate=2.0,
            loop=loop,
            copy_images=False,
            timeouts=Timeouts(),
        )
        session.connect()
        session.play(on_image)
    return write_live_results(folder, session)


def read_records(folder):
    return [json.loads(line) for line in (folder / 'results.jsonl').read_text().splitlines()]


def test_unreadable_images_behind_the_last_reply_are_counted(simulate, tmp_path, monkeypatch):
    write, last = BagWriter.write, stamp_of(29)

    def cut(bag, topic, recorded_ns, data):
        write(bag, topic, recorded_ns, data[:12] if recorded_ns >= last and topic == '/camera/image' else data)

    monkeypatch.setattr(BagWriter, 'write', cut)
    summary = play(simulate(SimulatedNode()), tmp_path)
    assert (summary.sent, summary.received, summary.skipped) == (29, 29, 1) and 'image 29' in summary.last_problem


def test_every_image_has_a_result_if_the_node_replies_to_all(simulate, tmp_path):
    summary = play(simulate(SimulatedNode()), tmp_path, loop=2)
    assert (summary.sent, summary.received, summary.dropped, summary.lost, summary.unknown) == (60, 60, 0, 0, 0)
    assert summary.latency_percentiles_ms == (5, 5, 5) and summary.node_latency_percentiles_ms == (7, 7, 7)
    assert summary.rate_hz == summary.recorded_hz == 50 and summary.late == 0
    assert summary.epochs == (2, 3), 'the node is reset before and after connecting'
    assert summary.identities == 4 and summary.stopped_early == summary.no_results_json == ''
    found = read_records(tmp_path)
    assert [(each['index'], each['round'], each['epoch']) for each in found] == [
        (index, 1 + index // 30, 2 + index // 30) for index in range(60)
    ]
    assert found == [*expected_records(found[:30], 30), *expected_records(found[30:], 30)]
    run = json.loads((tmp_path / 'run.json').read_text())
    assert run['live']['latency_ms'] == [5] * 60 and run['live']['node_latency_ms'] == [7] * 60
    assert (run['model'], run['weights'], run['frames']) == ('test', 'rectangles', 60)
    assert run['weights_sha256'] == 'c0ffee'
    assert run['class_names'] == ['blue', 'class 1', 'red'], 'no result has class 1'
    assert (run['live']['rounds'], run['live']['rate'], run['live']['node']) == (2, 2.0, '/vis_node')
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert [len(row['segmentations']) for row in rows] == [60] * 4
    assert {each['latency'] for each in found} == {0.007} and [each['sequence'] for each in found[:30]] == [
        *range(1, 31)
    ]
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')).shape[1] == 1600


def test_the_pictures_show_the_images_that_had_a_reply(simulate, tmp_path, monkeypatch):
    drawn = []
    add = VideoFiles.add
    monkeypatch.setattr(VideoFiles, 'add', lambda *arguments: drawn.append(arguments) or add(*arguments))
    play(simulate(SimulatedNode(dropped=(0, 3), lost=(7,))), tmp_path, loop=2)
    assert [record['index'] for *_, record in drawn] == [i for i in range(60) if i not in (0, 3, 7)]
    for _, image, _, record in drawn:
        np.testing.assert_array_equal(image, scene(record['index'] % 30))


def test_the_latency_of_a_node_on_another_clock_is_unknown(simulate, tmp_path, monkeypatch):
    node = simulate(SimulatedNode())
    monkeypatch.setattr(node, 'parameters', lambda: {'weights': 'rectangles', 'use_sim_time': False})
    summary = play(node, tmp_path)
    assert summary.node_latency_percentiles_ms is None and 'use_sim_time:=true' in summary.node_clock
    assert {each['latency'] for each in read_records(tmp_path)} == {None}


def test_images_without_a_result_are_dropped_or_lost(simulate, tmp_path):
    summary = play(simulate(SimulatedNode(dropped=(0, 3, 4, 29), lost=(7,))), tmp_path)
    assert (summary.sent, summary.received, summary.dropped) == (30, 25, 3)
    assert summary.lost == 2, 'the last image counts as lost, because no later result reports it'
    found = read_records(tmp_path)
    assert [each['index'] for each in found] == [i for i in range(30) if i not in (0, 3, 4, 7, 29)]
    assert found == expected_records(found, 30)


def test_an_interrupted_session_has_the_results_so_far(simulate, stop, tmp_path):
    count = itertools.count(1)
    summary = play(
        simulate(SimulatedNode()), tmp_path, loop=3, stop=stop, on_image=lambda: next(count) < 40 or stop.set()
    )
    assert summary.stopped_early == INTERRUPTED
    assert (summary.sent, summary.received) == (40, 39), 'nothing is received after an interrupt'
    assert [each['index'] for each in read_records(tmp_path)] == list(range(39))


@pytest.mark.parametrize(
    ('kind', 'method', 'value', 'message'),
    [
        (Publisher, 'get_subscription_count', 0, '/vis_node is gone'),
        (Graph, 'count_publishers', 2, 'another node also publishes on /camera/image: stop it first'),
    ],
)
def test_a_disturbed_session_ends(simulate, monkeypatch, tmp_path, kind, method, value, message):
    count = itertools.count(1)

    def disturb():
        if next(count) == 10:
            monkeypatch.setattr(kind, method, lambda *_: value)

    summary = play(simulate(SimulatedNode()), tmp_path, loop=2, on_image=disturb)
    assert summary.stopped_early == message and (summary.sent, summary.received) == (10, 9)
