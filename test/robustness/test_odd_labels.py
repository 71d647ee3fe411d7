"""Labels that other tools make a little differently: read, or refused with one line that names the record."""

import json

import cv2
import pytest
from helpers.rectangles import draw

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError


def write_coco(folder, *names, category='cup'):
    """A COCO file of one object in each of some images; those whose name a file can have exist."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / 'a.png'), draw())
    content = {
        'images': [{'id': n, 'file_name': name, 'height': 48, 'width': 64} for n, name in enumerate(names)],
        'categories': [{'id': 0, 'name': category}],
        'annotations': [
            {'id': n, 'image_id': n, 'category_id': 0, 'segmentation': [[5, 5, 20, 5, 20, 20]]}
            for n in range(len(names))
        ],
    }
    path = folder / 'instances.json'
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize('name', ['a' * 5000 + '.png', 'a\0.png'])
def test_a_name_that_no_disk_can_have_is_an_image_that_is_not_there(tmp_path, name):
    videos = open_annotations(write_coco(tmp_path, 'a.png', name)).videos
    assert [video.frame(0).read_image is None for video in videos] == [False, True]


@pytest.mark.parametrize('name', ['', '.', '/', 'images/..'])
def test_a_name_that_is_none_is_named_with_its_record(tmp_path, name):
    with pytest.raises(AnnotationError, match=r"images\[1\], id 1: 'file_name' is "):
        open_annotations(write_coco(tmp_path, 'a.png', name))


def test_two_records_with_one_image_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"images\[1\], id 1: 'file_name' is 'a.png', the same as of images\[0\]"):
        open_annotations(write_coco(tmp_path, 'a.png', 'a.png'))


def test_a_class_name_that_no_file_can_hold_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"categories\[0\], id 0: 'name' is .*not valid Unicode"):
        open_annotations(write_coco(tmp_path, 'a.png', category='\ud800'))
