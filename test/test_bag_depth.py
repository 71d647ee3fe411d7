"""Positions in an offline replay: a bag with depth and calibration beside the images, and what the files then say."""

import json

import numpy as np
import pytest
from helpers.rectangles import GREEN, HEIGHT, RED, WIDTH, RectangleEngine, draw
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from vis_ros.msg import InstanceMaskArray

from vis_ros.cli.replay import _depth_topics
from vis_ros.recordings.bag_depth import DepthTopics
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.opening import open_recording, open_recordings
from vis_ros.recordings.topics import CAMERA_INFO_TYPE, IMAGE_TYPE
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import to_time
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

MS = 1_000_000
FX, FY, CX, CY = 60.0, 50.0, 32.0, 24.0
TOPICS = DepthTopics('/depth', 'camera_info')


def header(milliseconds):
    return Header(stamp=to_time(10**12 + milliseconds * MS), frame_id='camera_optical')


def picture(index):
    """A rectangle that moves by two pixels, with medians (9.5 + 2 * index, 11)."""
    return draw((2 + 2 * index, 6, 18 + 2 * index, 17, GREEN))


def info(**fields):
    values = {
        'height': HEIGHT,
        'width': WIDTH,
        'k': [FX, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0],
        'p': [2 * FX, 0.0, CX, 0.0, 0.0, 2 * FY, CY, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    return CameraInfo(header=header(0), **{**values, **fields})


def bag(path, images, depths, infos=(None,)):
    """Images and depth at (stamp in ms, time of recording in ms, meters); calibration first."""
    messages = [(-1, '/camera_info', info() if each is None else each) for each in infos]
    messages += [
        (recorded, '/image', to_image(picture(index), 'bgr8', header(stamp)))
        for index, (stamp, recorded) in enumerate(images)
    ]
    messages += [
        (recorded, '/depth', to_image(np.full((HEIGHT, WIDTH), z, np.float32), '32FC1', header(stamp)))
        for stamp, recorded, z in depths
    ]
    with BagWriter(path) as written:
        for topic, kind in (('/image', IMAGE_TYPE), ('/depth', IMAGE_TYPE), ('/camera_info', CAMERA_INFO_TYPE)):
            written.add_topic(topic, kind)
        for recorded, topic, message in sorted(messages, key=lambda each: each[0]):
            written.write(topic, 10**12 + recorded * MS, serialize_message(message))
    return path


def run(path, out, topics=TOPICS):
    recording = open_recording(path, '/image', depth=topics)
    model = Model(Settings(), engine_factory=RectangleEngine)
    summary = replay([recording], model, out, codecs=('mp4v',))
    records = [json.loads(line) for line in (out / 'results.jsonl').read_text().splitlines()]
    return summary, [record['instances'][0].get('position', 'none told') for record in records]


def expected(index, z, zoom=1):
    u, v = 9.5 + 2 * index, 11
    return pytest.approx([(u - CX) * z / FX / zoom, (v - CY) * z / FY / zoom, z], abs=1e-4)


def test_every_object_has_the_position_that_its_depth_says(tmp_path):
    """Depth is recorded before and after its image; one has a stamp near by, one is too far away, one is missing."""
    images = [(0, 1), (100, 101), (200, 201), (300, 301), (400, 401)]
    depths = [(0, 0, 1.0), (100, 180, 2.0), (160, 205, 3.5), (240, 260, 3.0), (351, 380, 4.0)]
    path = bag(tmp_path / 'bag', images, depths)
    summary, positions = run(path, tmp_path / 'out')
    assert positions == [expected(0, 1.0), expected(1, 2.0), expected(2, 3.5), 'none told', expected(4, 4.0)]
    assert summary.warnings == {'without depth': 1} and summary.frames == 5
    with AnyReader([tmp_path / 'out' / 'bag']) as reader:
        (topic,) = (each for each in reader.connections if each.topic == '/vis_node/instances')
        messages = [deserialize_message(bytes(data), InstanceMaskArray) for _, _, data in reader.messages([topic])]
    places = [(p.x, p.y, p.z) for p in (message.instances[0].position for message in messages)]
    assert places[4] == expected(4, 4.0) and np.isnan(places[3]).all()


def test_a_replay_can_be_repeated(tmp_path):
    path = bag(tmp_path / 'bag', [(0, 1), (100, 101)], [(0, 0, 1.0), (100, 100, 2.0)])
    recording = open_recording(path, '/image', depth=TOPICS)
    for _ in range(2):
        assert [float(frame.depth[0].mean()) for frame in recording.frames()] == [1.0, 2.0]


def test_rectified_images(tmp_path):
    path = bag(tmp_path / 'bag', [(0, 1)], [(0, 0, 2.0)])
    _, positions = run(path, tmp_path / 'out', DepthTopics('depth', 'camera_info', rectified=True))
    assert positions == [expected(0, 2.0, zoom=2)]


def test_without_the_topics_nothing_is_told(tmp_path):
    path = bag(tmp_path / 'bag', [(0, 1)], [(0, 0, 2.0)])
    summary, positions = run(path, tmp_path / 'out', None)
    assert positions == ['none told'] and summary.warnings == {}


def test_depth_that_is_waited_for_in_vain_is_not_kept(tmp_path):
    depths = [(10_000 + step, step, 1.0) for step in range(300)]
    recording = open_recording(bag(tmp_path / 'bag', [(0, 400)], depths), '/image', depth=TOPICS)
    assert [frame.depth for frame in recording.frames()] == [None]
    assert len(recording._depth._waiting) <= 128


@pytest.mark.parametrize(
    ('topics', 'told'),
    [
        (DepthTopics('/nowhere', 'camera_info'), 'no sensor_msgs/msg/Image on the topic /nowhere.*/depth'),
        (DepthTopics('/depth', '/image'), 'no sensor_msgs/msg/CameraInfo on the topic /image.*/camera_info'),
    ],
)
def test_topics_that_are_not_there(tmp_path, topics, told):
    path = bag(tmp_path / 'bag', [(0, 1)], [(0, 0, 2.0)])
    with pytest.raises(ValueError, match=told):
        open_recording(path, '/image', depth=topics)


@pytest.mark.parametrize(
    ('calibration', 'told'), [(info(k=[0.0] * 9), 'no focal length in k'), (info(width=32), 'camera_info 32x48')]
)
def test_a_calibration_that_does_not_fit_ends_the_replay(tmp_path, calibration, told):
    path = bag(tmp_path / 'bag', [(0, 1)], [(0, 0, 2.0)], [calibration])
    with pytest.raises(ValueError, match=told):
        run(path, tmp_path / 'out')


def test_what_goes_with_depth(tmp_path):
    path = bag(tmp_path / 'bag', [(0, 1)], [(0, 0, 2.0)])
    with pytest.raises(ValueError, match='one camera'):
        open_recording(path, cameras={'a': '/image', 'b': '/depth'}, depth=TOPICS)
    (tmp_path / 'video.mp4').write_bytes(b'')
    with pytest.raises(ValueError, match='no topic'):
        open_recordings(tmp_path / 'video.mp4', depth=TOPICS)
    assert _depth_topics(None, None, False) is None
    assert _depth_topics('/d', '/c', True) == DepthTopics('/d', '/c', True)
    for values in (('/d', None, False), (None, '/c', False), (None, None, True)):
        with pytest.raises(ValueError, match='belong together'):
            _depth_topics(*values)


def test_a_second_object_without_depth(tmp_path):
    """Half of the picture has none: null for what is there."""
    depth = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    depth[:, 32:] = 0
    path = tmp_path / 'bag'
    with BagWriter(path) as written:
        for topic, kind, message in (
            ('/camera_info', CAMERA_INFO_TYPE, info()),
            ('/depth', IMAGE_TYPE, to_image(depth, '16UC1', header(0))),
            ('/image', IMAGE_TYPE, to_image(draw((2, 6, 18, 17, GREEN), (40, 20, 60, 40, RED)), 'bgr8', header(0))),
        ):
            written.add_topic(topic, kind)
            written.write(topic, 10**12, serialize_message(message))
    run(path, tmp_path / 'out')
    (record,) = [json.loads(line) for line in (tmp_path / 'out' / 'results.jsonl').read_text().splitlines()]
    told = {instance['class_name']: instance['position'] for instance in record['instances']}
    assert told == {'green': expected(0, 1.5), 'red': None}


def test_one_odd_depth_image_or_calibration_costs_only_itself(tmp_path):
    path = tmp_path / 'bag'
    with BagWriter(path) as written:
        for topic, kind in (('/camera_info', CAMERA_INFO_TYPE), ('/depth', IMAGE_TYPE), ('/image', IMAGE_TYPE)):
            written.add_topic(topic, kind)
        written.write('/camera_info', 10**12, b'\x00\x01\x00\x00cut')
        written.write('/camera_info', 10**12, serialize_message(info()))
        for index in range(4):
            size = (HEIGHT // 2, WIDTH // 2) if index == 2 else (HEIGHT, WIDTH)
            depth = to_image(np.ones(size, np.float32), '32FC1', header(100 * index))
            written.write('/depth', 10**12 + 100 * index * MS, serialize_message(depth))
            image = to_image(picture(index), 'bgr8', header(100 * index))
            written.write('/image', 10**12 + 100 * index * MS, serialize_message(image))
    summary, positions = run(path, tmp_path / 'out')
    assert positions == [expected(0, 1.0), expected(1, 1.0), 'none told', expected(3, 1.0)]
    assert summary.warnings == {'without depth': 1}
