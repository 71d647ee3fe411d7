"""`vis-ros replay` on the command line with a detector that computes from the pixels: options, exit codes, messages."""

import json
import os
import re
import signal
import sys
from dataclasses import asdict

import cv2
import pytest
from helpers.color_propagator import ColorPropagators
from helpers.delayed_propagators import DelayedPropagators
from helpers.in_this_process import in_this_process
from helpers.rectangles import BLUE, RED, RectangleEngine, draw
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from vis_ros.msg import InstanceMaskArray

from vis_ros.cli import main
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.fleet.library_tables import TABLES
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.topics import IMAGE_TYPE
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import to_time
from vis_ros.tracking.settings import Settings


@pytest.fixture
def replay(monkeypatch, capsys, tmp_path):
    """Call it with arguments; returns (exit code, standard output, standard error)."""
    monkeypatch.setattr('vis_ros.tracking.model.load_engine', lambda *arguments, **_: RectangleEngine(*arguments))
    monkeypatch.setenv('COLUMNS', '200')
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['vis-ros', 'replay', *map(str, arguments), '--codec', 'mp4v'])
        with pytest.raises(SystemExit) as caught:
            main.main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return call


def row(name, value):
    """A line of the table, whose columns are as wide as they must be."""
    return re.compile(rf'│ {re.escape(name)} +│ {value} ')


def write_bag(path, topics=('/image',), count=10, size=(48, 64)):
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, IMAGE_TYPE)
        for index in range(count):
            for topic in topics:
                pixels = draw((index, 5, index + 10, 15, RED), (40, 20, 50, 30, BLUE), height=size[0], width=size[1])
                message = to_image(pixels, 'bgr8', Header(stamp=to_time(10**9 + index * 10**8)))
                bag.write(topic, index * 10**8, serialize_message(message))
    return path


def topics(bag):
    return [topic.name for topic in BagReader(bag).topics]


def test_a_bag_with_one_topic(replay, tmp_path):
    code, output, error = replay(write_bag(tmp_path / 'recording'), '--weights', 'some/where.safetensors')
    assert (code, error) == (0, '')
    assert row('images', 10).search(output) and row('track ids', 2).search(output)
    assert 'skipped' not in output
    assert topics(tmp_path / 'replay' / 'bag') == ['/vis_node/annotations', '/vis_node/instances']
    run = json.loads((tmp_path / 'replay' / 'run.json').read_text())
    assert run['source'] == str(tmp_path / 'recording') and run['cameras'] == {'': '/image'}
    assert (run['model'], run['weights']) == ('rectangles (where)', 'some/where.safetensors')
    assert (run['engine'], run['device'], run['precision']) == ('opencv', 'cpu', 'uint8')
    assert run['settings'] == asdict(Settings(weights='some/where.safetensors')) and run['stride'] == 1


