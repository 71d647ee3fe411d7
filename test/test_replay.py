"""Replay with the real memory and a detector that computes from the pixels, judged by other readers of its files."""

import hashlib
import json
import os
import signal
import tracemalloc
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.rectangles import BLUE, CLASS_NAMES, GREEN, RED, RectangleEngine, draw
from jsonschema import Draft202012Validator
from pycocotools import mask as coco
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header
from vis_ros.msg import InstanceMaskArray

import vis_ros
from vis_ros.claim import MARKER
from vis_ros.datasets.bag_annotations import read_bag
from vis_ros.instances import LOST, TENTATIVE, Instances
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.opening import open_recording, open_recordings
from vis_ros.recordings.recording import Frame, Recording, Stream
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE, INSTANCES_TYPE
from vis_ros.recordings.video_writer import CODECS, VideoWriter
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.replay.offline.results_json import ResultsJson
from vis_ros.replay.records import SCHEMA, frame_record
from vis_ros.ros.messages import to_image, to_instances
from vis_ros.ros.stamps import nanoseconds, to_time
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

SECOND = 1_000_000_000
FAST = ('mp4v',)


def rectangle_model(weights='rectangles', **settings):
    return Model(Settings(weights=weights, **settings), engine_factory=RectangleEngine)


def run(recordings, out, model=None, **options):
    recordings = [recordings] if isinstance(recordings, Recording) else recordings
    return replay(recordings, model or rectangle_model(), out, **{'codecs': FAST, **options})


def courses(index):
    """Two rectangles that pass one below the other; a third that is there in some frames."""
    shapes = [(4 + index, 10, 14 + index, 20, RED), (50 - index, 30, 60 - index, 40, BLUE)]
    return shapes + ([(30, 2, 36, 8, GREEN)] if 5 <= index < 12 else [])


@pytest.fixture
def folder(tmp_path_factory):
    return frames(tmp_path_factory.mktemp('recorded') / 'frames')


def frames(path, count=20):
    path.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(path / f'{index}.png'), draw(*courses(index)))
    return path


def image_bag(path, stamps, topic='/camera/image', pictures=None, compressed=False):
    """Images with these stamps (s) in this order, recorded one after the other from 1000 s on; returns the messages."""
    written = []
    with BagWriter(path) as bag:
        bag.add_topic(topic, COMPRESSED_TYPE if compressed else IMAGE_TYPE)
        for index, stamp in enumerate(stamps):
            header = Header(stamp=to_time(round(stamp * SECOND)), frame_id='camera_optical')
            pixels = draw(*courses(index)) if pictures is None else pictures[index]
            if compressed:
                data = cv2.imencode('.png', pixels)[1].tobytes()
                message = CompressedImage(header=header, format='png', data=data)
            else:
                message = to_image(pixels, 'bgr8', header)
            written.append(serialize_message(message))
            bag.write(topic, 1000 * SECOND + index * 10_000_000, written[-1])
    return written


class Recorded(Recording):
    """Frames with given (stamp in seconds, epoch); an error in the end where one is given."""

    def __init__(self, stamps, error=None):
        super().__init__(Path('made'), 'made', [Stream('', len(stamps), 10.0)])
        self.stamps, self.error = stamps, error

    def _read(self, every):
        for index, (stamp, epoch) in enumerate(self.stamps):
            yield Frame(draw(*courses(index)), round(stamp * 1e9), '', str(index), index, epoch=epoch)
        if self.error:
            raise self.error


def records(out):
    return [json.loads(line) for line in (out / 'results.jsonl').read_text().splitlines()]


def arrays(bag, topic='/vis_node/instances'):
    """The messages by rclpy's own code, and the bytes of each."""
    reader = BagReader(bag)
    (wanted,) = (each for each in reader.topics if each.name == topic)
    data = [data for _, _, data in reader.messages([wanted])]
    return [deserialize_message(each, InstanceMaskArray) for each in data], data


def tree(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob('*')) if path.is_file()}


