"""YouTube-VIS JSON: round trips, TrackEval and pycocotools as independent readers, results, images."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import trackeval
from helpers.annotated_memory import frame, video, videos
from helpers.random_annotations import content, random_videos
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.youtube_vis import read_youtube_vis, write_youtube_vis
from vis_ros.datasets.youtube_vis_results import read_youtube_vis_results, result_rows, write_youtube_vis_results

POLYGON = [[2.0, 2.0, 8.0, 2.0, 8.0, 6.0, 2.0, 6.0]]


def truth(**changes):
    """A file by hand: one video of three frames with an object as polygon, nothing, run lengths, and a crowd."""
    return {
        'videos': [{'id': 7, 'width': 12, 'height': 10, 'length': 3, 'file_names': ['a/0.jpg', 'a/5.jpg', 'a/10.jpg']}],
        'categories': [{'id': 3, 'name': 'dog'}, {'id': 9, 'name': 'cat'}],
        'annotations': [
            {
                'id': 17,
                'video_id': 7,
                'category_id': 9,
                'iscrowd': 0,
                'segmentations': [POLYGON, None, {'size': [10, 12], 'counts': [100, 20]}],
            },
            {
                'id': 18,
                'video_id': 7,
                'category_id': 3,
                'iscrowd': 1,
                'segmentations': [None, {'size': [10, 12], 'counts': 'T3d0'}, None],
            },
        ],
        **changes,
    }


def written(tmp_path, record, name='instances.json'):
    path = tmp_path / name
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize('seed', range(3))
def test_what_is_written_is_read(tmp_path, seed):
    made = random_videos(seed, ignored=True, stamps=True)
    assert write_youtube_vis(made, tmp_path / 'out') == []
    read = read_youtube_vis(tmp_path / 'out' / 'instances.json')
    assert content(read) == content(made)
    assert read.class_names == made.class_names and read.has_classes
    assert content(read) == content(read), 'a video can be read again'


def test_the_same_videos_give_the_same_bytes(tmp_path):
    for out in ('a', 'b'):
        write_youtube_vis(random_videos(ignored=True, scores=True), tmp_path / out)
    for name in ('instances.json', 'results.json'):
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_a_file_by_hand(tmp_path):
    read = read_youtube_vis(written(tmp_path, truth()))
    (only,) = read.videos
    assert (only.name, len(only), read.class_names) == ('a', 3, ('dog', 'cat'))
    first, second, third = only
    assert [each.name for each in only] == ['0.jpg', '5.jpg', '10.jpg']
    assert first.track_ids.tolist() == third.track_ids.tolist() == [17] and len(second) == 0
    assert first.class_ids.tolist() == [1] and first.scores.tolist() == [1] and first.stamp_ns is None
    assert (decode(first.masks[0]) == coco.decode(coco.frPyObjects(POLYGON, 10, 12))[..., 0]).all()
    assert decode(third.masks[0]).T.ravel().tolist() == [0] * 100 + [1] * 20
    assert decode(second.ignored).sum() == 20 and first.ignored is None
    assert only.frame(2).track_ids.tolist() == [17]


def test_outlines_without_a_pixel_are_left_out(tmp_path):
    record = truth()
    record['annotations'][0]['segmentations'][2] = {'size': [10, 12], 'counts': [120]}
    (only,) = read_youtube_vis(written(tmp_path, record)).videos
    assert len(only.frame(2)) == 0 and only.empty_masks(2) == [17] and only.empty_masks(0) == []


def test_videos_get_unique_names(tmp_path):
    def names(*file_names):
        listed = [{'id': i, 'width': 4, 'height': 4, 'file_names': files} for i, files in enumerate(file_names)]
        record = {'videos': listed, 'categories': [{'id': 1, 'name': 'x'}], 'annotations': []}
        return [each.name for each in read_youtube_vis(written(tmp_path, record)).videos]

    assert names(['x/a/0.jpg', 'x/a/1.jpg'], ['x/b/0.jpg']) == ['a', 'b']
    assert names(['x/a/0.jpg'], ['y/a/0.jpg']) == ['x_a', 'y_a']
    assert names(['0.jpg'], ['1.jpg']) == ['0', '1']


def test_images_are_found_decoded_and_copied(tmp_path):
    made = random_videos(names=('only',), images=True)
    write_youtube_vis(made, tmp_path / 'out')
    images = [each.read_image() for each in made.videos[0]]
    read = read_youtube_vis(tmp_path / 'out' / 'instances.json')
    for each, image in zip(read.videos[0], images, strict=True):
        _, jpeg = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert (each.read_image() == cv2.imdecode(jpeg, cv2.IMREAD_COLOR)).all()

    write_youtube_vis(read, tmp_path / 'copy')
    for file in (tmp_path / 'out' / 'JPEGImages' / 'only').iterdir():
        assert (tmp_path / 'copy' / 'JPEGImages' / 'only' / file.name).read_bytes() == file.read_bytes()

    for file in (tmp_path / 'out' / 'JPEGImages' / 'only').iterdir():
        cv2.imwrite(str(file.with_suffix('.png')), cv2.imread(str(file)))
        file.unlink()
    text = (tmp_path / 'out' / 'instances.json').read_text().replace('.jpg', '.png')
    (tmp_path / 'out' / 'instances.json').write_text(text)
    write_youtube_vis(read_youtube_vis(tmp_path / 'out' / 'instances.json'), tmp_path / 'lossless')
    (again,) = read_youtube_vis(tmp_path / 'lossless' / 'instances.json').videos
    assert [each.name for each in again] == [f'{index:05d}.png' for index in range(5)]
    read = read_youtube_vis(tmp_path / 'out' / 'instances.json')

    (tmp_path / 'out' / 'JPEGImages').rename(tmp_path / 'elsewhere')
    assert all(each.read_image is None for each in read.videos[0])
    read = read_youtube_vis(tmp_path / 'out' / 'instances.json', images=tmp_path / 'elsewhere')
    assert next(iter(read.videos[0])).read_image().shape == (24, 36, 3)


# --- independent readers ----------------------------------------------------------------------------------------------


def evaluate(tmp_path, made, results):
    """TrackEval's own reading of both files -> its raw data of each video."""
    gt, tracker = tmp_path / 'gt' / 'youtube_vis_x', tmp_path / 'trackers' / 'youtube_vis_x' / 'ours' / 'data'
    tracker.mkdir(parents=True)
    write_youtube_vis(made, gt)
    write_youtube_vis_results(results, tracker / 'results.json')
    for extra in gt.glob('results.json'):
        extra.unlink()
    dataset = trackeval.datasets.YouTubeVIS(
        {
            'GT_FOLDER': f'{tmp_path}/gt/',
            'TRACKERS_FOLDER': f'{tmp_path}/trackers/',
            'SPLIT_TO_EVAL': 'x',
            'PRINT_CONFIG': False,
        }
    )
    return {name: dataset.get_raw_seq_data('ours', name) for name in dataset.seq_list}