def test_a_library(replay, tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.cli.replay.runner', lambda *_: in_this_process)
    for name in ('b', 'a'):
        write_bag(tmp_path / 'library' / name, count=4)
    (tmp_path / 'library' / 'broken.mp4').write_bytes(b'no video')
    code, output, error = replay('library', '--out', 'results', '--no-pictures')
    assert (code, error) == (1, '')
    assert 'library: 3 recordings, 1 s' in output and '3 recordings: 0 already done, 1 broken; 8 images' in output
    assert re.search(r'│ broken.mp4 +│ +│ 0 .*│ broken +│', output)
    line = r'^broken broken\.mp4: library/broken\.mp4 is not a video .* ffmpeg -i library/broken\.mp4 .* NEW\.mp4$'
    assert re.search(line, output, re.MULTILINE), 'in one line, so that the command can be copied'
    assert not list((tmp_path / 'results').rglob('*.mp4')), 'no pictures'
    code, output, error = replay('library/?', '--out', 'other', '--part', '1/2')
    assert code == 0 and '1 recording: 0 already done, 0 broken; 4 images' in output and 'Tables' not in output
    code, output, error = replay('library/?', '--out', 'other')
    assert code == 0 and '2 recordings: 1 already done, 0 broken; 8 images' in output
    assert all((tmp_path / 'other' / f'{name}.parquet').exists() and f'{name}.parquet' in output for name in TABLES)
    code, _, error = replay('library/?', '--out', 'other', '--min-hits', '5')
    assert code == 1 and 'made differently (a: settings; b: settings)' in error and '--redo' in error
    code, output, _ = replay('library/?', '--out', 'other', '--min-hits', '5', '--redo')
    assert code == 0 and '0 already done' in output
    code, _, error = replay('library', '--only', 'a')
    assert code == 1 and 'this is a library' in error


def test_a_single_recording_replaces_the_files_of_a_library(replay, tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.cli.replay.runner', lambda *_: in_this_process)
    for name, count in (('a', 4), ('b', 3)):
        write_bag(tmp_path / 'library' / name, count=count)
    assert replay('library', '--out', 'out', '--no-pictures')[0] == 0
    assert [video.length for video in open_annotations(tmp_path / 'out').videos] == [4, 3]
    assert replay('library/b', '--out', 'out', '--no-pictures')[0] == 0
    assert [video.length for video in open_annotations(tmp_path / 'out').videos] == [3], 'the newest'
    assert not list((tmp_path / 'out').glob('*.parquet')), 'no tables of other results'
    assert (tmp_path / 'out' / 'a' / 'results.jsonl').exists(), 'runs of their own'


def test_an_unknown_place_for_workers_is_refused(replay, tmp_path):
    write_bag(tmp_path / 'library' / 'a')
    code, _, error = replay('library', '--on', 'head:10001')
    assert code == 1 and "--on 'head:10001' is not ray, auto or ray://HOST:PORT" in error


def test_a_propagation_model_starts_from_detections(replay, tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.tracking.model.load_propagation_model', ColorPropagators)
    bag = write_bag(tmp_path / 'recording', size=(96, 160))
    code, output, error = replay(bag, '--model', 'feelvos', '--propagation-weights', 'some.safetensors')
    assert (code, error) == (0, '') and row('track ids', 2).search(output)
    run = json.loads((tmp_path / 'replay' / 'run.json').read_text())
    assert (run['model'], run['propagation']) == ('feelvos', 'colors: numpy')
    assert run['class_names'] == ['blue', 'green', 'red', 'object']
    code, _, error = replay(bag, '--propagation-weights', 'some.safetensors')
    assert code == 1 and "propagation_weights is 'some.safetensors', but model 'auto' propagates no masks" in error


def test_a_delayed_model_gets_the_next_image_and_writes_every_frame_with_its_own_stamp(replay, tmp_path, monkeypatch):
    made = []

    def load(*arguments, **options):
        made.append(DelayedPropagators(*arguments, **options))
        return made[-1]

    monkeypatch.setattr('vis_ros.tracking.model.load_propagation_model', load)
    bag = write_bag(tmp_path / 'recording', size=(96, 160), count=5)
    code, _, error = replay(bag, '--model', 'maskrnn', '--delayed', '--copy-images')
    assert (code, error) == (0, '')
    assert made[0].seen == [(1, 2), (2, 3), (3, 4), (4, None)]  # the object starts in the first image
    lines = [json.loads(line) for line in (tmp_path / 'replay' / 'results.jsonl').read_text().splitlines()]
    assert [line['stamp_ns'] for line in lines] == [10**9 + index * 10**8 for index in range(5)]
    red = [next(each for each in line['instances'] if each['class_name'] == 'red') for line in lines]
    assert [each['box'][0] for each in red] == pytest.approx(range(5), abs=0.5)
    code, _, error = replay(bag, '--model', 'feelvos', '--delayed')
    assert code == 1 and "delayed is set, but model 'feelvos' does not use the next image" in error


def test_lost_objects_are_in_the_bag_only(replay, tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.tracking.model.load_propagation_model', ColorPropagators)
    (tmp_path / 'frames').mkdir()
    for index in range(6):
        objects = [] if index in (2, 3) else [(10, 20, 34, 44, RED)]
        cv2.imwrite(str(tmp_path / 'frames' / f'{index}.png'), draw(*objects, height=96, width=160))
    code, _, error = replay('frames', '--model', 'rgmp')
    assert (code, error) == (0, '')
    lines = [json.loads(line) for line in (tmp_path / 'replay' / 'results.jsonl').read_text().splitlines()]
    assert [[each['track_id'] for each in line['instances']] for line in lines] == [[1], [1], [], [], [1], [1]]
    (row,) = json.loads((tmp_path / 'replay' / 'results.json').read_text())
    assert [each is not None for each in row['segmentations']] == [True, True, False, False, True, True]
    states = []
    bag = BagReader(tmp_path / 'replay' / 'bag')
    for _, _, data in bag.messages([topic for topic in bag.topics if topic.name == '/vis_node/instances']):
        states += [each.state for each in deserialize_message(data, InstanceMaskArray).instances]
    assert states == [1, 1, 2, 2, 1, 1]


def test_several_cameras_with_their_images(replay, tmp_path):
    bag = write_bag(tmp_path / 'recording', ['/front/image', '/usb/image_raw'])
    code, _, error = replay(bag, '--camera', 'front', '--camera', 'rear=usb/image_raw', '--copy-images', '--stride', 3)
    assert (code, error) == (0, '')
    assert topics(tmp_path / 'replay' / 'bag') == [
        '/front/image', '/usb/image_raw', '/vis_node/front/annotations', '/vis_node/front/instances',
        '/vis_node/rear/annotations', '/vis_node/rear/instances',
    ]  # fmt: skip
    assert [topic.count for topic in BagReader(tmp_path / 'replay' / 'bag').topics] == [4] * 6


def test_skips_and_warnings_are_printed(replay, tmp_path):
    (tmp_path / 'frames').mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / 'frames' / f'{index}.png'), draw())
    (tmp_path / 'frames' / '1.png').write_bytes(b'')
    code, output, error = replay('frames')
    assert (code, error) == (0, '') and '1 (1 unreadable). The last one: frames/1.png cannot be decoded' in output
    with BagWriter(tmp_path / 'recording') as bag:
        bag.add_topic('/image', IMAGE_TYPE)
        for number, stamp in enumerate((20, 21, 5, 6)):
            message = to_image(draw(), 'bgr8', Header(stamp=to_time(stamp * 10**9)))
            bag.write('/image', number, serialize_message(message))
    code, output, error = replay('recording')
    assert (code, error) == (0, '') and row('images: clock set back', 1).search(output)


def test_a_bag_that_breaks_off_is_an_error_with_results(replay, tmp_path):
    bag = write_bag(tmp_path / 'recording', size=(480, 640))
    file = bag / 'recording.mcap'
    file.write_bytes(file.read_bytes()[:-5])
    code, output, error = replay(file)
    assert code == 1 and row('images', 10).search(output)
    assert error.startswith(f'vis-ros: {file} breaks off at byte') and 'The files in replay are complete up to' in error


def test_ctrl_c_is_not_a_success(replay, tmp_path, monkeypatch):
    monkeypatch.setattr(RectangleEngine, 'infer', interrupting(RectangleEngine.infer))
    code, output, error = replay(write_bag(tmp_path / 'recording'))
    assert (code, error) == (130, '') and 'Interrupted. The files in replay are complete up to there' in output
    assert json.loads((tmp_path / 'replay' / 'run.json').read_text())['stopped_early'] == 'interrupted'


def interrupting(infer):
    calls = []

    def call(self, images):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return infer(self, images)

    return call


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{two}'], 'choose one with --topic (or each with --camera): /a/image (Image, 1), /b/image (Image, 1)'),
        (['{two}', '--topic', '/c'], 'has no images on the topic /c; it has /a/image (Image, 1), /b/image (Image, 1)'),
        (['{two}', '--camera', 'c'], 'has no images on the topic /c/image or /c/image/compressed; it has /a/image'),
        (['{two}', '--camera', 'a', '--topic', '/b/image'], 'give only one of the two'),
        (['{two}', '--camera', 'a', '--camera', 'a=/b/image'], '--camera a=/b/image: there already is a camera a'),
        (['{two}', '--camera', '=/b/image'], "--camera =/b/image: '' is not a ROS name"),
        (['{two}', '--camera', 'my-cam'], "--camera my-cam: 'my-cam' is not a ROS name"),
        (['{two}', '--camera', '_a=/a/image'], "'_a' is not a ROS name: use letters, digits, _ and /"),
        (['{two}', '--camera', 'a/=/a/image'], "'a/' is not a ROS name"),
        (['{two}/nothing'], 'there is no file or folder'),
        (['{two}', '--model', 'rgmp', '--start-from', 'prompts'], 'a replay has none, so rgmp would track nothing'),
        (['{silent}'], 'has no topic with images'),
        (['{empty}'], 'has no message on /image'),
    ],
)
def test_what_a_user_can_fix_is_one_message(replay, tmp_path, arguments, message):
    paths = {
        'two': write_bag(tmp_path / 'two', ['/a/image', '/b/image'], 1),
        'empty': write_bag(tmp_path / 'empty', count=0),
        'silent': write_bag(tmp_path / 'silent', [], 0),
    }
    code, _, error = replay(*(argument.format(**paths) for argument in arguments))
    assert code == 1 and error.startswith('vis-ros: ') and message in error
    assert not (tmp_path / 'replay').exists(), 'nothing is made for nothing'
