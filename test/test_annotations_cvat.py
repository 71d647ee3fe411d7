"""Labels that CVAT exports, from files made by hand, and pre-labels that it imports."""

import itertools
import json
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from helpers.annotated_memory import box, frame, video, videos
from helpers.random_annotations import content, random_videos
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.converting import convert_annotations
from vis_ros.datasets.cvat_xml import read_cvat, write_cvat
from vis_ros.datasets.mots_png import read_mots_png, write_mots_png
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.pixel_outline import pixel_outline
from vis_ros.datasets.problems import AnnotationError

HEAD = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><name>drive</name><size>{size}</size><mode>interpolation</mode>
    <start_frame>{start}</start_frame><stop_frame>{stop}</stop_frame><frame_filter>{filter}</frame_filter>
    <labels><label><name>car</name></label><label><name>dog &amp; cat</name></label></labels>
    <original_size><width>30</width><height>20</height></original_size></task></meta>
"""


def write_xml(path, tracks, *, size=4, start=0, stop=None, filter=''):
    text = HEAD.format(size=size, start=start, stop=size - 1 if stop is None else stop, filter=filter)
    path.write_text(f'{text}{tracks}</annotations>\n')
    return path


def track(identity, label, *shapes):
    return f'<track id="{identity}" label="{label}" source="manual">{"".join(shapes)}</track>\n'


def polygon(number, x0, y0, x1, y1, *, keyframe=1, outside=0):
    return (
        f'<polygon frame="{number}" keyframe="{keyframe}" outside="{outside}" occluded="0" z_order="0" '
        f'points="{x0:.2f},{y0:.2f};{x1:.2f},{y0:.2f};{x1:.2f},{y1:.2f};{x0:.2f},{y1:.2f}"/>'
    )


def found(annotations):
    """(frame name, {id: (class, mask)}) of each frame of the only video."""
    (only,) = annotations.videos
    return [
        {
            number: (annotations.class_names[class_id], decode(mask))
            for number, class_id, mask in zip(each.track_ids.tolist(), each.class_ids.tolist(), each.masks, strict=True)
        }
        for each in only
    ]


def assert_frames(got, wanted):
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        names, expected = ({number: name for number, (name, _) in each.items()} for each in (one, other))
        assert names == expected
        for number, (_, mask) in other.items():
            np.testing.assert_array_equal(one[number][1], mask)


# --- CVAT for video ---------------------------------------------------------------------------------------------------


def test_tracks_of_cvat_have_their_ids_classes_and_masks(tmp_path):
    # The window of the mask is 3 x 2 pixels, row by row: background 1, object 2, background 1, object 2.
    mask = '<mask frame="1" keyframe="1" outside="0" rle="1, 2, 1, 2" left="20" top="5" width="3" height="2"/>'
    write_xml(
        tmp_path / 'annotations.xml',
        track(0, 'dog &amp; cat', polygon(0, 2, 3, 8, 9), polygon(1, 3, 3, 9, 9), polygon(2, 3, 3, 9, 9, outside=1))
        + track(5, 'car', mask, polygon(3, 0, 0, 30, 20)),
    )
    two_rows = np.zeros((20, 30), np.uint8)
    two_rows[5, 21:23] = two_rows[6, 21:23] = 1
    pet = 'dog & cat'
    read = open_annotations(tmp_path)
    assert (read.kind, read.class_names) == ('CVAT for video XML', ('car', pet))
    assert_frames(
        found(read),
        [
            {0: (pet, box(2, 3, 8, 9))},
            {0: (pet, box(3, 3, 9, 9)), 5: ('car', two_rows)},
            {5: ('car', two_rows)},
            {5: ('car', np.ones((20, 30), np.uint8))},
        ],
    )


def test_polygons_move_evenly_between_keyframes_and_other_shapes_wait(tmp_path):
    triangle = '<polygon frame="4" keyframe="1" outside="0" occluded="0" points="0,0;4,0;0,4"/>'
    write_xml(
        tmp_path / 'a.xml',
        track(1, 'car', polygon(0, 0, 0, 4, 4), polygon(4, 8, 4, 12, 8))
        + track(2, 'car', polygon(2, 20, 0, 24, 4), triangle),
        size=5,
    )
    read = read_cvat(tmp_path / 'a.xml')
    got = found(read)
    for number in range(5):
        np.testing.assert_array_equal(got[number][1][1], box(2 * number, number, 2 * number + 4, number + 4))
    np.testing.assert_array_equal(got[3][2][1], box(20, 0, 24, 4))
    assert 2 not in got[1]
    assert read.inferred == ['1 frame between keyframes of different shape show the earlier one']


def test_frames_of_a_task_that_starts_within_its_video(tmp_path):
    shapes = track(1, 'car', polygon(10, 0, 0, 4, 4), polygon(20, 0, 0, 4, 4), polygon(30, 0, 0, 4, 4, outside=1))
    write_xml(tmp_path / 'a.xml', shapes, size=3, start=10, stop=30, filter='step=10')
    assert [len(each) for each in found(read_cvat(tmp_path / 'a.xml'))] == [1, 1, 0]
    write_xml(tmp_path / 'b.xml', track(1, 'car', polygon(0, 0, 0, 4, 4)), size=3, start=10, stop=30, filter='step=10')
    assert [len(each) for each in found(read_cvat(tmp_path / 'b.xml'))] == [1, 1, 1], 'numbers within the task'


def test_images_of_a_task_are_found_by_number_or_by_order(tmp_path):
    (tmp_path / 'images').mkdir()
    write_xml(tmp_path / 'annotations.xml', track(1, 'car', polygon(0, 0, 0, 4, 4)), size=2)
    for name in ('frame_000000.PNG', 'frame_000001.PNG'):
        cv2.imwrite(str(tmp_path / 'images' / name), np.full((20, 30, 3), int(name[11]) + 1, np.uint8))
    assert [each.read_image()[0, 0, 0] for each in read_cvat(tmp_path).videos[0]] == [1, 2]
    for old, new in (('frame_000000.PNG', 'b.png'), ('frame_000001.PNG', 'a.png')):
        (tmp_path / 'images' / old).rename(tmp_path / 'images' / new)
    assert [each.read_image()[0, 0, 0] for each in read_cvat(tmp_path).videos[0]] == [2, 1]


@pytest.mark.parametrize(
    ('tracks', 'what'),
    [
        (track(1, 'car', '<box frame="0" xtl="1" ytl="1" xbr="3" ybr="3"/>'), 'is a box, but masks or polygons'),
        (track('x', 'car'), "'id' is 'x', expected a number"),
        (track(1, 'car') + track(1, 'car'), r'the id 1 is already used by track\[0\]'),
        (track(1, 'car', polygon(9, 0, 0, 4, 4)), 'has shapes in frame 9, but the task has 4 frames'),
        (track(1, 'car', '<polygon frame="0" points="1,2;3"/>'), "'points' is '1,2;3', expected"),
        (track(1, 'car', '<polygon frame="0" points="1,2;3,4"/>'), 'has 4 numbers, expected x y pairs'),
        (track(1, 'car', '<polygon frame="0" points="1,2;3,400;5,6"/>'), 'outside the image of 30x20'),
        (track(1, 'car', '<mask frame="0" rle="1,2" left="0" top="0" width="2" height="2"/>'), 'sum to 3'),
        (track(1, 'car', '<mask frame="0" rle="4" left="29" top="0" width="2" height="2"/>'), 'leaves the image'),
        (track(1, 'car', '<mask frame="0" rle="a" left="0" top="0" width="2" height="2"/>'), "'rle' is 'a'"),
        ('<image id="0" name="a.jpg" width="30" height="20"/>', 'is CVAT for images, which has no identities'),
        ('<track', 'is not XML'),
        ('<!ENTITY a "b">', 'declares a document type or entities'),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, tracks, what):
    with pytest.raises(AnnotationError, match=what):
        open_annotations(write_xml(tmp_path / 'a.xml', tracks))


def test_a_file_of_another_program_is_named(tmp_path):
    (tmp_path / 'annotations.xml').write_text('<annotation><object/></annotation>')
    with pytest.raises(AnnotationError, match='has the root <annotation>, expected <annotations> of CVAT'):
        open_annotations(tmp_path)


def test_what_is_written_for_cvat_is_what_was_there(tmp_path):
    made = random_videos(names=('one', 'two'), ignored=True, images=True)
    losses = write_cvat(made, tmp_path / 'out')
    read = open_annotations(tmp_path / 'out')
    assert content(read) == content(made)
    assert losses == ['names of 10 frames (numbered from 0)']
    root = ElementTree.parse(tmp_path / 'out' / 'one' / 'annotations.xml').getroot()
    assert root.tag == 'annotations' and root.findtext('meta/task/size') == '5'
    assert {shape.tag for shape in root.iterfind('track/*')} == {'polygon'}, 'CVAT forgets the identity of masks'
    for element in root.iterfind('track'):
        shapes = list(element)
        assert len({shape.get('frame') for shape in shapes}) == len(shapes)
        for before, after in itertools.pairwise(shapes):
            gap = int(after.get('frame')) - int(before.get('frame'))
            assert gap == 1 or before.get('outside') == '1', 'a track ends where its object is out of sight'


def test_a_polygon_has_exactly_the_pixels_of_its_mask():
    random = np.random.default_rng(3)
    for density in (0.1, 0.5, 0.9):
        for _ in range(30):
            mask = (random.random(random.integers(1, 25, 2)) < density).astype(np.uint8)
            points = [value for point in pixel_outline(mask) for value in point]
            if mask.any():
                (code,) = coco.frPyObjects([points], *mask.shape)
                np.testing.assert_array_equal(coco.decode(code), mask)
    assert pixel_outline(np.zeros((3, 3), np.uint8)) == []
    assert len(pixel_outline(box(3, 4, 10, 12))) == 4


# --- MOTS PNG ---------------------------------------------------------------------------------------------------------


def png(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(values, np.uint16))


def test_pixels_of_mots_png_are_class_and_number(tmp_path):
    values = np.zeros((20, 30), np.uint16)
    values[2:5, 3:9], values[10:14, 3:9], values[:, 25:] = 1001, 2007, 10_000
    png(tmp_path / 'default' / 'instances' / 'a.png', values)
    png(tmp_path / 'default' / 'instances' / 'b.png', values * 0)
    (tmp_path / 'default' / 'instances' / 'labels.txt').write_text('dog\ncat\n')
    for place in (tmp_path, tmp_path / 'default', tmp_path / 'default' / 'instances'):
        read = open_annotations(place)
        assert (read.kind, read.class_names) == ('MOTS PNG', ('dog', 'cat'))
        wanted = {1001: ('dog', box(3, 2, 9, 5)), 2007: ('cat', box(3, 10, 9, 14))}
        assert_frames(found(read), [wanted, {}])
        first = next(iter(read.videos[0]))
        np.testing.assert_array_equal(decode(first.ignored), box(25, 0, 30, 20))


def test_kitti_has_a_folder_for_each_sequence(tmp_path):
    for name, number in (('0000', 1001), ('0001', 2003)):
        png(tmp_path / 'instances' / name / '000000.png', np.full((20, 30), number))
        (tmp_path / 'image_02' / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'image_02' / name / '000000.png'), np.full((20, 30, 3), 9, np.uint8))
    read = open_annotations(tmp_path)
    assert [video.name for video in read.videos] == ['0000', '0001'] and read.class_names == ('car', 'pedestrian')
    frames = [next(iter(video)) for video in read.videos]
    assert [each.track_ids.tolist() for each in frames] == [[1001], [2003]]
    assert [each.class_ids.tolist() for each in frames] == [[0], [1]]
    assert all((each.read_image() == 9).all() for each in frames)


@pytest.mark.parametrize(
    ('values', 'labels', 'what'),
    [(7, None, 'values below 1000'), (3001, 'a\nb\n', 'has 2 classes, but objects are of class 3')],
)
def test_what_is_wrong_with_a_png_is_said(tmp_path, values, labels, what):
    png(tmp_path / 'instances' / 'a.png', np.full((20, 30), values))
    if labels:
        (tmp_path / 'instances' / 'labels.txt').write_text(labels)
    with pytest.raises(AnnotationError, match=what):
        read_mots_png(tmp_path)


def test_damaged_png_files_are_named(tmp_path):
    for number in range(2):
        png(tmp_path / 'instances' / f'{number}.png', np.full((20, 30), 1001))
    file = tmp_path / 'instances' / '1.png'
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(AnnotationError, match=r'1\.png'):
        read_mots_png(tmp_path)
    cv2.imwrite(str(file), np.zeros((20, 30), np.uint8))
    with pytest.raises(AnnotationError, match='is not a gray PNG of 16 bits'):
        read_mots_png(tmp_path)


def test_what_is_written_as_mots_png_is_what_was_there(tmp_path):
    made = random_videos(names=('one', 'two'), disjoint=True, ignored=True, images=True, class_names=('a', 'b c'))
    assert write_mots_png(made, tmp_path / 'out') == ['ids of 8 of 8 objects (they got new ones)']
    read = open_annotations(tmp_path / 'out')
    assert content(read, ids=False) == content(made, ids=False)
    write_mots_png(read, tmp_path / 'again')
    assert content(open_annotations(tmp_path / 'again')) == content(read), 'ids of this form are kept'


# --- COCO with track ids ----------------------------------------------------------------------------------------------


def coco_file(path, annotations, names=('clip/1.jpg', 'clip/10.jpg', 'clip/2.jpg')):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{'id': 5 + n, 'file_name': name, 'height': 20, 'width': 30} for n, name in enumerate(names)]
    categories = [{'id': 3, 'name': 'dog'}, {'id': 9, 'name': 'cat'}]
    path.write_text(json.dumps({'images': images, 'categories': categories, 'annotations': annotations}))
    return path


def annotation(identity, image_id, corners, category=3, **more):
    x0, y0, x1, y1 = corners
    return {
        'id': identity, 'image_id': image_id, 'category_id': category, 'iscrowd': 0,
        'segmentation': [[x0, y0, x1, y0, x1, y1, x0, y1]], **more,
    }  # fmt: skip


@pytest.mark.parametrize('in_attributes', [True, False])
def test_images_of_a_folder_with_track_ids_are_a_video(tmp_path, in_attributes):
    def ids(number):
        return {'attributes': {'occluded': False, 'track_id': number}} if in_attributes else {'track_id': number}

    file = coco_file(
        tmp_path / 'annotations' / 'instances_default.json',
        [
            annotation(1, 5, (0, 0, 4, 4), **ids(4)),
            annotation(2, 6, (2, 0, 6, 4), **ids(4)),
            annotation(3, 7, (1, 0, 5, 4), **ids(4)),
            annotation(4, 7, (20, 10, 25, 15), 9, **ids(8)),
        ],
    )
    read = open_annotations(file)
    assert read.kind == 'COCO JSON with track ids' and [video.name for video in read.videos] == ['clip']
    one, two, ten = (('dog', box(x, 0, x + 4, 4)) for x in (0, 1, 2))
    assert_frames(found(read), [{4: one}, {4: two, 8: ('cat', box(20, 10, 25, 15))}, {4: ten}])
    assert read.inferred == ['the images of each folder are a video in natural order (1 video)']


def test_masks_of_cvat_are_no_crowds_and_shapes_without_track_are_told(tmp_path):
    mask = {'size': [20, 30], 'counts': [0, 20, 580]}
    rows = [
        annotation(1, 5, (0, 0, 4, 4), attributes={'track_id': 1}),
        annotation(2, 6, (0, 0, 4, 4), attributes={'track_id': 1}, iscrowd=1) | {'segmentation': mask},
        annotation(3, 7, (9, 9, 12, 12), attributes={}),
    ]
    read = open_annotations(coco_file(tmp_path / 'a.json', rows))
    one, ten, two = found(read)[0], found(read)[2], found(read)[1]
    np.testing.assert_array_equal(ten[1][1], box(0, 0, 1, 20))
    assert list(one) == [1] and len(two) == 1 and 1 not in two
    assert '1 annotation without track id, each an object of one image' in read.inferred
    assert any('as CVAT writes masks' in text for text in read.inferred)


def test_ids_that_are_ignored_are_told(tmp_path):
    photos = open_annotations(coco_file(tmp_path / 'a.json', [annotation(1, 5, (0, 0, 4, 4), track_id=3)]))
    assert photos.kind == 'COCO JSON' and len(photos.videos) == 3
    assert photos.inferred == ['track ids of 1 annotation ignored, because each occurs in one image only']
    rows = [annotation(1, 5, (0, 0, 4, 4), score=0.5, track_id=3), annotation(2, 6, (0, 0, 4, 4), score=0.5)]
    (tmp_path / 'results.json').write_text(json.dumps(rows))
    results = open_annotations(tmp_path / 'results.json', truth=photos)
    assert results.inferred == ['track ids of 1 row ignored: each row is a track of its own']
    assert [len(next(iter(video))) for video in results.videos] == [1, 1, 0]
    shared = [annotation(n, 5 + n, (0, 0, 4, 4), track_id=3) for n in range(4)]
    names = ('a/1.jpg', 'a/2.jpg', 'b/1.jpg', 'b/2.jpg')
    videos_read = open_annotations(coco_file(tmp_path / 'b.json', shared, names))
    assert any(
        text.startswith('ids of 2 objects ignored: several videos use the same ids') for text in videos_read.inferred
    )


def test_coco_for_a_colleague_has_names_ids_and_scores(tmp_path):
    made = videos(
        video([[(7, (0, 0, 4, 4), 1, 0.5)], [(7, (2, 0, 6, 4), 1, 0.25)]], 'clip'), class_names=('dog', 'cat')
    )
    convert_annotations(made, tmp_path / 'out', 'coco')
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert [each['name'] for each in written['categories']] == ['dog', 'cat']
    assert [(each['track_id'], each['score'], each['category_id']) for each in written['annotations']] == [
        (7, 0.5, 2), (7, 0.25, 2)
    ]  # fmt: skip
    for record, mask in zip(written['annotations'], (box(0, 0, 4, 4), box(2, 0, 6, 4)), strict=True):
        code = coco.frPyObjects(record['segmentation'], 20, 30)
        np.testing.assert_array_equal(coco.decode(code), mask)
        assert record['area'] == 16
    assert content(open_annotations(tmp_path / 'out'), scores=False) == content(made, scores=False)


def test_text_files_that_are_no_labels_do_not_hide_the_annotations(tmp_path):
    coco_file(tmp_path / 'annotations.json', [annotation(1, 5, (0, 0, 4, 4))])
    (tmp_path / 'README.roboflow.txt').write_text('Exported\n')
    (tmp_path / 'SOURCE.txt').write_text('https://example.com\n')
    assert open_annotations(tmp_path).kind == 'COCO JSON'


def test_a_frame_that_is_empty_stays_a_frame(tmp_path):
    made = videos(video([frame([(1, (0, 0, 3, 3))], 0), frame([], 1), frame([(1, (0, 0, 3, 3))], 2)], 'v'))
    for kind in ('cvat', 'mots-png', 'coco'):
        convert_annotations(made, tmp_path / kind, kind)
        assert [len(each) for each in open_annotations(tmp_path / kind).videos[0]] == [1, 0, 1], kind
    assert encode(box(0, 0, 3, 3)) == next(iter(open_annotations(tmp_path / 'cvat').videos[0])).masks[0]