def test_every_object_of_every_frame_is_in_the_results_with_its_own_pixels(folder, tmp_path):
    summary = run(open_recording(folder), tmp_path / 'out')
    found = records(tmp_path / 'out')
    assert summary.frames == len(found) == 20 and summary.skipped == 0 and summary.stopped_early == ''
    assert summary.identities == 3 and summary.instances == 47
    names = {}
    for index, record in enumerate(found):
        assert (record['index'], record['name'], record['epoch']) == (index, f'{index}.png', 0)
        assert record['stamp'] == pytest.approx(index / 30) and record['stamp_ns'] is None, 'a folder has no clock'
        assert len(record['instances']) == len(courses(index))
        for x0, y0, x1, y1, color in courses(index):
            class_name = CLASS_NAMES[int(np.argmax(color))]
            (one,) = (each for each in record['instances'] if each['class_name'] == class_name)
            assert names.setdefault(class_name, one['track_id']) == one['track_id'], 'keeps its number'
            assert one['box'] == one['roi'] == [x0, y0, x1, y1]
            truth = np.zeros((record['height'], record['width']), np.uint8)
            truth[y0:y1, x0:x1] = 1
            rle = coco.frPyObjects(one['mask'], record['height'], record['width'])
            np.testing.assert_array_equal(coco.decode(rle), truth)


def test_the_youtube_vis_results_say_the_same_as_the_lines(folder, tmp_path):
    (folder / '7.png').write_bytes(b'')
    run(open_recording(folder), tmp_path / 'out')
    rows = json.loads((tmp_path / 'out' / 'results.json').read_text())
    found = records(tmp_path / 'out')
    assert len(rows) == 3 and all(len(row['segmentations']) == 20 for row in rows), 'one place a frame of the recording'
    identities = sorted({one['track_id'] for record in found for one in record['instances']})
    for row, track_id in zip(rows, identities, strict=True):
        seen = {r['index']: one for r in found for one in r['instances'] if one['track_id'] == track_id}
        assert [code is not None for code in row['segmentations']] == [index in seen for index in range(20)]
        assert row['video_id'] == 1
        assert row['score'] == pytest.approx(np.mean([one['score'] for one in seen.values()]), abs=1e-6)
        assert {row['category_id']} == {1 + one['class_id'] for one in seen.values()}
        for index, one in seen.items():
            expected = coco.frPyObjects(one['mask'], *one['mask']['size'])
            np.testing.assert_array_equal(coco.decode(row['segmentations'][index]), coco.decode(expected))


def test_the_category_of_a_row_is_the_one_of_most_frames_and_the_lowest_of_several(tmp_path):
    with ResultsJson(tmp_path) as results:
        for frame, classes in enumerate([(2, 1), (0, 0), (2, 0), (0, 1)]):
            rois = [[0, 0, 2, 2]] * 2
            found = Instances((4, 5), rois, [0.5, 0.25], classes, rois, [np.ones((2, 2), np.uint8)] * 2)
            results.add(1, frame, 0, found.with_fields(track_ids=[7, 8]))
        results.write()
    assert [row['category_id'] for row in json.loads((tmp_path / 'results.json').read_text())] == [1, 1]


def test_a_results_json_that_would_be_huge_is_not_written_and_this_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setattr('vis_ros.replay.offline.results_json.LARGEST', 3 * 20 - 1)
    summary = run(open_recording(folder), tmp_path / 'out')
    assert '3 tracks' in summary.no_results_json and '60 entries; the limit is 59' in summary.no_results_json
    assert json.loads((tmp_path / 'out' / 'run.json').read_text())['no_results_json'] == summary.no_results_json
    assert not (tmp_path / 'out' / 'results.json').exists()
    monkeypatch.setattr('vis_ros.replay.offline.results_json.LARGEST', 3 * 20)
    assert run(open_recording(folder), tmp_path / 'out').no_results_json == ''


def test_no_object_at_all_is_an_empty_list(tmp_path):
    summary = run(open_recording(blank(tmp_path / 'blank')), tmp_path / 'out')
    assert summary.frames == 2 and json.loads((tmp_path / 'out' / 'results.json').read_text()) == []


