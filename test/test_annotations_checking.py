"""Checking: faulty data of each format and exactly the problems to report; valid data have none."""

import json

import cv2
import numpy as np
import pytest
from helpers.random_annotations import content, random_videos
from test_annotations_mots import line
from test_annotations_replay_folder import record, write
from test_annotations_youtube_vis import POLYGON, truth

from vis_ros.datasets.bag_annotations import write_bag
from vis_ros.datasets.checking import check_annotations
from vis_ros.datasets.coco_json import read_coco
from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.mask_png import encode_mask_png
from vis_ros.datasets.mots import write_mots
from vis_ros.datasets.youtube_vis import write_youtube_vis

WRITERS = {'youtube-vis': write_youtube_vis, 'davis': write_davis, 'mots': write_mots, 'bag': write_bag}


def reported(found):
    return [(each.record, each.what) for each in found.problems]


@pytest.mark.parametrize('kind', WRITERS)
def test_valid_data_have_no_problems_and_are_summarized(tmp_path, kind):
    made = random_videos(disjoint=True, ignored=True, images=True)
    WRITERS[kind](made, tmp_path / 'out')
    opened, frames = [], []
    found = check_annotations(tmp_path / 'out', on_open=opened.append, on_frame=lambda: frames.append(1))
    assert reported(found) == [] and found.empty == 0
    assert opened == [found.videos] and len(frames) == 10
    assert [len(each.names) for each in found.summaries] == [5, 5]
    masks = sum(len(frame) for video in made.videos for frame in video)
    assert sum(each.masks for each in found.summaries) == masks
    assert sum(len(each.tracks) for each in found.summaries) == 8
    assert sum(each.images for each in found.summaries) == 10
    assert sum(each.ignored for each in found.summaries) == 10


# --- YouTube-VIS ------------------------------------------------------------------------------------------------------


def annotations(*changes):
    """The good annotation of `truth`, once for each change of it."""
    good = truth()['annotations'][0]
    return {'annotations': [good | {'id': 20 + number} | change for number, change in enumerate(changes)]}


def videos(**changes):
    return {'videos': [truth()['videos'][0] | changes], 'annotations': []}


RUNS = {'size': [10, 12], 'counts': [100, 20]}


