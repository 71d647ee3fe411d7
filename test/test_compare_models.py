import json

import cv2
import numpy as np
import pytest

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.evaluation.comparison.candidates import FIRST_MASK, ground_truth
from vis_ros.evaluation.comparison.model_comparison import compare_models
from vis_ros.evaluation.comparison.run_model import ComparisonTask, run_model
from vis_ros.evaluation.comparison.sheet_images import SheetImages
from vis_ros.evaluation.error_marks import error_marks, mask_iou
from vis_ros.evaluation.metrics.clear import ClearMatching
from vis_ros.instances import Instances

SHIFT = 4
SIDE = 40


def davis_folder(root, name='square', frames=6):
    """A square of SIDE pixels that moves SHIFT pixels to the right in each frame."""
    for kind in ('JPEGImages', 'Annotations'):
        (root / kind / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for time in range(frames):
        mask = np.zeros((96, 160), np.uint8)
        mask[20 : 20 + SIDE, 10 + SHIFT * time : 10 + SHIFT * time + SIDE] = 255
        image = random.integers(0, 60, (96, 160, 3), dtype=np.uint8)
        image[mask > 0] = (40, 200, 220)
        cv2.imwrite(str(root / 'JPEGImages' / name / f'{time:05d}.jpg'), image)
        cv2.imwrite(str(root / 'Annotations' / name / f'{time:05d}.png'), mask)
    return root


def task(truth, out, model=FIRST_MASK, **settings):
    return ComparisonTask(model, '', str(truth), str(out), **settings)


def test_first_mask_has_the_j_of_a_square_that_moved_away(tmp_path):
    truth = davis_folder(tmp_path / 'davis')
    result = compare_models([task(truth, tmp_path / 'out')])
    overlaps = [(SIDE - SHIFT * t) / (SIDE + SHIFT * t) for t in range(1, 6)]  # the first frame is given
    found = result['models'][FIRST_MASK]
    assert found['videos']['square']['J'] == pytest.approx(np.mean(overlaps), abs=1e-4)
    assert found['videos']['square']['frames'] == 6
    assert found['mean']['J'] == found['videos']['square']['J']
    assert json.loads((tmp_path / 'out' / 'comparison.json').read_text()) == result


def test_sheet_has_one_row_a_model_and_nothing_else_is_left(tmp_path):
    truth = davis_folder(tmp_path / 'davis')
    out = tmp_path / 'out'
    compare_models([task(truth, out), task(truth, out, 'mask_rcnn')])
    assert sorted(path.name for path in out.iterdir()) == ['.vis_ros', 'comparison.json', 'square.jpg']
    row = 480 * 96 // 160 + 4
    height, width, _ = cv2.imread(str(out / 'square.jpg')).shape
    assert width == 150 + 6 * 484 and height > 2 * row and height % 2 == 0


def test_an_object_has_one_color_in_the_rows_of_all_models_and_a_false_track_is_gray(tmp_path):
    (video,) = open_annotations(davis_folder(tmp_path / 'davis')).videos
    colors = {}
    for track_id in (1, 17):  # two models give the same object different ids, and a false track the next one
        images = SheetImages(tmp_path, track_id)
        for number, frame in enumerate(video):
            truth = ground_truth(frame)
            plane = np.zeros((1, 96, 160), np.uint8)
            plane[0, 70:90, 100:140] = 1
            false = Instances.from_masks(plane, class_names=('object',))
            found = Instances.cat([part.with_fields(states=None, hits=None) for part in (truth, false)])
            ids = np.array([track_id, track_id + 1], np.uint32)
            images.add(number, frame, frame.read_image(), found.with_fields(track_ids=ids), number == 3)
        image = cv2.imread(str(tmp_path / f'{track_id}_00003.jpg')).astype(int)
        colors[track_id] = image[3 * 40, 3 * 32 : 3 * 32 + 30].mean(0), image[3 * 82, 3 * 105 : 3 * 110].mean(0)
    assert np.abs(colors[1][0] - colors[17][0]).max() < 3, 'the object'
    assert np.ptp(colors[17][1]) < 12, 'the false track'


def test_errors_are_told_from_each_other(tmp_path):
    planes = np.zeros((3, 40, 60), np.uint8)
    for number, plane in enumerate(planes):
        plane[5:15, 20 * number : 20 * number + 10] = 1
    truth = Instances.from_masks(planes[:2]).with_fields(track_ids=[5, 6])
    matching = ClearMatching()
    for frame, ids in enumerate(([1, 2], [1, 3])):  # the second track covers nothing, the first one switches to 3
        found = Instances.from_masks(planes[[0, 2]]).with_fields(track_ids=ids if frame == 0 else ids[::-1])
        track_ids = np.asarray(found.track_ids).astype(np.int64)
        pairs = matching.add(frame, np.array([5, 6]), track_ids, mask_iou(planes[:2], found))
        marks = error_marks(matching, frame, truth, found, pairs)
        assert marks.switched == ({} if frame == 0 else {0: 1})
        assert marks.false == frozenset({1})
        np.testing.assert_array_equal(marks.lost.track_ids, [6])


def test_model_that_cannot_run_is_named_with_the_reason_and_the_others_run(tmp_path):
    truth = davis_folder(tmp_path / 'davis')
    tasks = [ComparisonTask('feelvos', str(tmp_path / 'none.safetensors'), str(truth), str(tmp_path / 'out'))]
    result = compare_models([*tasks, task(truth, tmp_path / 'out')])
    assert 'none.safetensors' in result['models']['feelvos']['error']
    assert result['models'][FIRST_MASK]['mean']['J'] > 0


def test_only_and_max_frames(tmp_path):
    root = davis_folder(tmp_path / 'davis')
    davis_folder(root, 'other', 4)
    (tmp_path / 'out').mkdir()
    result = run_model(task(root, tmp_path / 'out', only=('other',), max_frames=3))
    assert {name: video['frames'] for name, video in result['videos'].items()} == {'other': 3}


@pytest.mark.parametrize(
    ('settings', 'reason'),
    [
        ({'only': ('nothing',)}, "no video 'nothing'"),
        ({'max_frames': 1}, 'at least 2'),
    ],
)
def test_bad_task_is_refused(tmp_path, settings, reason):
    with pytest.raises(ValueError, match=reason):
        run_model(task(davis_folder(tmp_path / 'davis'), tmp_path, **settings))


def test_an_object_that_comes_later_is_compared_from_then_on(tmp_path):
    """Videos of YouTube-VOS start before their objects. A video without any is left out."""
    truth = davis_folder(davis_folder(tmp_path / 'davis'), 'empty', 3)
    nothing = np.zeros((96, 160), np.uint8)
    for file in (truth / 'Annotations' / 'square' / '00000.png', *(truth / 'Annotations' / 'empty').iterdir()):
        cv2.imwrite(str(file), nothing)
    found = compare_models([task(truth, tmp_path / 'out')])['models'][FIRST_MASK]
    overlaps = [(SIDE - SHIFT * t) / (SIDE + SHIFT * t) for t in range(1, 5)]
    assert found['videos']['square']['J'] == pytest.approx(np.mean(overlaps), abs=1e-4)
    assert list(found['videos']) == ['square'] and found['videos']['square']['frames'] == 5
    assert found['left_out'] == ['empty: no frame shows an object', 'square: the 1 frames before the first object']
    with pytest.raises(ValueError, match=r'no video to compare on\. empty: no frame shows an object'):
        run_model(task(truth, tmp_path, only=('empty',)))


def test_the_name_of_a_video_never_becomes_a_path(tmp_path):
    truth = davis_folder(tmp_path / 'davis', '[x] .. *')
    compare_models([task(truth, tmp_path / 'out')])
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['.vis_ros', '_x_ .. _.jpg', 'comparison.json']