def blank(path):
    path.mkdir()
    for index in range(2):
        cv2.imwrite(str(path / f'{index}.png'), draw())
    return path


def test_the_same_recording_gives_the_same_bytes_twice(tmp_path):
    image_bag(tmp_path / 'recording', [100 + index / 10 for index in range(20)])
    for out in ('a', 'b'):
        source = open_recording(tmp_path / 'recording')
        run(source, tmp_path / out / 'results', source='recording', copy_images=True)
    run(open_recording(tmp_path / 'recording'), tmp_path / 'b' / 'results', source='recording', stride=2)
    run(source, tmp_path / 'b' / 'results', source='recording', copy_images=True)
    first, second = tree(tmp_path / 'a' / 'results'), tree(tmp_path / 'b' / 'results')
    assert list(first) == [
        '.vis_ros', 'bag/bag.mcap', 'bag/metadata.yaml', 'contact_sheet.png', 'overlay.mp4', 'results.json',
        'results.jsonl', 'run.json',
    ]  # fmt: skip
    runs = [json.loads(each.pop('run.json')) for each in (first, second)]
    assert all(datetime.fromisoformat(each.pop('date')).tzinfo for each in runs), 'only the date may differ'
    assert runs[0] == runs[1] and [name for name in first if first[name] != second[name]] == []


def test_run_json_says_what_was_done(folder, tmp_path):
    (folder / '7.png').write_bytes(b'')
    run(
        open_recording(folder), tmp_path / 'out', model=rectangle_model('made'), source='somewhere', stride=1,
        identity={'settings': 'hash'},
    )  # fmt: skip
    content = json.loads((tmp_path / 'out' / 'run.json').read_text())
    assert datetime.fromisoformat(content.pop('date')).tzinfo
    assert content == {
        'vis_ros': vis_ros.__version__, 'source': 'somewhere', 'model': 'rectangles (made)', 'weights': 'made',
        'weights_sha256': '', 'photos': False,
        'engine': 'opencv', 'device': 'cpu', 'precision': 'uint8', 'note': '',
        'settings': asdict(Settings(weights='made')),
        'cameras': {'': ''}, 'stride': 1, 'max_frames': None, 'confirmed': False,
        'class_names': list(CLASS_NAMES), 'frames': 19, 'skipped': 1, 'skips': {'unreadable': 1}, 'warnings': {},
        'left_out': [], 'inferred': [], 'stopped_early': '', 'no_results_json': '', 'frames_of': {'': 19},
        'results_sha256': {'': hashlib.sha256((tmp_path / 'out' / 'results.jsonl').read_bytes()).hexdigest()},
        'tracks': 3, 'instances': 44, 'identity': {'settings': 'hash'},
    }  # fmt: skip


def test_a_replay_without_pictures_has_the_same_results(folder, tmp_path):
    run(open_recording(folder), tmp_path / 'with')
    run(open_recording(folder), tmp_path / 'without', pictures=False)
    whole, bare = tree(tmp_path / 'with'), tree(tmp_path / 'without')
    assert whole.keys() - bare.keys() == {'overlay.mp4', 'contact_sheet.png'}
    assert [name for name in bare if bare[name] != whole[name] and name != 'run.json'] == []


def test_results_have_all_that_the_messages_have(tmp_path):
    image_bag(tmp_path / 'recording', [1 + 0.1 * index for index in range(20)])
    model = rectangle_model(min_hits=3)
    run(open_recording(tmp_path / 'recording'), tmp_path / 'out', model=model)
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))
    states = set()
    for line, array in zip(records(tmp_path / 'out'), arrays(tmp_path / 'out' / 'bag')[0], strict=True):
        schema.validate(line)
        assert (line['frame_id'], line['epoch'], line['sequence'], line['dropped'], line['stamp_ns']) == (
            array.header.frame_id, array.epoch, array.sequence, array.dropped, nanoseconds(array.header.stamp)
        )  # fmt: skip
        seen = [each for each in array.instances if each.state != LOST]
        for found, message in zip(line['instances'], seen, strict=True):
            states.add(found['state'])
            assert (found['track_id'], found['hits'], found['area']) == (message.track_id, message.hits, message.area)
            assert found['state'] == ('tentative', 'confirmed')[message.state]
            assert found['first_seen'] == pytest.approx(nanoseconds(message.first_seen) / 1e9, abs=1e-6)
            assert found['match_score'] == pytest.approx(message.match_score, abs=1e-6)
            assert found['centroid'] == pytest.approx([message.centroid_x, message.centroid_y], abs=0.006)
    assert states == {'tentative', 'confirmed'}


