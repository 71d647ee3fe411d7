"""The node on H.264 and H.265: every packet is decoded, the newest image is processed."""

import threading
from importlib import util

import numpy as np
import pytest
from helpers.rectangles import RED, draw
from helpers.video_packets import COMPRESSED, FFMPEG, FOXGLOVE, encode, packet_message, scene, typestore
from sensor_msgs.msg import CompressedImage

from vis_ros.node.image_queue import ArrivedImage
from vis_ros.node.video_thread import MOST_WAITING, VideoThread
from vis_ros.node.vis_node import SUCCESS
from vis_ros.ros import new_message
from vis_ros.video.video_decoder import VideoDecoder
from vis_ros.video.video_packet import VideoPacket

STEP_NS, START_NS = 100_000_789, 100_000_000_000
STORE = typestore()


def packets_of(count, codec='h264', b_frames=0):
    """Packets of images with one object that moves by 4 pixels: (position of the image, is key, bytes)."""
    images = [draw((2 + 4 * i, 10, 18 + 4 * i, 26, RED), height=48, width=96) for i in range(count)]
    return encode(images, codec, b_frames=b_frames)


class Encoder:
    """Publishes packets in serialized messages of any type."""

    def __init__(self, graph, topic, kind, codec='h264'):
        self._graph, self._kind, self._codec = graph, kind, codec
        self._publisher = graph.publisher(CompressedImage, topic)

    def send(self, packet):
        """Publish a packet. Returns the stamp of its image."""
        index, is_key, data = packet
        stamp_ns = START_NS + index * STEP_NS
        self._publisher.publish(packet_message(self._kind, data, stamp_ns, self._codec, STORE, is_key))
        return stamp_ns


def stamp_ns(array):
    return array.header.stamp.sec * 10**9 + array.header.stamp.nanosec


@pytest.fixture
def any_package(monkeypatch):
    """Messages whose package is not installed travel as bytes under the name of another type."""
    monkeypatch.setattr(
        new_message,
        '_generated',
        lambda type, known=new_message._generated: CompressedImage if type in (FFMPEG, FOXGLOVE) else known(type),
    )


@pytest.mark.parametrize(
    ('transport', 'kind', 'codec'),
    [('compressed', COMPRESSED, 'h264'), ('ffmpeg', FFMPEG, 'hevc'), ('foxglove', FOXGLOVE, 'h264')],
)
def test_every_image_of_a_video_is_processed(graph, any_package, transport, kind, codec):
    graph.start(image_transport=transport, new_track_score=0.4)
    encoder = Encoder(graph, f'/image/{transport}', kind, codec)
    for packet in packets_of(12, codec):
        sent = encoder.send(packet)
        graph.spin_until(lambda sent=sent: graph.arrays and stamp_ns(graph.arrays[-1]) == sent)
    assert [array.dropped for array in graph.arrays] == [0] * 12
    assert {array.header.frame_id for array in graph.arrays} == {'eye'}
    for index, array in enumerate(graph.arrays):
        (instance,) = array.instances
        assert instance.track_id == 1 and abs(instance.roi.x_offset - (2 + 4 * index)) <= 2


def test_packets_that_come_at_once_are_all_decoded_and_the_newest_image_is_processed(graph):
    node = graph.start(image_transport='compressed', new_track_score=0.4)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    for packet in packets_of(15):  # the executor is not running: the middleware keeps them
        newest = encoder.send(packet)
    graph.spin_until(lambda: graph.arrays and stamp_ns(graph.arrays[-1]) == newest)
    counts = node._cameras[0].statistics.counts
    assert counts.received == 15 and counts.undecoded == counts.refused == 0
    assert counts.processed == len(graph.arrays) and counts.dropped == 15 - len(graph.arrays)
    assert abs(graph.arrays[-1].instances[0].roi.x_offset - (2 + 4 * 14)) <= 2


def test_images_that_are_displayed_in_another_order_than_they_are_sent_have_their_own_stamps(graph):
    graph.start(image_transport='compressed', new_track_score=0.4)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    packets = packets_of(16, b_frames=2)
    assert [index for index, _, _ in packets] != list(range(16))
    for packet in packets:
        encoder.send(packet)
        graph.spin_for(0.05)
    graph.spin_until(lambda: len(graph.arrays) > 5)
    stamps = [stamp_ns(array) for array in graph.arrays]
    assert stamps == sorted(stamps)
    for array in graph.arrays:
        index = (stamp_ns(array) - START_NS) // STEP_NS
        assert abs(array.instances[0].roi.x_offset - (2 + 4 * index)) <= 2


def test_lost_key_frames_are_told(graph):
    node = graph.start(image_transport='compressed', new_track_score=0.4)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    packets = packets_of(20)
    for packet in packets[2:5]:
        encoder.send(packet)
    status, _ = graph.status(lambda status, values: values['images undecoded'] == '3')
    assert status.level == status.WARN and '3 video packets on /image/compressed gave no image' in status.message
    assert graph.logged('needs the key frame before it, which is not there') and not graph.arrays
    for packet in [*packets[5:10], *packets[11:15]]:  # the key frame 10 is lost
        encoder.send(packet)
    graph.spin_until(lambda: node._cameras[0].statistics.counts.undecoded == 7)
    graph.status(lambda status, values: 'one before it is missing' in values['last issue'])
    newest = encoder.send(packets[15])
    graph.spin_until(lambda: graph.arrays and stamp_ns(graph.arrays[-1]) == newest)
    assert graph.arrays[0].dropped >= 3
    assert not {round((stamp_ns(array) - START_NS) / STEP_NS) for array in graph.arrays} & {2, 3, 4, *range(10, 15)}


