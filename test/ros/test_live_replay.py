"""Live replay to the real node in a process of its own, over DDS.

A busy machine drops images, so nothing here depends on which ones the node replies to, or when.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.processes import PACKAGE_ROOT, RECTANGLE_NODE
from helpers.python_path import python_path
from helpers.rectangle_scene import (
    DELAY_NS,
    FRAMES,
    START_NS,
    expected_records,
    scene,
    stamp_of,
    write_bag,
)
from helpers.rectangles import RED, draw
from helpers.video_packets import COMPRESSED as VIDEO
from helpers.video_packets import encode, packet_message, typestore
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from vis_ros.msg import InstanceMaskArray

from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.topics import IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.live.live_replay import replay_live
from vis_ros.replay.live.live_session import Timeouts
from vis_ros.replay.live.player import open_player
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.replay.live.timed_images import open_timed_images
from vis_ros.ros.stamps import nanoseconds

HANG_S = 300.0
"""Only limits how long a test hangs."""

PATIENT = Timeouts(appear=HANG_S, active=HANG_S, first_reply=HANG_S)


@pytest.fixture(scope='module')
def nodes(start_for_module):
    """One on simulated time, one with two cameras, one for video, a slow one, an inactive one, one that cannot work."""
    start_for_module(RECTANGLE_NODE, '-r', 'image:=/camera/image', '-p', 'use_sim_time:=true')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=two', '-p', 'cameras:=[front, left]')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=film', '-p', 'cameras:=[eye]', '-p', 'image_transport:=compressed')
    start_for_module(RECTANGLE_NODE, '-r', '__ns:=/robot', VIS_TEST_INFER_S='0.15')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=idle', '-p', 'autostart:=false')
    start_for_module(RECTANGLE_NODE, '-r', '__node:=lame', '-p', 'device:=banana')
    with open_player('test', threading.Event()) as player:
        for name in ('/vis_node', '/two', '/film', '/robot/vis_node'):
            RunningNode(player, name).wait_until_active(HANG_S, HANG_S)


@pytest.fixture(autouse=True)
def environment():
    """The replay sets what ROS needs in the environment of its process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def at_reply(monkeypatch):
    """Call it with a number and an action: runs the action while that reply is recorded, before any other."""

    def arrange(number, action):
        write, count = BagWriter.write, 0

        def recording(bag, topic, recorded_ns, data):
            nonlocal count
            write(bag, topic, recorded_ns, data)
            count += topic.endswith('/instances')
            if count == number:
                count += 1
                action()

        monkeypatch.setattr(BagWriter, 'write', recording)

    return arrange


def play(source, out, **options):
    return replay_live(open_timed_images(source), out, **{'rate': 2.0, 'timeouts': PATIENT} | options)


def read_records(folder):
    return [json.loads(line) for line in (folder / 'results.jsonl').read_text().splitlines()]


def read_messages(out, topic, kind=INSTANCES_TYPE):
    """(time of recording, serialized message) of a topic in the bag."""
    reader = BagReader(out / 'bag')
    return [(at, data) for _, at, data in reader.messages([t for t in reader.of_type(kind) if t.name == topic])]