def test_trackeval_reads_truth_and_results(tmp_path, capsys):
    made = random_videos(3, scores=False)
    results = random_videos(4, scores=True)
    raw = evaluate(tmp_path, made, results)
    assert list(raw) == ['first', 'second']
    for video_made, video_result in zip(made.videos, results.videos, strict=True):
        theirs = raw[video_made.name]
        for index, (mine, result) in enumerate(zip(video_made, video_result, strict=True)):
            assert theirs['gt_ids'][index].tolist() == mine.track_ids.tolist()
            assert (theirs['gt_classes'][index] - 1).tolist() == mine.class_ids.tolist()
            for rle, mask in zip(theirs['gt_dets'][index], mine.masks, strict=True):
                assert (coco.decode(rle) == decode(mask)).all()
            assert (theirs['tracker_classes'][index] - 1).tolist() == result.class_ids.tolist()
            for rle, mask in zip(theirs['tracker_dets'][index], result.masks, strict=True):
                assert (coco.decode(rle) == decode(mask)).all()
            iou = coco.iou(list(result.masks), list(mine.masks), [0] * len(mine)) if len(mine) and len(result) else None
            if iou is not None:
                assert np.allclose(theirs['similarity_scores'][index], np.asarray(iou).T)


def test_areas_and_boxes_are_those_of_the_masks(tmp_path):
    made = random_videos(names=('only',))
    write_youtube_vis(made, tmp_path)
    frames = list(made.videos[0])
    rows = json.loads((tmp_path / 'instances.json').read_text())['annotations']
    assert len(rows) == 4
    for row in rows:
        for each, area, box in zip(frames, row['areas'], row['bboxes'], strict=True):
            position = np.flatnonzero(each.track_ids == row['id'])
            if not len(position):
                assert area is box is None
                continue
            mask = decode(each.masks[position[0]])
            ys, xs = np.nonzero(mask)
            assert area == mask.sum()
            assert box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_ids_that_are_not_unique_or_too_large_are_renumbered_and_reported(tmp_path):
    box = (1, 1, 5, 5)
    made = videos(video([[(3, box), (4, box)]], 'a'), video([[(3, box)]], 'b'))
    assert write_youtube_vis(made, tmp_path) == ['ids of 2 of 3 objects (they got new ones)']
    rows = json.loads((tmp_path / 'instances.json').read_text())['annotations']
    assert [(row['id'], row['video_id']) for row in rows] == [(1, 1), (2, 1), (3, 2)]

    epochs = videos([[(2**32 + 1, box)]])
    assert write_youtube_vis(epochs, tmp_path) == ['ids of 1 of 1 object (they got new ones)']