def test_a_camera_goes_on_after_it_was_deactivated(graph):
    node = graph.start(image_transport='compressed', new_track_score=0.4)
    packets = packets_of(10)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    first = encoder.send(packets[0])
    graph.spin_until(lambda: graph.arrays and stamp_ns(graph.arrays[-1]) == first)
    assert node.trigger_deactivate() is SUCCESS and node.trigger_activate() is SUCCESS
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    second = encoder.send(packets[5])
    graph.spin_until(lambda: stamp_ns(graph.arrays[-1]) == second)


def test_images_after_packets_that_were_left_out_are_refused_until_the_next_key_frame():
    """The first packet after those that were left out has the number that the last one before them lets expect."""
    gop = MOST_WAITING // 2
    packets = [VideoPacket('h264', data) for _, _, data in encode(scene(4 * gop), gop=gop)]
    decoder = VideoDecoder(lambda index, error: None)
    expected = [pixels() for index, packet in enumerate(packets) for _, pixels in decoder.put(index, packet)]
    reached, gate, delivered, refused = threading.Event(), threading.Event(), [], []

    def deliver(image):
        reached.set()
        assert gate.wait(10)
        delivered.append(image)

    thread = VideoThread(deliver, refused.append)
    for index, packet in enumerate(packets):
        thread.put(ArrivedImage(b'', index, 0.0), packet)
        assert reached.wait(10)
        if index > MOST_WAITING:
            gate.set()
    while len(delivered) + len(refused) < len(packets):
        gate.wait(0.01)
    thread.stop()
    assert [image.stamp_ns for image in delivered] == [0, *range(3 * gop, 4 * gop)]
    assert all(np.array_equal(image.pixels(), expected[image.stamp_ns]) for image in delivered)


@pytest.fixture
def decoding(monkeypatch):
    """Holds every image in the decoder until it is opened."""
    gate, put = threading.Event(), VideoDecoder.put

    def hold(*arguments):
        assert gate.wait(30)
        return put(*arguments)

    monkeypatch.setattr(VideoDecoder, 'put', hold)
    yield gate
    gate.set()


def test_what_was_in_the_decoder_when_the_node_was_disabled_is_ignored(graph, decoding):
    node = graph.start(image_transport='compressed', new_track_score=0.4)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    packets = packets_of(10)
    statistics = node._cameras[0].statistics
    encoder.send(packets[0])
    graph.spin_until(lambda: statistics.counts.received == 1)
    node._cameras[0].enable(False)
    assert statistics.counts.ignored == 1
    decoding.set()
    graph.spin_for(0.2)
    node._cameras[0].enable(True)
    for packet in packets[1:6]:  # those before the key frame 5 need what was ignored
        newest = encoder.send(packet)
    graph.spin_until(lambda: graph.arrays and stamp_ns(graph.arrays[-1]) == newest)
    assert len(graph.arrays) == 1 and statistics.counts.undecoded == 4


def test_each_packet_is_counted_once_while_the_node_is_disabled_again_and_again(graph):
    node = graph.start(image_transport='compressed', new_track_score=0.4)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    (camera,) = node._cameras
    counts = camera.statistics.counts
    packets = packets_of(20, b_frames=2)
    for place, packet in enumerate([*packets, *packets]):
        encoder.send(packet)
        graph.spin_for(0.02)
        if place % 7 == 3:
            camera.enable(False)
            camera.enable(True)
    camera.enable(False)
    outcomes = ('processed', 'dropped', 'late', 'refused', 'undecoded', 'failed', 'ignored')
    graph.spin_until(lambda: counts.received == 40 == sum(getattr(counts, name) for name in outcomes))
    assert counts.processed and counts.ignored


def test_what_was_in_the_decoder_when_the_clock_went_back_is_dropped(graph, decoding):
    node = graph.start(image_transport='compressed', new_track_score=0.4)
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    packets = packets_of(3)
    counts = node._cameras[0].statistics.counts
    encoder.send(packets[0])
    graph.spin_until(lambda: counts.received == 1)
    assert node._cameras[0].clock_went_back(0)
    decoding.set()
    graph.spin_until(lambda: counts.dropped == 1)
    newest = encoder.send(packets[1])
    graph.spin_until(lambda: graph.arrays and stamp_ns(graph.arrays[-1]) == newest)
    assert len(graph.arrays) == 1 and counts.processed == 1


@pytest.mark.parametrize(
    ('transport', 'package'), [('ffmpeg', 'ffmpeg_image_transport_msgs'), ('foxglove', 'foxglove_msgs')]
)
def test_a_missing_message_package_is_named(graph, monkeypatch, transport, package):
    if util.find_spec(package):
        pytest.skip(f'{package} is installed')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    node = graph.start(active=False, image_transport=transport)
    assert node.trigger_configure() is not SUCCESS
    assert f'sudo apt install ros-jazzy-{package.replace("_", "-")}' in node._fault


def test_without_pyav_the_node_says_what_to_install(graph, any_package, monkeypatch):
    find_spec = util.find_spec
    monkeypatch.setattr('vis_ros.extras.find_spec', lambda name: None if name == 'av' else find_spec(name))
    node = graph.start(active=False, image_transport='ffmpeg')
    assert node.trigger_configure() is not SUCCESS and 'image_transport ffmpeg needs av' in node._fault


def test_video_on_the_compressed_topic_without_pyav_is_refused_with_what_to_install(graph, monkeypatch):
    find_spec = util.find_spec
    monkeypatch.setattr('vis_ros.extras.find_spec', lambda name: None if name == 'av' else find_spec(name))
    graph.start(image_transport='compressed')
    encoder = Encoder(graph, '/image/compressed', COMPRESSED)
    encoder.send(packets_of(1)[0])
    graph.status(lambda status, values: values['images refused'] == '1' and 'pip install av' in values['last issue'])