@pytest.mark.parametrize(
    ('changes', 'problems'),
    [
        ({}, []),
        ({'videos': None}, [
            ('', "'videos' is None, expected a list"),
            ('annotations[0], id 17', "'video_id' is 7, which is not among videos"),
            ('annotations[1], id 18', "'video_id' is 7, which is not among videos"),
        ]),
        ({'videos': [], 'annotations': [], 'categories': []}, [
            ('categories', 'is empty: there is no class'),
            ('videos', 'is empty: there is nothing annotated'),
        ]),
        ({'categories': [3, {'id': True, 'name': 'x'}, {'id': 3, 'name': 'a'}, {'id': 9, 'name': 'a'}, {'id': 9}]}, [
            ('categories[0]', 'is 3, expected an object'),
            ('categories[1]', "'id' is True, expected an integer"),
            ('categories[3], id 9', "the name 'a' is already used by another category"),
            ('categories[4], id 9', 'the id 9 is already used by categories[3]'),
            ('categories[4], id 9', "has no 'name'"),
        ]),
        (videos(width='12', height=-1), [
            ('videos[0], id 7', "'height' is -1, expected 1 to 32768"),
            ('videos[0], id 7', "'width' is '12', expected an integer"),
        ]),
        (videos(file_names=['a', 'b', 'a', 4], length=3), [
            ('videos[0], id 7', "file_names[2] is 'a', the same as file_names[0]"),
            ('videos[0], id 7', 'file_names[3] is 4, expected an image file name'),
            ('videos[0], id 7', "'length' is 3, but 'file_names' has 4"),
        ]),
        (videos(file_names=[], length=0), [('videos[0], id 7', "'file_names' is empty: the video has no frame")]),
        (videos(stamps_ns=[1, 2.5]), [
            ('videos[0], id 7', "'stamps_ns' has 2 entries, but there are 3 frames"),
            ('videos[0], id 7', 'stamps_ns[1] is 2.5, expected integer nanoseconds'),
        ]),
        ({'videos': truth()['videos'] * 2}, [('videos[1], id 7', 'the id 7 is already used by videos[0]')]),
        (annotations({'id': 1}, {'id': 1}, {'id': None}, {'id': 2**63}), [
            ('annotations[1], id 1', 'the id 1 is already used by annotations[0]'),
            ('annotations[2]', "'id' is None, expected an integer"),
            ('annotations[3]', "'id' is 9223372036854775808, expected an integer"),
        ]),
        (annotations({'video_id': 8}, {'category_id': 4}, {'video_id': '7'}, {'iscrowd': 'no'}), [
            ('annotations[0], id 20', "'video_id' is 8, which is not among videos"),
            ('annotations[1], id 21', "'category_id' is 4, which is not among categories"),
            ('annotations[2], id 22', "'video_id' is '7', expected an integer"),
            ('annotations[3], id 23', "'iscrowd' is 'no', expected 0 or 1"),
        ]),
        (annotations({'height': 12, 'width': 12}, {'segmentations': [None]}, {'segmentations': None}), [
            ('annotations[0], id 20', "'height' is 12, but its video has 10"),
            ('annotations[1], id 21', "'segmentations' has 1 entries, but its video has 3 frames"),
            ('annotations[2], id 22', "'segmentations' is None, expected a list"),
        ]),
        (annotations({'segmentations': [[], {'size': [10, 12], 'counts': [5]}, {'size': [12, 10], 'counts': [120]}]},
                     {'segmentations': [[[1, 2, 3, 4, 5]], [[0, 0, 1, 1, float('nan'), 4]], [[0, 0, 5, 5, 0, 50]]]}), [
            ('annotations[0], id 20, segmentations[0]', 'is [], expected null, polygons or a run-length code'),
            ('annotations[0], id 20, segmentations[1]', 'run lengths sum to 5, but the image has 10 x 12 = 120 pixels'),
            ('annotations[0], id 20, segmentations[2]',
             "run-length code: 'size' is [12, 10], expected [10, 12] (height, width)"),
            ('annotations[1], id 21, segmentations[0]', 'polygon 0: has 5 numbers, expected x y pairs, at least 3'),
            ('annotations[1], id 21, segmentations[1]', 'polygon 0: contains nan'),
            ('annotations[1], id 21, segmentations[2]',
             'polygon 0: has the point (0, 50) outside the image of 12x10 pixels'),
        ]),
        (annotations({'segmentations': [RUNS, [[1, 1, 1, 1, 1, 1]], {'size': [10, 12], 'counts': [120]}]}), [
            ('a, frame 5.jpg', 'the mask of object 20 is empty'),
            ('a, frame 10.jpg', 'the mask of object 20 is empty'),
        ]),
    ],
)  # fmt: skip
def test_every_fault_of_youtube_vis_is_reported(tmp_path, changes, problems):
    path = tmp_path / 'x.json'
    path.write_text(json.dumps(truth(**changes)))
    found = check_annotations(path)
    missing = ('', 'names 3 image files, and none of them is there: give their folder with --images')
    assert [each for each in reported(found) if each != missing] == problems
    assert {each.file for each in found.problems} <= {str(path)}


def test_faults_of_images_are_reported(tmp_path):
    (tmp_path / 'x.json').write_text(json.dumps(truth()))
    folder = tmp_path / 'JPEGImages' / 'a'
    folder.mkdir(parents=True)
    missing = [('', 'names 3 image files, and none of them is there: give their folder with --images')]
    assert reported(check_annotations(tmp_path / 'x.json')) == missing
    without = {**truth(), 'info': {'has_images': False}}
    (tmp_path / 'without.json').write_text(json.dumps(without))
    assert reported(check_annotations(tmp_path / 'without.json')) == [], 'converted from a recording'
    cv2.imwrite(str(folder / '0.jpg'), np.zeros((10, 13, 3), np.uint8))
    _, data = cv2.imencode('.jpg', np.zeros((10, 12, 3), np.uint8))
    (folder / '5.jpg').write_bytes(data.tobytes()[:-20])
    first, second, third = reported(check_annotations(tmp_path / 'x.json'))
    assert first == ('a, frame 0.jpg', 'the image has 13x10 pixels, the masks have 12x10')
    assert second[1].startswith('cannot be decoded: corrupt JPEG')
    assert third == ('a', '1 of 3 frames have no image')


# --- the other formats ------------------------------------------------------------------------------------------------