def test_scores_and_class_changes_are_reported_and_become_results(tmp_path):
    box = (1, 1, 5, 5)
    made = videos([[(1, box, 1, 0.5)], [(1, box, 0, 0.7)], [(1, box, 1, 0.9)]], class_names=('a', 'b'))
    losses = write_youtube_vis(made, tmp_path)
    assert losses == [
        'class changes of 1 of 1 object (the most frequent class is kept)',
        'scores of 3 detections (results.json holds the mean score of each object)',
    ]
    (row,) = json.loads((tmp_path / 'results.json').read_text())
    assert (row['score'], row['category_id'], row['video_id']) == (0.7, 2, 1)
    assert all(isinstance(each['counts'], str) for each in row['segmentations'])
    tie = videos([[(1, box, 1, 0.5)], [(1, box, 0, 0.7)]], class_names=('a', 'b'))
    assert [row['category_id'] for row in result_rows(tie)] == [1], 'the lowest of equal votes'


def test_frames_of_different_sizes_are_refused(tmp_path):
    made = videos(video([frame([], 0, size=(4, 6)), frame([], 1, size=(6, 4))], 'turned'))
    with pytest.raises(ValueError, match=r'turned differ in size \(6x4, 4x6\)'):
        write_youtube_vis(made, tmp_path)


# --- results ----------------------------------------------------------------------------------------------------------


def test_results_are_read_over_the_frames_of_the_truth(tmp_path):
    made = random_videos(stamps=True, images=True)
    results = random_videos(5, scores=True)
    write_youtube_vis_results(results, tmp_path / 'rows.json')
    write_youtube_vis(made, tmp_path)
    known = read_youtube_vis(tmp_path / 'instances.json')
    read = read_youtube_vis_results(tmp_path / 'rows.json', known)
    masks = {'ids': False, 'scores': False, 'stamps': False}
    assert content(read, **masks) == content(results, **masks)
    for got, expected in zip(read.videos, known.videos, strict=True):
        for mine, its in zip(got, expected, strict=True):
            assert (mine.name, mine.stamp_ns) == (its.name, its.stamp_ns)
            assert (mine.read_image() == its.read_image()).all()
    means = {row['score'] for row in json.loads((tmp_path / 'rows.json').read_text())}
    assert {score for each in read.videos for frame in each for score in frame.scores} == means
    ids = [set(np.concatenate([frame.track_ids for frame in each]).tolist()) for each in read.videos]
    assert not ids[0] & ids[1], 'each row is an identity'