def checked_records(folder, *, out=None, topic='/vis_node/instances', frames=FRAMES, rounds=1, sent=None):
    """The lines of results.jsonl of one camera, after checking what holds whatever was dropped.

    There is at least one result per round. Results are in order, each belongs to one image and to one message in the
    bag, and they are those of the tracker for the images that the node processed. The node reports no more images as
    dropped than are missing.
    """
    records, sent = read_records(folder), sent or rounds * frames
    indices = [record['index'] for record in records]
    assert indices == sorted(set(indices)) and 0 <= indices[0] <= indices[-1] < sent
    assert [record['round'] for record in records] == [1 + index // frames for index in indices]
    epochs = [
        sorted({record['epoch'] for record in records if record['round'] == number + 1}) for number in range(rounds)
    ]
    assert all(len(each) == 1 for each in epochs) and epochs == sorted(epochs)
    for number in range(rounds):
        own = [record for record in records if record['round'] == number + 1]
        assert own == expected_records(own, frames)
    arrays = [deserialize_message(data, InstanceMaskArray) for _, data in read_messages(out or folder, topic)]
    assert [nanoseconds(array.header.stamp) for array in arrays] == [max(record['stamp_ns'], 1) for record in records]
    missing = np.array(indices) - np.arange(len(indices))
    dropped = np.cumsum([array.dropped for array in arrays])
    assert all(dropped <= missing), 'reported as dropped, but a result was received'
    assert arrays[0].sequence == 1, 'the node was reset after it had connected'
    return records


def check_counts(summary, sent, received):
    assert (summary.sent, summary.received) == (sent, received)
    assert summary.dropped >= 0 and summary.lost >= 0 and summary.unknown == summary.skipped == 0
    assert summary.sent == summary.received + summary.dropped + summary.lost


def test_results_belong_to_their_images_and_are_counted(nodes, tmp_path):
    written = write_bag(tmp_path / 'bag')
    published = []
    summary = play(tmp_path / 'bag', tmp_path / 'out', copy_images=True, on_image=lambda: published.append(1))
    records = checked_records(tmp_path / 'out')
    check_counts(summary, FRAMES, len(records))
    assert len(published) == FRAMES and summary.stopped_early == summary.no_results_json == ''
    assert [record['name'] for record in records] == [f'image {record["index"]}' for record in records]
    assert [record['stamp_ns'] for record in records] == [stamp_of(record['index']) for record in records]
    assert [record['instances'][0]['box'][0] for record in records] == [2 + record['index'] for record in records]

    images = read_messages(tmp_path / 'out', '/camera/image', IMAGE_TYPE)
    assert [data for _, data in images] == written, 'every image that was published is copied'
    sent_ns = [at for at, _ in images]
    received_ns = [at for at, _ in read_messages(tmp_path / 'out', '/vis_node/instances')]
    assert all(sent_ns[record['index']] < received for record, received in zip(records, received_ns, strict=True))
    run = json.loads((tmp_path / 'out' / 'run.json').read_text())
    live = run['live']
    assert (live['sent'], live['received'], live['unknown']) == (FRAMES, len(records), 0)
    assert live['dropped'] + live['lost'] == FRAMES - len(records)
    assert len(live['latency_ms']) == len(records) and min(live['latency_ms']) > 0
    assert live['latency_percentiles_ms'][0] == pytest.approx(np.median(live['latency_ms']), abs=0.01)
    assert run['engine'] == 'opencv' and run['frames'] == len(records)
    assert run['settings']['use_sim_time'] is True and run['settings']['cameras'] == ['']
    assert run['class_names'] == class_names(records)
    p50 = summary.node_latency_percentiles_ms[0]
    assert 0 < p50 < 1e9, 'the time is that of /clock, not since 1970'


def class_names(records):
    """Names by class id, as far as the results have them."""
    names = {each['class_id']: each['class_name'] for record in records for each in record['instances']}
    return [names.get(number, f'class {number}') for number in range(max(names) + 1)]


@pytest.mark.parametrize('options', [{}, {'node': 'two', 'cameras': {'left': 'camera/image'}}])
def test_each_round_starts_an_epoch_without_tracks(nodes, tmp_path, options):
    """On simulated time, and on the wall clock, where only the stamps go back."""
    frames = 20
    write_bag(tmp_path / 'bag', frames=frames)
    summary = play(tmp_path / 'bag', tmp_path / 'out', loop=3, **options)
    topic = '/two/left/instances' if options else '/vis_node/instances'
    records = checked_records(tmp_path / 'out', topic=topic, frames=frames, rounds=3)
    check_counts(summary, 3 * frames, len(records))
    first = summary.epochs[0]
    assert summary.epochs == (first, first + 1, first + 2)
    assert all(record['name'] == f'image {record["index"] % frames}' for record in records)
    tracks = {(record['epoch'], each['track_id']) for record in records for each in record['instances']}
    assert summary.identities == len(tracks)
    assert {epoch for epoch, track_id in tracks if track_id == 1} == set(summary.epochs)


def test_the_clock_runs_with_the_images_and_goes_back_with_each_round(nodes, graph, tmp_path):
    """Which message precedes which image is tested in test_replay_live.py."""
    write_bag(tmp_path / 'bag')
    clocks = []
    graph.node.create_subscription(Clock, '/clock', clocks.append, 1000)
    end = threading.Event()
    spinning = threading.Thread(target=lambda: graph.spin_until(end.is_set, HANG_S))
    spinning.start()
    summary = play(tmp_path / 'bag', tmp_path / 'out', loop=2)
    end.set()
    spinning.join()
    assert summary.stopped_early == ''
    times = np.array([clock.clock.sec * 10**9 + clock.clock.nanosec for clock in clocks])
    (back,) = np.flatnonzero(np.diff(times) < 0)
    rounds = times[: back + 1], times[back + 1 :]
    for each in rounds:
        assert each[0] > START_NS + DELAY_NS - 10**9, 'it starts shortly before the first image'
        assert each[0] < each[-1]
    assert times.max() >= stamp_of(FRAMES - 1) + DELAY_NS


def test_images_that_a_slow_node_drops_are_counted(nodes, tmp_path):
    """At 100 Hz, the node would need 4.5 s for all images."""
    write_bag(tmp_path / 'bag')
    summary = play(tmp_path / 'bag', tmp_path / 'out', node='/robot/vis_node', topic='/camera/image', rate=4.0)
    records = checked_records(tmp_path / 'out', topic='/robot/vis_node/instances')
    check_counts(summary, FRAMES, len(records))
    played_s = (FRAMES - 1) / summary.rate_hz
    assert len(records) <= 2 + played_s / 0.15, 'no more than the node has time for, and the newest one'
    assert [record['instances'][0]['box'][0] for record in records] == [2 + record['index'] for record in records]


def test_a_video_with_b_frames_that_starts_between_key_frames(nodes, tmp_path):
    images = [draw((2 + 2 * index, 10, 18 + 2 * index, 26, RED), height=48, width=96) for index in range(30)]
    packets, store = encode(images, gop=10, b_frames=2)[5:], typestore()
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/eye/image/compressed', VIDEO)
        for place, (index, is_key, data) in enumerate(packets):
            message = packet_message(VIDEO, data, START_NS + index * 10**8, store=store, is_key=is_key)
            bag.write('/eye/image/compressed', START_NS + place * 10**8, message)
    summary = play(tmp_path / 'bag', tmp_path / 'out', node='film', timeouts=replace(PATIENT, drain=3.0))
    offline = {frame.stamp_ns: frame.index for frame in open_recording(tmp_path / 'bag')}
    records = read_records(tmp_path / 'out')
    assert (summary.sent, summary.received) == (25, len(records)) and summary.stopped_early == ''
    assert summary.unknown <= 1, 'the decoder may hold the image that connects until the next key frame'
    assert [record['index'] for record in records] == [offline[record['stamp_ns']] for record in records]
    assert [record['index'] for record in records] == sorted({record['index'] for record in records})
    assert len({index for index, *_ in packets if index % 3} & {place_of(record) for record in records}) > 5
    for record in records:
        assert abs(record['instances'][0]['box'][0] - (2 + 2 * place_of(record))) <= 2
    for row in json.loads((tmp_path / 'out' / 'results.json').read_text()):
        assert len(row['segmentations']) == 25


def place_of(record):
    """The position of the image of a record in the film."""
    return (record['stamp_ns'] - START_NS) // 10**8


def test_several_cameras_and_stamps_of_zero(nodes, tmp_path):
    write_bag(tmp_path / 'bag', ('/front/image', '/elsewhere'), stamp=lambda index: 0)
    summary = play(
        tmp_path / 'bag', tmp_path / 'out', node='two', cameras={'front': 'front/image', 'left': '/elsewhere'}
    )
    received = 0
    for name in ('front', 'left'):
        records = checked_records(tmp_path / 'out' / name, out=tmp_path / 'out', topic=f'/two/{name}/instances')
        assert all(record['stamp_ns'] == stamp_of(record['index']) + DELAY_NS for record in records), (
            'the time of recording'
        )
        received += len(records)
    check_counts(summary, 2 * FRAMES, received)


def test_an_image_folder(nodes, tmp_path):
    (tmp_path / 'frames').mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(tmp_path / 'frames' / f'{index}.png'), scene(index))
    summary = play(tmp_path / 'frames', tmp_path / 'out')
    records = checked_records(tmp_path / 'out')
    check_counts(summary, FRAMES, len(records))
    assert [record['name'] for record in records] == [f'{record["index"]}.png' for record in records]
    assert [record['stamp_ns'] for record in records] == [round(record['index'] / 30 * 1e9) for record in records]


