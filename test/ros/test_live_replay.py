"""Live replay at the real node in a process of its own, over DDS."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from helpers.image_messages import compressed_message, image_message
from helpers.processes import PACKAGE_ROOT, RECTANGLE_NODE
from helpers.rectangles import BLUE, RED, draw
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from vis_ros.msg import InstanceMaskArray

from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.live.live_replay import replay_live
from vis_ros.replay.live.live_session import Patience
from vis_ros.replay.live.timed_images import open_timed_images
from vis_ros.ros.stamps import to_time

START_NS, PERIOD_NS, DELAY_NS = 1_000_000_000_789, 40_000_000, 3_000_000
FRAMES = 30


def scene(index):
    """A red rectangle that goes its way; in the second half a blue one too."""
    shapes = [(2 + index, 4, 12 + index, 14, RED)]
    return draw(*shapes, *([(40 - index, 30, 50 - index, 40, BLUE)] if index >= FRAMES // 2 else []))


def write_bag(path, topics=('/camera/image',), frames=FRAMES, stamp=lambda index: START_NS + index * PERIOD_NS):
    """The scene on topics, recorded DELAY_NS after its stamps; returns the serialised images of the first topic."""
    written = []
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, COMPRESSED_TYPE if topic.endswith('/compressed') else IMAGE_TYPE)
        for index in range(frames):
            for topic in topics:
                make = compressed_message if topic.endswith('/compressed') else image_message
                message = make(scene(index))
                message.header.stamp, message.header.frame_id = to_time(stamp(index)), 'optical'
                data = serialize_message(message)
                bag.write(topic, START_NS + index * PERIOD_NS + DELAY_NS, data)
                written += [data] if topic == topics[0] else []
    return written


@pytest.fixture(scope='module')
def nodes(start_for_module):
    """One on simulated time, one with two cameras, a slow one, one that is not active, one that cannot work."""
    start_for_module(RECTANGLE_NODE, '-r', 'image:=/camera/image', '-p', 'use_sim_time:=true')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=two', '-p', 'cameras:=[front, left]')
    start_for_module(RECTANGLE_NODE, '-r', '__ns:=/robot', VIS_TEST_INFER_S='0.15')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=idle', '-p', 'autostart:=false')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=lame', '-p', 'device:=banana')


@pytest.fixture(autouse=True)
def environment():
    """The replay sets what ROS needs in the environment of its process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def play(source, out, **options):
    return replay_live(open_timed_images(source), out, **{'rate': 2.0, 'patience': Patience(ready=20)} | options)


def records(folder):
    return [json.loads(line) for line in (folder / 'results.jsonl').read_text().splitlines()]


def messages(out, topic, kind='vis_ros/msg/InstanceMaskArray'):
    reader = BagReader(out / 'bag')
    return [(at, data) for _, at, data in reader.messages([t for t in reader.of_type(kind) if t.name == topic])]