def test_faults_of_davis_are_reported(tmp_path):
    folder = tmp_path / 'Annotations' / 'bear'
    folder.mkdir(parents=True)
    good = encode_mask_png(np.eye(8, 9, dtype=np.uint8))
    other = encode_mask_png(np.eye(9, 8, dtype=np.uint8))
    for index, data in enumerate([good, good[:-9], other, b'', b'\xff\xd8\xff\xe0' + bytes(40), good]):
        (folder / f'{index:05d}.png').write_bytes(data)
    pictures = tmp_path / 'JPEGImages' / 'bear'
    pictures.mkdir(parents=True)
    cv2.imwrite(str(pictures / '00005.png'), np.zeros((4, 4, 3), np.uint8))
    found = check_annotations(tmp_path)
    assert [(each.file.removeprefix(f'{folder}/'), each.record, each.what) for each in found.problems] == [
        ('00001.png', '', f'is truncated after {len(good) - 9} bytes'),
        (str(tmp_path), 'bear, frame 00002.png', 'has 8x9 pixels, but 00000.png has 9x8'),
        ('00003.png', '', 'is not a PNG: its 0 bytes start with nothing'),
        ('00004.png', '', 'is not a PNG: its 44 bytes start with ff d8 ff e0'),
        (str(tmp_path), 'bear, frame 00005.png', 'the image has 4x4 pixels, the masks have 9x8'),
        (str(tmp_path), 'bear', '2 of 3 frames have no image'),
    ]
    assert [each.names for each in found.summaries] == [['00000.png', '00002.png', '00005.png']]


def test_faults_of_mots_are_reported(tmp_path):
    lines = [
        line(0, 1001, box=(0, 0, 4, 4)),
        line(0, 1002, box=(2, 2, 6, 6)),
        line(1, 1001, box=(0, 0, 0, 0)),
        line(2, 1001, box=(0, 0, 4, 4)),
        line(2, 10000, box=(3, 3, 8, 6)),
        line(3, 1001, box=(0, 0, 4, 4)),
        line(3, 2001, box=(4, 0, 8, 4)),
    ]
    (tmp_path / 'a.txt').write_text(''.join(lines))
    assert reported(check_annotations(tmp_path / 'a.txt')) == [
        ('a, frame 000000', 'masks overlap in 4 pixels, which MOTS does not allow'),
        ('a, frame 000001', 'the mask of object 1001 is empty'),
        ('a, frame 000002', 'masks overlap in 1 pixels, which MOTS does not allow'),
    ]


def test_empty_masks_in_results_are_counted_and_no_problem(tmp_path):
    lines = [record(0)[0], record(1)[0]]
    lines[1]['instances'][0]['mask'] = {'size': [10, 12], 'counts': [120]}
    found = check_annotations(write(tmp_path, lines))
    assert reported(found) == [] and found.empty == 1
    assert [each.masks for each in found.summaries] == [3]


def test_faults_of_coco_images_and_outlines_are_reported(tmp_path):
    images = [{'id': 1, 'file_name': 'a.png', 'height': 10, 'width': 12}]
    dot = [[3, 3, 3, 3, 3, 3]]
    rows = [{'id': k, 'image_id': 1, 'category_id': 1, 'segmentation': each} for k, each in ((1, POLYGON), (2, dot))]
    file = {'images': images, 'categories': [{'id': 1, 'name': 'x'}], 'annotations': rows}
    (tmp_path / 'x.json').write_text(json.dumps(file))
    (tmp_path / 'a.png').write_bytes(b'x')
    found = check_annotations(tmp_path)
    assert [(each.file, each.record) for each in found.problems] == [
        (str(tmp_path / 'x.json'), 'a, frame a.png'),
        (str(tmp_path / 'a.png'), ''),
    ]
    assert found.problems[0].what == 'the mask of object 2 is empty'
    assert content(read_coco(tmp_path / 'x.json'))['a'][0][5][0][0] == 1


def test_a_damaged_bag_is_reported(tmp_path):
    write_bag(random_videos(names=('only',)), tmp_path / 'bag')
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    file.write_bytes(file.read_bytes()[:200])
    (problem,) = check_annotations(file).problems
    assert 'breaks off at byte 200' in str(problem)


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_annotations(tmp_path / 'nowhere')
    assert reported(check_annotations(tmp_path))[0][1].startswith('holds no annotations')
