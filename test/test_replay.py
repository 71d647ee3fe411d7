"""Replay with the real memory and a detector that computes from the pixels, judged by other readers of its files."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

sys.path.insert(0, str(Path(__file__).parent / 'ros'))

from rectangles import BLUE, CLASS_NAMES, GREEN, RED, RectangleEngine, draw

from vis_ros.identity.memory import IdentityMemory
from vis_ros.instances import Instances
from vis_ros.replay.offline import LATE_S, replay
from vis_ros.replay.records import frame_record, full_image_rle
from vis_ros.segmenters.detect_and_track import DetectAndTrack
from vis_ros.sources import Frame, Source, open_source
from vis_ros.video_writer import CODECS, VideoWriter

FAST = ('mp4v',)


def segmenter():
    return DetectAndTrack(RectangleEngine(), IdentityMemory())


def courses(index):
    """Two rectangles that pass one below the other; a third that is there in some frames."""
    shapes = [(4 + index, 10, 14 + index, 20, RED), (50 - index, 30, 60 - index, 40, BLUE)]
    return shapes + ([(30, 2, 36, 8, GREEN)] if 5 <= index < 12 else [])


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'frames'
    path.mkdir()
    for index in range(20):
        cv2.imwrite(str(path / f'{index}.png'), draw(*courses(index)))
    return path


class Recorded(Source):
    """Frames with given stamps in seconds."""

    def __init__(self, stamps):
        super().__init__('made', len(stamps), 10.0)
        self.stamps = stamps

    def _read(self):
        for index, stamp in enumerate(self.stamps):
            yield Frame(draw(*courses(index)), round(stamp * 1e9), '', str(index))


def records(out):
    return [json.loads(line) for line in (out / 'results.jsonl').read_text().splitlines()]


def test_every_object_of_every_frame_is_in_the_results_with_its_own_pixels(folder, tmp_path):
    summary = replay(open_source(folder), segmenter(), CLASS_NAMES, tmp_path / 'out', codecs=FAST)
    found = records(tmp_path / 'out')
    assert summary.frames == len(found) == 20 and summary.skipped == 0
    assert summary.identities == 3 and summary.instances == 47
    names = {}
    for index, record in enumerate(found):
        assert (record['index'], record['name'], record['epoch']) == (index, f'{index}.png', 0)
        assert record['stamp'] == pytest.approx(index / 30)
        assert len(record['instances']) == len(courses(index))
        for x0, y0, x1, y1, colour in courses(index):
            class_name = CLASS_NAMES[int(np.argmax(colour))]
            (one,) = (each for each in record['instances'] if each['class_name'] == class_name)
            assert names.setdefault(class_name, one['track_id']) == one['track_id'], 'keeps its number'
            assert one['box'] == one['roi'] == [x0, y0, x1, y1]
            truth = np.zeros((record['height'], record['width']), np.uint8)
            truth[y0:y1, x0:x1] = 1
            rle = coco.frPyObjects(one['mask'], record['height'], record['width'])
            np.testing.assert_array_equal(coco.decode(rle), truth)


def test_the_same_recording_gives_the_same_bytes_twice_and_with_the_same_segmenter(folder, tmp_path):
    source, shared = open_source(folder), segmenter()
    for out in ('a', 'b'):
        replay(source, shared, CLASS_NAMES, tmp_path / out, codecs=FAST)
    replay(open_source(folder), segmenter(), CLASS_NAMES, tmp_path / 'c', codecs=FAST)
    first, *others = ((tmp_path / out / 'results.jsonl').read_bytes() for out in 'abc')
    assert others == [first, first]


def test_the_video_has_every_frame_and_the_sheet_can_be_read(folder, tmp_path):
    replay(open_source(folder), segmenter(), CLASS_NAMES, tmp_path, codecs=FAST)
    capture = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 20 and capture.get(cv2.CAP_PROP_FPS) == pytest.approx(30)
    assert frames[0].shape == (48, 64, 3)
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')).shape[1] == 1600


def test_every_third_frame_and_at_most_four(folder, tmp_path):
    seen = []
    summary = replay(
        open_source(folder), segmenter(), CLASS_NAMES, tmp_path, every=3, max_frames=4, codecs=FAST,
        on_frame=lambda: seen.append(1),
    )  # fmt: skip
    assert [record['index'] for record in records(tmp_path)] == [0, 3, 6, 9]
    assert summary.frames == len(seen) == 4
    assert cv2.VideoCapture(str(tmp_path / 'overlay.mp4')).get(cv2.CAP_PROP_FPS) == pytest.approx(10)


def test_a_clock_that_was_set_back_begins_an_epoch_and_a_late_image_is_skipped(tmp_path):
    late = 1.2 - LATE_S / 2
    summary = replay(Recorded([1.0, 1.1, 1.2, late, 1.3, 0.5, 0.6]), segmenter(), CLASS_NAMES, tmp_path, codecs=FAST)
    assert [(record['index'], record['epoch']) for record in records(tmp_path)] == [
        (0, 0), (1, 0), (2, 0), (4, 0), (5, 1), (6, 1),
    ]  # fmt: skip
    assert summary.skipped == 1 and 'out of order' in summary.last_problem
    assert summary.identities == 5, 'two before, three after'


def test_unreadable_images_are_counted_in_the_summary(folder, tmp_path):
    (folder / '7.png').write_bytes(b'')
    summary = replay(open_source(folder), segmenter(), CLASS_NAMES, tmp_path, codecs=FAST)
    assert (summary.frames, summary.skipped) == (19, 1) and '7.png' in summary.last_problem


def test_images_of_another_size_go_into_the_same_video(folder, tmp_path):
    cv2.imwrite(str(folder / '7.png'), draw(*courses(7), height=60, width=90))
    replay(open_source(folder), segmenter(), CLASS_NAMES, tmp_path, codecs=FAST)
    assert cv2.VideoCapture(str(tmp_path / 'overlay.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert [(record['height'], record['width']) for record in records(tmp_path)][6:8] == [(48, 64), (60, 90)]


@pytest.mark.parametrize('arguments', [{'every': 0}, {'max_frames': 0}])
def test_numbers_out_of_range(folder, tmp_path, arguments):
    with pytest.raises(ValueError, match='at least 1'):
        replay(open_source(folder), segmenter(), CLASS_NAMES, tmp_path, **arguments)


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(30))
def test_the_run_lengths_of_a_crop_are_those_of_the_whole_image(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 12, 2)
    x0, x1 = np.sort(random.integers(0, width + 1, 2))
    y0, y1 = np.sort(random.integers(0, height + 1, 2))
    mask = (random.random((y1 - y0, x1 - x0)) < random.choice([0.0, 0.5, 1.0])).astype(np.uint8)
    whole = np.zeros((height, width), np.uint8)
    whole[y0:y1, x0:x1] = mask
    rle = full_image_rle(mask, [x0, y0, x1, y1], (int(height), int(width)))
    assert sum(rle['counts']) == height * width
    np.testing.assert_array_equal(coco.decode(coco.frPyObjects(rle, height, width)), whole)
    assert all(count > 0 for count in rle['counts'][1:]), 'no empty runs but the first'


@pytest.mark.parametrize(
    ('roi', 'counts'), [([0, 0, 3, 2], [0, 6]), ([2, 1, 3, 2], [5, 1]), ([0, 0, 0, 0], [6]), ([0, 0, 1, 1], [0, 1, 5])]
)
def test_run_lengths_at_the_corners_of_the_image(roi, counts):
    mask = np.ones((roi[3] - roi[1], roi[2] - roi[0]), np.uint8)
    assert full_image_rle(mask, roi, (2, 3)) == {'size': [2, 3], 'counts': counts}


def test_a_record_is_plain_json():
    instances = Instances((4, 5), [[0, 0, 2, 2]], [1 / 3], [1], [[0, 0, 2, 2]], [np.ones((2, 2), np.uint8)])
    record = frame_record(3, 0.1, 'x', 0, instances.with_fields(track_ids=[7]), CLASS_NAMES)
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