def test_every_image_is_answered_and_kept_with_its_stamp(nodes, tmp_path):
    written = write_bag(tmp_path / 'bag')
    seen = []
    # Slowly: on a busy machine an image may wait longer than the 40 ms between two of them.
    summary = play(tmp_path / 'bag', tmp_path / 'out', rate=0.25, copy_images=True, on_image=lambda: seen.append(1))
    assert (summary.sent, summary.received, summary.dropped, summary.lost) == (FRAMES, FRAMES, 0, 0)
    assert len(seen) == FRAMES and summary.stopped_early == '' and summary.unknown == summary.skipped == 0
    images, answers = (
        messages(tmp_path / 'out', '/camera/image', IMAGE_TYPE),
        messages(tmp_path / 'out', '/vis_node/instances'),
    )
    assert [data for _, data in images] == written
    stamps = [START_NS + index * PERIOD_NS for index in range(FRAMES)]
    arrays = [deserialize_message(data, InstanceMaskArray) for _, data in answers]
    assert [array.header.stamp for array in arrays] == [to_time(stamp) for stamp in stamps]
    assert arrays[0].sequence == arrays[0].instances[0].hits == 1, 'the node has forgotten the image of introduction'
    assert all(sent < came for (sent, _), (came, _) in zip(images, answers, strict=True))

    found = records(tmp_path / 'out')
    assert [record['stamp_ns'] for record in found] == stamps
    for index, record in enumerate(found):
        assert (record['index'], record['name'], record['round']) == (index, f'image {index}', 1)
        assert (record['height'], record['width']) == scene(index).shape[:2]
        assert [(each['track_id'], each['class_name']) for each in record['instances']] == [
            (1, 'red'), (2, 'blue')][: len(record['instances'])]  # fmt: skip
        assert len(record['instances']) == 1 + (index >= FRAMES // 2)
        assert record['instances'][0]['box'] == [2 + index, 4, 12 + index, 14]

    run = json.loads((tmp_path / 'out' / 'run.json').read_text())
    live = run['live']
    assert (live['sent'], live['received'], live['dropped'], live['lost'], live['unknown']) == (FRAMES, FRAMES, 0, 0, 0)
    assert len(live['latency_ms']) == FRAMES and min(live['latency_ms']) > 0
    assert live['latency_percentiles_ms'][0] == pytest.approx(np.median(live['latency_ms']), abs=0.01)
    assert run['use_sim_time'] is True and run['engine'] == 'opencv' and run['frames'] == FRAMES
    assert run['class_names'] == ['blue', 'class 1', 'red'], 'nobody said what class 1 is'
    assert summary.node_latency_ms is not None and 0 < summary.node_latency_ms[0] < 1e4, 'on /clock, not since 1970'


@pytest.mark.parametrize('options', [{}, {'node': 'two', 'cameras': {'left': 'camera/image'}}])
def test_a_loop_begins_an_epoch_and_the_identities_anew(nodes, tmp_path, options):
    """On simulated time, and on the wall clock (where only the stamps go back)."""
    frames = 20
    write_bag(tmp_path / 'bag', frames=frames)
    summary = play(tmp_path / 'bag', tmp_path / 'out', loop=3, **options)
    assert summary.sent == 3 * frames == summary.received + summary.dropped
    found = records(tmp_path / 'out')
    rounds = {number: [record for record in found if record['round'] == number] for number in (1, 2, 3)}
    epochs = [{record['epoch'] for record in each} for each in rounds.values()]
    first = summary.epochs[0]
    assert epochs == [{first}, {first + 1}, {first + 2}] and summary.epochs == (first, first + 1, first + 2)
    for number, each in rounds.items():
        assert {instance['track_id'] for record in each for instance in record['instances']} == {1, 2}
        assert all(record['instances'][0]['class_name'] == 'red' for record in each)
        assert {record['index'] // frames for record in each} == {number - 1}
        assert all(record['name'] == f'image {record["index"] % frames}' for record in each)
    assert summary.identities == 6


def test_the_clock_runs_with_the_images_and_goes_back_with_each_round(nodes, graph, tmp_path):
    write_bag(tmp_path / 'bag')
    clocks = []
    graph.node.create_subscription(Clock, '/clock', clocks.append, 1000)
    end = threading.Event()
    spinning = threading.Thread(target=lambda: graph.spin_until(end.is_set))
    spinning.start()
    play(tmp_path / 'bag', tmp_path / 'out', loop=2)
    end.set()
    spinning.join()
    times = np.array([clock.clock.sec * 10**9 + clock.clock.nanosec for clock in clocks])
    (back,) = np.flatnonzero(np.diff(times) < 0)
    for each in (times[: back + 1], times[back + 1 :]):
        assert START_NS - 10**9 < each[0] <= START_NS + DELAY_NS
        recorded = START_NS + DELAY_NS + np.arange(FRAMES) * PERIOD_NS
        assert each[-1] >= recorded[-1]
        assert np.searchsorted(each, recorded).max() < len(each)
    assert len(times) > 2 * FRAMES


def test_images_that_a_slow_node_drops_are_counted(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    summary = play(tmp_path / 'bag', tmp_path / 'out', node='/robot/vis_node', topic='/camera/image', rate=1.0)
    assert summary.dropped > FRAMES / 3 and summary.received > 2
    assert summary.sent == FRAMES == summary.received + summary.dropped + summary.lost and summary.lost == 0
    found = records(tmp_path / 'out')
    assert len(found) == summary.received and found[-1]['index'] == FRAMES - 1, 'the newest is never dropped'
    for record in found:
        assert record['instances'][0]['box'][0] == 2 + record['index'], 'the answer belongs to this image'


def test_cameras_of_the_node_and_stamps_of_zero(nodes, tmp_path):
    write_bag(tmp_path / 'bag', ('/front/image', '/elsewhere'), stamp=lambda index: 0)
    summary = play(
        tmp_path / 'bag', tmp_path / 'out', node='two', cameras={'front': 'front/image', 'left': '/elsewhere'}
    )
    assert (summary.sent, summary.received) == (2 * FRAMES, 2 * FRAMES)
    for name in ('front', 'left'):
        found = records(tmp_path / 'out' / name)
        assert [record['index'] for record in found] == list(range(FRAMES))
        assert found[0]['stamp_ns'] == START_NS + DELAY_NS, 'the time of recording'
        assert len(messages(tmp_path / 'out', f'/two/{name}/instances')) == FRAMES


def test_an_image_folder(nodes, tmp_path):
    (tmp_path / 'frames').mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(tmp_path / 'frames' / f'{index}.png'), scene(index))
    summary = play(tmp_path / 'frames', tmp_path / 'out')
    assert (summary.sent, summary.received) == (FRAMES, FRAMES)
    found = records(tmp_path / 'out')
    assert [record['name'] for record in found] == [f'{index}.png' for index in range(FRAMES)]
    assert [record['stamp_ns'] for record in found] == [round(index / 30 * 1e9) for index in range(FRAMES)]
    assert found[20]['instances'][0]['box'] == [22, 4, 32, 14]


def test_the_command_prints_what_came_back(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    command = ['replay', tmp_path / 'bag', '--live', '--out', tmp_path / 'out', '--rate', '2', '--loop', '2']
    result = subprocess.run(
        [sys.executable, '-m', 'vis_ros.cli', *map(str, command)],
        env=os.environ | {'PYTHONPATH': str(PACKAGE_ROOT), 'COLUMNS': '200'},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert '/camera/image on /camera/image' in result.stdout
    printed = {name.strip(): value.strip() for name, value in re.findall('│(.*?)│(.*?)│', result.stdout)}
    live = json.loads((tmp_path / 'out' / 'run.json').read_text())['live']
    assert printed['images sent'] == '60' == str(live['sent'])
    assert printed['answered'].startswith(f'{live["received"]} ')
    assert printed['epochs'] == ', '.join(map(str, live['epochs'])) and len(live['epochs']) == 2
    assert printed['latency p50, p95, p99'].startswith(f'{live["latency_percentiles_ms"][0]:.1f}, ')
    assert 'on /clock' in printed['latency that the node tells']


def test_compressed_images(start, tmp_path):
    start(RECTANGLE_NODE, '-r', '__node:=other', '-r', 'image:=/cam', '-p', 'image_transport:=compressed')
    write_bag(tmp_path / 'bag', ('/cam/compressed', '/cam'))
    summary = play(tmp_path / 'bag', tmp_path / 'out', node='/other')
    assert (summary.sent, summary.received) == (FRAMES, FRAMES)


# --- what can go wrong ------------------------------------------------------------------------------------------------


def test_a_node_that_is_not_there(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    with pytest.raises(TimeoutError, match='there is no node /nobody in ROS domain'):
        play(tmp_path / 'bag', tmp_path / 'out', node='/nobody', patience=Patience(appear=1))
    assert not (tmp_path / 'out').exists()


def test_a_node_that_is_not_active(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    with pytest.raises(TimeoutError, match=r'/idle is there, but is unconfigured .*ros2 lifecycle set /idle configure'):
        play(tmp_path / 'bag', tmp_path / 'out', node='/idle', patience=Patience(ready=2))


def test_a_node_that_cannot_work(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    with pytest.raises(ConnectionError, match=r"/lame cannot work: .*device is 'banana'"):
        play(tmp_path / 'bag', tmp_path / 'out', node='/lame', patience=Patience(ready=30))


def test_a_camera_that_publishes_too(nodes, graph, tmp_path):
    write_bag(tmp_path / 'bag', frames=300)
    graph.send(scene(0), topic='/camera/image')
    summary = play(tmp_path / 'bag', tmp_path / 'out', rate=1.0)
    assert re.search('(/tester|another node) publishes on /camera/image too', summary.stopped_early)
    assert summary.sent < 300


def test_a_recording_too_short_to_loop(nodes, tmp_path):
    write_bag(tmp_path / 'bag', frames=10)
    summary = play(tmp_path / 'bag', tmp_path / 'out', loop=2)
    assert '0.4 s only' in summary.stopped_early and summary.received == 10


def test_a_recording_that_breaks_off(nodes, tmp_path):
    write_bag(tmp_path / 'bag', frames=200)
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    (file,) = (tmp_path / 'bag').iterdir()
    os.truncate(file, file.stat().st_size * 9 // 10)
    summary = play(tmp_path / 'bag', tmp_path / 'out', rate=5.0)
    assert 'breaks off' in summary.stopped_early
    assert 10 < summary.sent < 200 and len(records(tmp_path / 'out')) == summary.received > 0


def test_a_node_that_goes_away(start, tmp_path):
    write_bag(tmp_path / 'bag')
    node = start(RECTANGLE_NODE, '-r', '__node:=mortal', '-r', 'image:=/mortal/image')
    sent = []

    def end_half_way():
        sent.append(1)
        if len(sent) == FRAMES // 2:
            node.signal(signal.SIGTERM)
            node.end()

    summary = play(tmp_path / 'bag', tmp_path / 'out', node='/mortal', on_image=end_half_way)
    assert summary.stopped_early == '/mortal went away' and summary.sent < FRAMES
    assert len(records(tmp_path / 'out')) == summary.received > 0


def test_an_interrupt_ends_the_playing_and_keeps_what_came(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    sent = []

    def interrupt():
        sent.append(1)
        if len(sent) in (10, 11):
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background of a script
    summary = play(tmp_path / 'bag', tmp_path / 'out', on_image=interrupt)
    assert summary.stopped_early == INTERRUPTED and summary.sent < FRAMES
    assert len(records(tmp_path / 'out')) == summary.received > 0
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize('images', [0, 1])
def test_an_interrupt_before_anything_came_back(nodes, tmp_path, images):
    """While the node is being introduced, and with the first image on its way."""
    write_bag(tmp_path / 'bag')

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    if images:
        summary = play(tmp_path / 'bag', tmp_path / 'out', node='robot/vis_node', on_image=interrupt)
        assert (summary.sent, summary.received, summary.lost, summary.latency_ms) == (1, 0, 1, None)
        assert records(tmp_path / 'out') == [] and json.loads((tmp_path / 'out' / 'run.json').read_text())['live']
    else:
        with pytest.raises(KeyboardInterrupt):
            play(tmp_path / 'bag', tmp_path / 'out', node='robot/vis_node', on_ready=interrupt)