def test_only_confirmed_tracks_if_wanted(folder, tmp_path):
    model = rectangle_model(min_hits=3)
    run(open_recording(folder), tmp_path / 'all', model=model)
    run(open_recording(folder), tmp_path / 'some', model=model, confirmed=True)
    everything, some = records(tmp_path / 'all'), records(tmp_path / 'some')
    assert not some[1]['instances'] and some[-1]['instances']
    for line in everything:
        line['instances'] = [each for each in line['instances'] if each['state'] == 'confirmed']
    assert some == everything
    assert all(each.state != TENTATIVE for array in arrays(tmp_path / 'some' / 'bag')[0] for each in array.instances)
    assert json.loads((tmp_path / 'some' / 'run.json').read_text())['confirmed'] is True


def test_labels_of_the_pictures(folder, tmp_path):
    for labels in ('full', 'id', 'none'):
        run(open_recording(folder), tmp_path / labels, labels=labels, max_frames=3)
    sheets = [cv2.imread(str(tmp_path / labels / 'contact_sheet.png')).astype(int) for labels in ('full', 'id', 'none')]
    changed = [np.count_nonzero((sheet != sheets[2]).any(2)) for sheet in sheets]
    assert changed[0] >= changed[1] > 0


def test_chosen_folders_of_images(tmp_path):
    for name in ('a', 'b', 'c'):
        frames(tmp_path / 'videos' / name, 2)
    opened = open_recordings(tmp_path / 'videos', only=['c', 'a'])
    assert [recording.path.name for recording in opened] == ['a', 'c']
    assert not any(recording.left_out for recording in opened), 'what was not chosen is not missing'
    with pytest.raises(ValueError, match=r'no folder of images named d; it has a, b, c'):
        open_recordings(tmp_path / 'videos', only=['a', 'd'])
    with pytest.raises(ValueError, match='is one recording, so there is no a to choose: leave --only out'):
        open_recordings(tmp_path / 'videos' / 'a', only=['a'])


def test_the_video_has_every_frame_and_the_sheet_can_be_read(folder, tmp_path):
    run(open_recording(folder), tmp_path)
    capture = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 20 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(30)
    assert frames[0].shape == (48, 64, 3)
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')).shape[1] == 1600


def test_every_third_frame_and_at_most_four(folder, tmp_path):
    seen = []
    summary = run(open_recording(folder), tmp_path, stride=3, max_frames=4, on_frame=lambda: seen.append(1))
    assert [record['index'] for record in records(tmp_path)] == [0, 3, 6, 9]
    assert summary.frames == len(seen) == 4
    assert cv2.VideoCapture(str(tmp_path / 'overlay.mp4')).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_clock_that_was_set_back_begins_an_epoch(tmp_path):
    summary = run(Recorded([(1.0, 0), (1.1, 0), (1.2, 0), (0.5, 1), (0.6, 1)]), tmp_path)
    assert [(record['index'], record['epoch']) for record in records(tmp_path)] == [
        (0, 0), (1, 0), (2, 0), (3, 1), (4, 1),
    ]  # fmt: skip
    assert summary.identities == 4, 'two before, two after'
    messages, _ = arrays(tmp_path / 'bag')
    assert [(message.epoch, message.sequence) for message in messages] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
    for message in messages:
        first = message.instances[0].first_seen
        assert (first.sec, first.nanosec) == ((1, 0) if message.epoch == 0 else (0, 500_000_000))


