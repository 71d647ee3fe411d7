"""COCO files as videos of one frame, compared with the COCO class of pycocotools."""

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from vis_ros.datasets.coco_json import read_coco
from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.problems import AnnotationError

POLYGON = [[2, 2, 8, 2, 8, 6, 2, 6]]


@pytest.fixture
def record():
    return {
        'images': [
            {'id': 5, 'file_name': 'b.jpg', 'height': 10, 'width': 12},
            {'id': 2, 'file_name': 'a.png', 'height': 8, 'width': 9},
        ],
        'categories': [{'id': 18, 'name': 'dog', 'supercategory': 'animal'}, {'id': 1, 'name': 'person'}],
        'annotations': [
            {'id': 31, 'image_id': 5, 'category_id': 1, 'iscrowd': 0, 'segmentation': POLYGON, 'bbox': [2, 2, 6, 4]},
            {'id': 30, 'image_id': 5, 'category_id': 18, 'segmentation': [[0, 0, 3, 0, 3, 3], [6, 6, 9, 6, 9, 9]]},
            {
                'id': 32,
                'image_id': 2,
                'category_id': 18,
                'iscrowd': 1,
                'segmentation': {'size': [8, 9], 'counts': [60, 12]},
            },
        ],
    }


def written(folder, record):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / 'instances.json').write_text(json.dumps(record))
    return folder / 'instances.json'


def test_masks_and_classes_are_those_that_pycocotools_reads(tmp_path, record, capsys):
    path = written(tmp_path, record)
    theirs = COCO(path)
    read = read_coco(path)
    assert read.class_names == ('dog', 'person') and read.kind == 'COCO JSON'
    assert [(each.name, len(each)) for each in read.videos] == [('b', 1), ('a', 1)]
    (first,), (second,) = read.videos
    assert (first.name, first.index, first.size, second.size) == ('b.jpg', 0, (10, 12), (8, 9))
    assert first.track_ids.tolist() == [30, 31] and len(second) == 0
    for number, class_id, mask in zip(first.track_ids.tolist(), first.class_ids.tolist(), first.masks, strict=True):
        annotation = theirs.anns[number]
        assert (decode(mask) == theirs.annToMask(annotation)).all()
        assert read.class_names[class_id] == theirs.cats[annotation['category_id']]['name']
    assert (decode(second.ignored) == theirs.annToMask(theirs.anns[32])).all()


@pytest.mark.parametrize('place', ['.', 'images', '../images', 'elsewhere'])
def test_images_are_found(tmp_path, record, place):
    path = written(tmp_path / 'annotations', record)
    folder = path.parent / place
    folder.mkdir(exist_ok=True)
    for name, size in (('b.jpg', (10, 12)), ('a.png', (8, 9))):
        cv2.imwrite(str(folder / name), np.full((*size, 3), 77, np.uint8))
    record['images'][0]['file_name'] = 'train2017/b.jpg'
    read = read_coco(written(path.parent, record), images=folder if place == 'elsewhere' else None)
    assert [next(iter(each)).read_image().mean() for each in read.videos] == [77, 77]


def test_every_bad_record_is_reported(tmp_path, record):
    record['images'] += [{'id': 2, 'file_name': 'c.jpg', 'height': 1, 'width': 1}, {'id': 6, 'height': 0, 'width': 4}]
    record['annotations'] += [
        {'id': 31, 'image_id': 5, 'category_id': 1, 'segmentation': POLYGON},
        {'id': 33, 'image_id': 9, 'category_id': 4, 'segmentation': POLYGON},
        {'id': 34, 'image_id': 2, 'category_id': 1, 'iscrowd': 2, 'segmentation': [[1, 1, 30, 1, 5, 5]]},
        {'id': 35, 'image_id': 2, 'category_id': 1},
        {'id': 'x', 'image_id': 2, 'category_id': 1, 'segmentation': {'size': [8, 9], 'counts': 7}},
    ]
    with pytest.raises(AnnotationError) as caught:
        read_coco(written(tmp_path, record))
    assert [(each.record, each.what) for each in caught.value.problems] == [
        ('images[2], id 2', 'the id 2 is already used by images[1]'),
        ('images[3], id 6', "'height' is 0, expected 1 to 32768"),
        ('images[3], id 6', "has no 'file_name'"),
        ('annotations[3], id 31', 'the id 31 is already used by annotations[0]'),
        ('annotations[4], id 33', "'image_id' is 9, which is not among images"),
        ('annotations[4], id 33', "'category_id' is 4, which is not among categories"),
        ('annotations[5], id 34', "'iscrowd' is 2, expected 0 or 1"),
        (
            'annotations[5], id 34, segmentation',
            'polygon 0: has the point (30, 1) outside the image of 9x8 pixels',
        ),
        ('annotations[6], id 35', "has no 'segmentation'"),
        ('annotations[7]', "'id' is 'x', expected an integer"),
        (
            'annotations[7], segmentation',
            "run-length code: 'counts' is 7, expected a list of integers or a string",
        ),
    ]