def test_results_name_videos_and_classes_by_the_ids_of_the_truth(tmp_path):
    row = {
        'video_id': 7,
        'category_id': 9,
        'score': 0.5,
        'segmentations': [{'size': [10, 12], 'counts': 'T3d0'}, None, None],
    }
    known = read_youtube_vis(written(tmp_path, truth()))
    read = read_youtube_vis_results(written(tmp_path, [row], 'rows.json'), known)
    first = next(iter(read.videos[0]))
    assert read.class_names[first.class_ids[0]] == 'cat' and first.scores.tolist() == [0.5]
    memory = videos([[], [], []], class_names=('x', 'y'))
    memory = replace(memory, videos=[video([frame([], i, size=(10, 12)) for i in range(3)])])
    read = read_youtube_vis_results(written(tmp_path, [row | {'video_id': 1, 'category_id': 2}], 'rows.json'), memory)
    assert next(iter(read.videos[0])).class_ids.tolist() == [1], 'without ids they count from 1'


def test_every_bad_row_is_reported(tmp_path):
    good = {'video_id': 7, 'category_id': 9, 'score': 0.5, 'segmentations': [None, None, None]}
    rows = [
        good,
        good | {'video_id': 8},
        good | {'category_id': 1},
        good | {'score': 1.5},
        good | {'score': float('nan')},
        good | {'score': True},
        good | {'segmentations': [None]},
        good | {'segmentations': [None, {'size': [12, 10], 'counts': [120]}, {'size': [10, 12], 'counts': [1]}]},
        {},
        3,
    ]
    known = read_youtube_vis(written(tmp_path, truth()))
    path = written(tmp_path, rows, 'rows.json')
    with pytest.raises(AnnotationError) as caught:
        read_youtube_vis_results(path, known)
    assert [(each.file, each.record, each.what) for each in caught.value.problems] == [
        (str(path), record, what)
        for record, what in [
            ('row 1', "'video_id' is 8, which is not among the videos of the ground truth"),
            ('row 2', "'category_id' is 1, which is not among the categories of the ground truth"),
            ('row 3', "'score' is 1.5, expected a number from 0 to 1"),
            ('row 4', "'score' is nan, expected a number from 0 to 1"),
            ('row 5', "'score' is True, expected a number from 0 to 1"),
            ('row 6', "'segmentations' has 1 entries, but its video has 3 frames"),
            ('row 7, segmentations[1]', "run-length code: 'size' is [12, 10], expected [10, 12] (height, width)"),
            ('row 7, segmentations[2]', 'run lengths sum to 1, but the image has 10 x 12 = 120 pixels'),
            ('row 8', "has no 'video_id'"),
            ('row 8', "has no 'category_id'"),
            ('row 8', "has no 'score'"),
            ('row 8', "has no 'segmentations'"),
            ('row 9', 'is 3, expected an object'),
        ]
    ]


def test_empty_masks_of_results_are_left_out(tmp_path):
    made = videos(video([frame([], i, size=(10, 12)) for i in range(2)]))
    empty, full = {'size': [10, 12], 'counts': [120]}, {'size': [10, 12], 'counts': [0, 120]}
    row = {'video_id': 1, 'category_id': 1, 'score': 0.5, 'segmentations': [empty, full]}
    read = read_youtube_vis_results(written(tmp_path, [row], 'rows.json'), made)
    assert [each.track_ids.tolist() for each in read.videos[0]] == [[], [1]]


def test_categories_are_ignored_if_the_ground_truth_has_none(tmp_path):
    made = videos(video([frame([], i, size=(10, 12)) for i in range(3)]), class_names=('object',), has_classes=False)
    row = {
        'video_id': 1,
        'category_id': 33,
        'score': 0.5,
        'segmentations': [None, {'size': [10, 12], 'counts': 'T3d0'}, None],
    }
    read = read_youtube_vis_results(written(tmp_path, [row], 'rows.json'), made)
    assert [each.class_ids.tolist() for each in read.videos[0]] == [[], [0], []] and not read.has_classes