def test_unreadable_images_are_counted_in_the_summary(folder, tmp_path):
    (folder / '7.png').write_bytes(b'')
    summary = run(open_recording(folder), tmp_path)
    assert (summary.frames, summary.skipped) == (19, 1) and '7.png' in summary.last_problem
    messages, _ = arrays(tmp_path / 'bag')
    assert [message.dropped for message in messages] == [0] * 7 + [1] + [0] * 11
    assert [record['index'] for record in records(tmp_path)] == [*range(7), *range(8, 20)]


def test_images_of_another_size_go_into_the_same_video(folder, tmp_path):
    cv2.imwrite(str(folder / '7.png'), draw(*courses(7), height=60, width=90))
    run(open_recording(folder), tmp_path)
    assert cv2.VideoCapture(str(tmp_path / 'overlay.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert [(record['height'], record['width']) for record in records(tmp_path)][6:8] == [(48, 64), (60, 90)]


@pytest.mark.parametrize('arguments', [{'stride': 0}, {'max_frames': 0}])
def test_numbers_out_of_range(folder, tmp_path, arguments):
    with pytest.raises(ValueError, match='at least 1'):
        run(open_recording(folder), tmp_path, **arguments)


def test_without_a_recording_there_is_nothing_to_replay(tmp_path):
    with pytest.raises(ValueError, match='no recording to replay'):
        replay([], Model(Settings(), RectangleEngine), tmp_path)


# --- the bag ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('compressed', [False, True])
def test_the_bag_has_the_message_of_the_node_for_every_image_and_the_images_byte_for_byte(tmp_path, compressed):
    stamps = [100 + index / 10 for index in range(8)]
    written = image_bag(tmp_path / 'recording', stamps, compressed=compressed)
    run(open_recording(tmp_path / 'recording'), tmp_path / 'out', model=rectangle_model('made'), copy_images=True)
    messages, data = arrays(tmp_path / 'out' / 'bag')
    assert [m.header.stamp.sec * SECOND + m.header.stamp.nanosec for m in messages] == [round(s * 1e9) for s in stamps]
    for index, (message, record) in enumerate(zip(messages, records(tmp_path / 'out'), strict=True)):
        assert message.header.frame_id == 'camera_optical' and message.model == 'rectangles (made)'
        assert (message.sequence, message.epoch, message.dropped) == (index + 1, 0, 0)
        assert (message.latency.sec, message.latency.nanosec) == (0, 0)
        instances = to_instances(message)
        assert [one['track_id'] for one in record['instances']] == instances.track_ids.tolist()
        for position, one in enumerate(record['instances']):
            expected = coco.decode(coco.frPyObjects(one['mask'], *one['mask']['size']))
            np.testing.assert_array_equal(instances.full_mask(position), expected)
        ros = serialize_message(message)
        differing = [a for a, b in zip(data[index], ros, strict=True) if a != b]
        assert not any(differing), 'the same bytes, but for the padding, in which rclpy leaves what was there'
    reader = BagReader(tmp_path / 'out' / 'bag')
    (images,) = reader.of_type(COMPRESSED_TYPE if compressed else IMAGE_TYPE)
    assert images.name == '/camera/image'
    assert [data for _, _, data in reader.messages([images])] == written


def test_other_readers_know_the_messages_by_the_definitions_in_the_bag(folder, tmp_path):
    run(open_recording(folder), tmp_path)
    with AnyReader([tmp_path / 'bag']) as reader:
        connection, drawn = sorted(reader.connections, key=lambda each: each.topic, reverse=True)
        assert (connection.topic, connection.msgtype) == ('/vis_node/instances', INSTANCES_TYPE)
        assert (drawn.topic, drawn.msgtype) == ('/vis_node/annotations', 'foxglove_msgs/msg/ImageAnnotations')
        found = [reader.deserialize(data, connection.msgtype) for _, _, data in reader.messages([connection])]
        outlines = [reader.deserialize(data, drawn.msgtype) for _, _, data in reader.messages([drawn])]
    assert [len(message.texts) for message in outlines] == [len(message.instances) for message in found]
    assert [len(message.instances) for message in found] == [len(courses(index)) for index in range(20)]
    assert [message.header.stamp.nanosec for message in found[:2]] == [0, 33_333_333], 'time since the start'


def test_images_come_in_the_order_of_their_stamps_and_identities_last(tmp_path):
    order = [0, 1, 3, 2, 4, 7, 5, 6, 8, 9]
    pictures = [draw(*courses(index)) for index in order]
    image_bag(tmp_path / 'recording', [100 + index / 10 for index in order], pictures=pictures)
    summary = run(open_recording(tmp_path / 'recording'), tmp_path / 'out')
    assert (summary.frames, summary.skipped, summary.warnings) == (10, 0, {'reordered': 3})
    stamps = [record['stamp_ns'] for record in records(tmp_path / 'out')]
    assert stamps == [round((100 + index / 10) * 1e9) for index in range(10)]
    messages, _ = arrays(tmp_path / 'out' / 'bag')
    assert [m.header.stamp.sec * SECOND + m.header.stamp.nanosec for m in messages] == stamps, 'for every reader'


def test_several_cameras_have_a_memory_each_and_share_a_bag(tmp_path):
    count = {'front': 12, 'rear': 8}
    with BagWriter(tmp_path / 'recording') as bag:
        for name in count:
            bag.add_topic(f'/{name}/image', IMAGE_TYPE)
        for index in range(12):
            for number, name in enumerate(count):
                if index < count[name]:
                    header = Header(stamp=to_time(100 * SECOND + index * 10**8))
                    pixels = draw(*courses(index)[: 2 - number])
                    message = serialize_message(to_image(pixels, 'bgr8', header))
                    bag.write(f'/{name}/image', index * 10**8 + number, message)
    cameras = {'front': None, 'rear': '/rear/image'}
    summary = run(open_recording(tmp_path / 'recording', cameras=cameras), tmp_path / 'out')
    assert (summary.frames, summary.identities) == (20, 3)
    for name, objects in (('front', 2), ('rear', 1)):
        found = records(tmp_path / 'out' / name)
        assert len(found) == count[name]
        assert {one['track_id'] for record in found for one in record['instances']} == set(range(1, objects + 1))
        messages, _ = arrays(tmp_path / 'out' / 'bag', f'/vis_node/{name}/instances')
        assert [len(message.instances) for message in messages] == [objects] * count[name]
        assert (tmp_path / 'out' / name / 'overlay.mp4').stat().st_size and not (
            tmp_path / 'out' / 'overlay.mp4'
        ).exists()
    rows = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert [(row['video_id'], len(row['segmentations'])) for row in rows] == [(1, 12), (1, 12), (2, 8)]
    assert json.loads((tmp_path / 'out' / 'run.json').read_text())['cameras'] == {
        'front': '/front/image', 'rear': '/rear/image',
    }  # fmt: skip


def test_a_folder_of_image_folders_is_several_videos_with_a_fresh_memory_each(tmp_path):
    for name in ('bmx-trees', 'dog'):
        frames(tmp_path / 'videos' / name, 6)
    (tmp_path / 'videos' / 'empty').mkdir()
    (tmp_path / 'videos' / 'broken').mkdir()
    (tmp_path / 'videos' / 'broken' / '0.png').write_bytes(b'')
    summary = run(open_recordings(tmp_path / 'videos'), tmp_path / 'out')
    assert (summary.frames, summary.identities, summary.skipped) == (12, 6, 1)
    for name in ('bmx-trees', 'dog'):
        assert [one['track_id'] for one in records(tmp_path / 'out' / name)[0]['instances']] == [1, 2]
    assert len(arrays(tmp_path / 'out' / 'bag', '/vis_node/bmx_trees/instances')[0]) == 6
    rows = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert [row['video_id'] for row in rows] == [1, 1, 1, 3, 3, 3]
    assert [video.name for video in read_bag(tmp_path / 'out' / 'bag').videos] == ['bmx-trees', 'dog']


def test_names_of_videos_that_make_the_same_topic_are_refused(tmp_path):
    for name in ('a-b', 'a_b'):
        frames(tmp_path / 'videos' / name, 1)
    with pytest.raises(ValueError, match='have the same topic: /vis_node/a_b/instances'):
        run(open_recordings(tmp_path / 'videos'), tmp_path / 'out')


def test_there_are_no_messages_to_copy_in_a_folder(folder, tmp_path):
    with pytest.raises(ValueError, match='has no image messages to copy; leave --copy-images out'):
        run(open_recording(folder), tmp_path / 'out', copy_images=True)


def test_a_second_replay_into_the_same_folder_is_refused_while_the_first_one_writes(folder, tmp_path):
    refused = []

    def start_another():
        with pytest.raises(FileExistsError, match=r'another replay writes into .*out: wait until it has ended'):
            run(open_recording(folder), tmp_path / 'out')
        refused.append(True)

    run(open_recording(folder), tmp_path / 'out', on_frame=start_another)
    run(open_recording(folder), tmp_path / 'alone')
    assert len(refused) == len(records(tmp_path / 'out')) > 0
    assert records(tmp_path / 'out') == records(tmp_path / 'alone')
    run(open_recording(folder), tmp_path / 'out')  # and afterwards it is replaced


def test_a_recording_is_never_overwritten(folder, tmp_path):
    image_bag(tmp_path / 'bag', [1])
    for source, out in ((tmp_path / 'bag', tmp_path), (folder, folder), (folder, folder / 'results')):
        before = tree(source)
        with pytest.raises(ValueError, match=r'overlaps the recording .*; choose another --out'):
            run(open_recording(source), out)
        assert tree(source) == before
    (tmp_path / 'out' / 'bag').mkdir(parents=True)
    (tmp_path / 'out' / 'bag' / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='already holds files that vis-ros did not write'):
        run(open_recording(folder), tmp_path / 'out')
    (tmp_path / 'out' / MARKER).touch()
    with pytest.raises(FileExistsError, match='is not a bag folder and is not replaced'):
        run(open_recording(folder), tmp_path / 'out')


def test_an_earlier_replay_of_other_cameras_leaves_nothing(folder, tmp_path):
    for name in ('a', 'b'):
        frames(tmp_path / 'videos' / name, 2)
    run(open_recordings(tmp_path / 'videos'), tmp_path / 'out')
    run(open_recording(folder), tmp_path / 'out')
    assert not list((tmp_path / 'out').glob('*/results.jsonl'))
    run(open_recordings(tmp_path / 'videos'), tmp_path / 'out')
    assert not (tmp_path / 'out' / 'results.jsonl').exists()


# --- recordings that break off ----------------------------------------------------------------------------------------


def test_a_bag_that_breaks_off_is_replayed_up_to_there_and_says_so(tmp_path):
    pictures = [draw(*courses(index), height=480, width=640) for index in range(20)]
    image_bag(tmp_path / 'recording', [100 + index / 10 for index in range(20)], pictures=pictures)
    file = tmp_path / 'recording' / 'recording.mcap'
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    summary = run(open_recording(file), tmp_path / 'out')
    assert 5 <= summary.frames < 15
    assert 'recording.mcap breaks off at byte' in summary.stopped_early and 'mcap recover' in summary.stopped_early
    assert len(records(tmp_path / 'out')) == len(arrays(tmp_path / 'out' / 'bag')[0]) == summary.frames
    assert BagReader(tmp_path / 'out' / 'bag').damage == ''
    assert json.loads((tmp_path / 'out' / 'run.json').read_text())['stopped_early'] == summary.stopped_early
    assert json.loads((tmp_path / 'out' / 'results.json').read_text())


def test_a_bag_of_which_nothing_can_be_read_is_an_error(tmp_path):
    with pytest.raises(BagError, match='made damage'):
        run(Recorded([], BagError('made damage')), tmp_path)


def test_an_error_of_the_engine_leaves_a_bag_that_can_be_read(tmp_path):
    def fail():
        if len(seen) == 3:
            raise RuntimeError('made error')
        seen.append(1)

    seen = []
    with pytest.raises(RuntimeError, match='made error'):
        run(Recorded([(index / 10, 0) for index in range(10)]), tmp_path, on_frame=fail)
    assert len(arrays(tmp_path / 'bag')[0]) == 4


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_is_complete_up_to_there(folder, tmp_path, number):
    seen = []

    def interrupt():
        seen.append(1)
        if len(seen) == 5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    summary = run(open_recording(folder), tmp_path, on_frame=interrupt)
    assert signal.getsignal(number) == before
    assert summary.stopped_early == INTERRUPTED and 5 <= summary.frames <= 6
    assert len(records(tmp_path)) == len(arrays(tmp_path / 'bag')[0]) == summary.frames
    assert cv2.VideoCapture(str(tmp_path / 'overlay.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == summary.frames
    assert json.loads((tmp_path / 'run.json').read_text())['stopped_early'] == INTERRUPTED


def test_memory_does_not_grow_with_the_length(tmp_path):
    """Beside 16 bytes a mask, the thumbnails of the contact sheet and the index of the bag."""
    peaks = []
    for count in (64, 256):
        source = Recorded([(index / 10, 0) for index in range(count)])
        tracker = rectangle_model().tracker()
        tracemalloc.start()
        with ResultsJson(tmp_path) as results:
            for frame in source:
                found = tracker.step(frame.image, frame.stamp)
                results.add(1, frame.index, 0, found)
            results.write()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 192 * 1000


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_record_is_plain_json():
    instances = Instances((4, 5), [[0, 0, 2, 2]], [1 / 3], [1], [[0, 0, 2, 2]], [np.ones((2, 2), np.uint8)])
    record = frame_record(3, 100_000_000, 'x', 0, instances.with_fields(track_ids=[7], class_names=CLASS_NAMES))
    assert (record['stamp'], record['stamp_ns']) == (0.1, 100_000_000)
    (one,) = json.loads(json.dumps(record))['instances']
    assert one['track_id'] == 7 and one['class_name'] == 'green' and one['score'] == 0.333333
    assert one['mask'] == {'size': [4, 5], 'counts': [0, 2, 2, 2, 14]}


# --- video ------------------------------------------------------------------------------------------------------------


def test_the_best_codec_that_opens_is_taken_and_reported(tmp_path, capfd):
    with VideoWriter(tmp_path / 'a.mp4', 10, ('none', *CODECS)) as video:
        for index in range(5):
            video.write(draw(*courses(index), height=49, width=65))
    assert video.codec in CODECS
    capture = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and capture.read()[1].shape == (48, 64, 3)
    assert capfd.readouterr().err == '', "a codec that is not there is nobody's concern"


def test_no_codec_at_all(tmp_path):
    with (
        pytest.raises(ValueError, match=r'cannot write .*with any of the codecs none'),
        VideoWriter(tmp_path / 'a.mp4', 10, ('none',)) as video,
    ):
        video.write(draw())


@pytest.mark.parametrize('content', ['{"cameras": {"": ""', '[1]', '{}', '{"cameras": 3}'])
def test_a_damaged_run_json_of_before_does_not_matter(folder, tmp_path, content):
    out = tmp_path / 'out'
    out.mkdir()
    (out / MARKER).touch()
    (out / 'run.json').write_text(content)
    assert run(open_recording(folder), out).frames == 20


def test_a_video_that_could_not_be_finished_is_told(tmp_path):
    writer = VideoWriter(tmp_path / 'cut.mp4', 10, FAST)
    writer.write(draw())
    release = writer._writer.release

    class Full:
        """A disk that is full when the index is written."""

        def __getattr__(self, name):
            return getattr(cv2.VideoWriter, name)

        def write(self, image):
            pass

        def release(self):
            release()
            partial = writer._partial
            partial.write_bytes(partial.read_bytes().replace(b'moov', b'mooo'))

    writer._encoder.submit(lambda: None).result()
    writer._writer = Full()
    with pytest.raises(OSError, match=r'cut\.mp4 could not be finished'):
        writer.close()
