"""Labels that other tools make a little differently: read, or refused with one line that names the record."""

import json

import cv2
import numpy as np
import pytest
from helpers.rectangles import RED, draw

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.replay_folder import read_replay_folder


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


def test_hidden_files_of_a_mac_are_no_videos_masks_or_images(tmp_path):
    for kind in ('JPEGImages', 'Annotations'):
        (tmp_path / kind / 'left').mkdir(parents=True)
        (tmp_path / kind / '.trash').mkdir()
        cv2.imwrite(str(tmp_path / kind / 'left' / '0.png'), np.eye(48, 64, dtype=np.uint8))
        (tmp_path / kind / 'left' / '._0.png').write_bytes(b'\0\x05\x16\x07' + bytes(50))
    (video,) = open_annotations(tmp_path).videos
    assert [video.name, len(video), video.frame(0).name] == ['left', 1, '0.png']


def test_results_of_a_library_that_were_not_copied_are_told(tmp_path):
    rows = [{'folder': name, 'error': ''} for name in ('a', 'b')]
    (tmp_path / 'library.json').write_text(json.dumps({'version': 1, 'rows': rows}))
    (tmp_path / 'a').mkdir()
    line = {'version': 2, 'index': 0, 'name': 'x', 'epoch': 0, 'height': 2, 'width': 2, 'instances': []}
    (tmp_path / 'a' / 'results.jsonl').write_text(json.dumps(line) + '\n')
    assert '1 recording of the library left out' in read_replay_folder(tmp_path).remarks[0]
    assert read_replay_folder(tmp_path).remarks[0].endswith(': b')


def test_a_replay_that_was_copied_without_its_results_is_named(tmp_path):
    (tmp_path / 'run.json').write_text('{}')
    cv2.imwrite(str(tmp_path / 'contact_sheet.png'), draw((5, 5, 15, 15, RED)))
    with pytest.raises(AnnotationError, match=r'replay without results\.jsonl'):
        open_annotations(tmp_path)