def test_compressed_images(start, tmp_path):
    start(RECTANGLE_NODE, '-r', '__node:=other', '-r', 'image:=/cam', '-p', 'image_transport:=compressed')
    write_bag(tmp_path / 'bag', ('/cam/compressed', '/cam'))
    summary = play(tmp_path / 'bag', tmp_path / 'out', node='/other')
    check_counts(summary, FRAMES, len(checked_records(tmp_path / 'out', topic='/other/instances')))


def test_the_command_prints_the_figures(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    command = ['replay-live', tmp_path / 'bag', '--out', tmp_path / 'out', '--rate', '2', '--loop', '2']
    result = subprocess.run(
        [sys.executable, '-m', 'vis_ros.cli', *map(str, command)],
        env=os.environ | {'PYTHONPATH': python_path(PACKAGE_ROOT), 'COLUMNS': '200'},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert result.returncode == 0, result.stderr
    assert '/camera/image on /camera/image' in result.stdout
    printed = {name.strip(): value.strip() for name, value in re.findall('│(.*?)│(.*?)│', result.stdout)}
    live = json.loads((tmp_path / 'out' / 'run.json').read_text())['live']
    assert printed['images sent'] == '60' == str(live['sent'])
    assert printed['results received'].startswith(f'{live["received"]} ')
    assert printed['dropped by the node for newer images'] == str(live['dropped'])
    assert printed['lost'] == str(live['lost'])
    assert printed['epochs'] == ', '.join(map(str, live['epochs'])) and len(live['epochs']) == 2
    assert printed['latency p50, p95, p99'].startswith(f'{live["latency_percentiles_ms"][0]:.1f}, ')
    assert 'on /clock' in printed['latency reported by the node']


# --- what can go wrong ------------------------------------------------------------------------------------------------


def test_a_node_that_does_not_exist(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    with pytest.raises(TimeoutError, match='there is no node /nobody in ROS domain'):
        play(tmp_path / 'bag', tmp_path / 'out', node='/nobody', timeouts=Timeouts(appear=1))
    assert not (tmp_path / 'out').exists()


def test_a_node_that_is_not_active(nodes, tmp_path):
    """It publishes its state every second."""
    write_bag(tmp_path / 'bag')
    expected = r'/idle exists, but is unconfigured .*ros2 lifecycle set /idle configure'
    with pytest.raises(TimeoutError, match=expected):
        play(tmp_path / 'bag', tmp_path / 'out', node='/idle', timeouts=Timeouts(appear=HANG_S, active=10))


def test_a_node_that_cannot_work(nodes, tmp_path):
    write_bag(tmp_path / 'bag')
    with pytest.raises(ConnectionError, match=r"/lame cannot work: .*device is 'banana'"):
        play(tmp_path / 'bag', tmp_path / 'out', node='/lame')


def test_a_camera_that_also_publishes(nodes, graph, tmp_path):
    """The replay ends as soon as DDS has discovered the other publisher."""
    write_bag(tmp_path / 'bag', frames=300)
    graph.send(scene(0), topic='/camera/image')
    summary = play(tmp_path / 'bag', tmp_path / 'out', rate=0.2)
    assert re.search('(/tester|another node) also publishes on /camera/image', summary.stopped_early)
    assert summary.sent < 300


def test_a_recording_too_short_to_loop(nodes, tmp_path):
    write_bag(tmp_path / 'bag', frames=10)
    summary = play(tmp_path / 'bag', tmp_path / 'out', loop=2)
    assert 'span only 0.4 s' in summary.stopped_early
    check_counts(summary, 10, len(checked_records(tmp_path / 'out', frames=10)))


def test_a_recording_that_breaks_off(nodes, tmp_path):
    write_bag(tmp_path / 'bag', frames=200)
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    (file,) = (tmp_path / 'bag').iterdir()
    os.truncate(file, file.stat().st_size * 9 // 10)
    summary = play(tmp_path / 'bag', tmp_path / 'out', rate=5.0)
    assert 'breaks off' in summary.stopped_early and 10 < summary.sent < 200
    records = checked_records(tmp_path / 'out', frames=200, sent=summary.sent)
    check_counts(summary, summary.sent, len(records))


def test_a_node_that_ends(start, at_reply, tmp_path):
    """The replay ends as soon as DDS has noticed that the node is gone."""
    write_bag(tmp_path / 'bag', frames=300)
    node = start(RECTANGLE_NODE, '-r', '__node:=mortal', '-r', 'image:=/mortal/image')

    def end_node():
        node.signal(signal.SIGTERM)
        node.end(HANG_S)

    at_reply(3, end_node)
    summary = play(tmp_path / 'bag', tmp_path / 'out', node='/mortal', rate=0.5)
    assert summary.stopped_early == '/mortal is gone' and summary.sent < 300
    records = checked_records(tmp_path / 'out', topic='/mortal/instances', frames=300, sent=summary.sent)
    assert len(records) == summary.received >= 3


def test_an_interrupt_ends_the_replay_and_keeps_the_results(nodes, at_reply, tmp_path):
    write_bag(tmp_path / 'bag', frames=300)

    def interrupt_twice():  # as a terminal and `ros2 launch` do together
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_reply(3, interrupt_twice)
    handler = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background of a script
    summary = play(tmp_path / 'bag', tmp_path / 'out', rate=0.5)
    assert summary.stopped_early == INTERRUPTED and summary.received == 3 <= summary.sent < 300
    assert len(checked_records(tmp_path / 'out', frames=300, sent=summary.sent)) == 3
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_replay_connects_although_the_node_has_just_seen_slightly_newer_stamps(nodes, at_reply, tmp_path):
    """The node drops images whose stamps go back by less than half a second, unless it has been reset."""
    write_bag(tmp_path / 'bag')
    at_reply(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert play(tmp_path / 'bag', tmp_path / 'out').stopped_early == INTERRUPTED
    summary = play(tmp_path / 'bag', tmp_path / 'out')
    check_counts(summary, FRAMES, len(checked_records(tmp_path / 'out')))


@pytest.mark.parametrize('images', [0, 1])
def test_an_interrupt_before_the_first_result(nodes, tmp_path, images):
    """While the node is being connected, and right after the first image was published."""
    write_bag(tmp_path / 'bag')

    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    if images:
        summary = play(tmp_path / 'bag', tmp_path / 'out', node='robot/vis_node', on_image=interrupt)
        assert (summary.sent, summary.received, summary.lost) == (1, 0, 1)
        assert summary.latency_percentiles_ms is None and summary.node_latency_percentiles_ms is None
        assert read_records(tmp_path / 'out') == [] and json.loads((tmp_path / 'out' / 'run.json').read_text())['live']
    else:
        with pytest.raises(KeyboardInterrupt):
            play(tmp_path / 'bag', tmp_path / 'out', node='robot/vis_node', on_ready=interrupt)
