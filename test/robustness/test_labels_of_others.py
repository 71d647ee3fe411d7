"""Labels that users reported as lost, refused or read wrongly, similar ones, and the correct result of each."""

import json

import cv2
import numpy as np
import pytest
from helpers.random_annotations import random_videos

from vis_ros.datasets.checking import check_annotations
from vis_ros.datasets.converting import convert_annotations
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.youtube_vis import write_youtube_vis

SIZE = (60, 80)
SQUARE = {'size': list(SIZE), 'counts': [60 * 10 + 5, 20, *[40, 20] * 9, 4800 - 60 * 10 - 5 - 20 - 9 * 60]}
"""20 x 10 pixels."""


def problem(path, **options):
    """The only problem of a file or folder."""
    found = check_annotations(path, **options)
    assert len(found.problems) == 1, found.problems
    return found.problems[0].what


def write_images(folder, count=3):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f'{number:05d}.jpg'), np.full((*SIZE, 3), 90, np.uint8))


def truth(names=('left/00000.jpg',), **changes):
    return {
        'videos': [{'id': 1, 'height': SIZE[0], 'width': SIZE[1], 'file_names': list(names)}],
        'categories': [{'id': 1, 'name': 'disc'}],
        'annotations': [{'id': 1, 'video_id': 1, 'category_id': 1, 'segmentations': [SQUARE] * len(names)}],
        **changes,
    }


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# --- guesses about gray values ----------------------------------------------------------------------------------------


def masks(folder, images):
    (folder / 'Annotations' / 'clip').mkdir(parents=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / 'Annotations' / 'clip' / f'{number:05d}.png'), image)
    return folder


def disc(x, value=255):
    image = np.zeros(SIZE, np.uint8)
    cv2.circle(image, (x, 30), 15, value, -1)
    return image


def soft(image):
    return cv2.GaussianBlur(image, (7, 7), 2)


def interpolated(image):
    """A map of numbers that was enlarged as if it were a picture: between objects 40 and 200 lie all other numbers."""
    return cv2.resize(image, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    'images',
    [
        [soft(disc(x)) for x in (20, 30, 40)],
        [interpolated(np.maximum(disc(x, 40), disc(x + 25, 200))) for x in (20, 30)],
        [cv2.imdecode(cv2.imencode('.jpg', disc(x))[1], cv2.IMREAD_GRAYSCALE) for x in (20, 30)],
    ],
    ids=['soft edges', 'interpolated numbers', 'saved as JPEG'],
)
def test_gray_values_that_are_no_numbers_of_objects_are_refused(tmp_path, images):
    path = masks(tmp_path, images)
    assert 'not plausible as numbers of objects' in problem(path) and '--gray-masks mask' in problem(path)
    found = check_annotations(path, gray='mask')
    assert not found.problems and [len(summary.tracks) for summary in found.summaries] == [1]
    first = next(iter(open_annotations(path, gray='mask').videos[0]))
    from vis_ros.datasets.coco_rle import decode

    np.testing.assert_array_equal(decode(first.masks[0]), images[0] >= 128)


def test_what_gray_values_are_taken_for_is_told(tmp_path):
    one = check_annotations(masks(tmp_path / 'one', [disc(20), disc(30)]))
    assert one.inferred == ['gray mask images: 255 is the one object (--gray-masks)'] and not one.problems
    many = [sum(disc(x, value) for x, value in ((16, 3), (50, 7))) for _ in range(2)]
    several = check_annotations(masks(tmp_path / 'many', many))
    assert several.inferred == ['gray mask images: each value is the number of an object, 255 is void (--gray-masks)']
    assert sorted(several.summaries[0].tracks) == [3, 7] and not several.problems


# --- names of files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name', ['left\\00000.jpg', 'C:\\data\\JPEGImages\\left\\00000.jpg', '/home/me/left/00000.jpg']
)
def test_names_of_another_machine_are_found_below_the_data_set(tmp_path, name):
    write_images(tmp_path / 'JPEGImages' / 'left')
    write_images(tmp_path / 'JPEGImages' / 'right')
    content = truth([name, name.replace('00000', '00001')])
    found = check_annotations(write_json(tmp_path / 'instances.json', content))
    assert not found.problems and [summary.images for summary in found.summaries] == [2]
    assert found.videos.videos[0].name == 'left'


def test_images_that_are_named_and_not_there_are_a_problem(tmp_path):
    path = write_json(tmp_path / 'instances.json', truth(['left/00000.jpg', 'left/00001.jpg']))
    assert problem(path) == 'names 2 image files, and none of them is there: give their folder with --images'
    write_images(tmp_path / 'left', 1)
    assert problem(path) == '1 of 2 frames have no image'


@pytest.mark.parametrize('name', ['../secret.jpg', '{root}/secret.jpg', 'left/../../secret.jpg', '..\\secret.jpg'])
def test_a_name_never_leads_out_of_the_data_set(tmp_path, name):
    write_images(tmp_path)
    (tmp_path / '00000.jpg').rename(tmp_path / 'secret.jpg')
    content = truth([name.format(root=tmp_path)])
    videos = open_annotations(write_json(tmp_path / 'a' / 'set' / 'instances.json', content))
    (frame,) = videos.videos[0]
    assert frame.read_image is None
    convert_annotations(videos, tmp_path / 'out', 'davis')
    assert not list((tmp_path / 'out').rglob('*.jpg'))


def test_only_images_are_copied_and_no_link_out_of_the_data_set(tmp_path):
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set' / 'id_rsa').write_text('TOP SECRET KEY')
    videos = open_annotations(write_json(tmp_path / 'set' / 'instances.json', truth(['id_rsa'])))
    with pytest.raises(AnnotationError, match='id_rsa: cannot be decoded'):
        convert_annotations(videos, tmp_path / 'out', 'davis')
    write_images(tmp_path)
    (tmp_path / 'set' / 'photo.jpg').symlink_to(tmp_path / '00000.jpg')
    videos = open_annotations(write_json(tmp_path / 'set' / 'instances.json', truth(['photo.jpg'])))
    with pytest.raises(AnnotationError, match=r'photo\.jpg: is a link that leads out of'):
        convert_annotations(videos, tmp_path / 'out', 'davis')
    assert not (tmp_path / 'out').exists()


def test_a_file_that_was_converted_without_images_does_not_miss_them(tmp_path):
    write_youtube_vis(random_videos(frames=2), tmp_path)
    assert not check_annotations(tmp_path).problems


# --- formats by content -----------------------------------------------------------------------------------------------


def coco_vid(key='instance_id'):
    """Three frames in the wrong order, one object that is missing in the second."""
    images = [
        {'id': 7 + n, 'video_id': 1, 'frame_id': n, 'height': 60, 'width': 80, 'file_name': f'clip/{n:05d}.jpg'}
        for n in (2, 0, 1)
    ]
    annotations = [
        {'id': n, key: 31, 'image_id': 7 + n, 'category_id': 1, 'segmentation': SQUARE, 'iscrowd': 0} for n in (0, 2)
    ]
    categories = [{'id': 1, 'name': 'disc'}]
    return {
        'videos': [{'id': 1, 'name': 'clip'}],
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }


@pytest.mark.parametrize('key', ['instance_id', 'track_id'])
def test_coco_vid_is_read(tmp_path, key):
    write_images(tmp_path / 'clip')
    found = check_annotations(write_json(tmp_path / 'instances.json', coco_vid(key)))
    assert not found.problems and found.videos.kind == 'CocoVID JSON'
    (video,) = found.videos.videos
    assert [frame.name for frame in video] == ['00000.jpg', '00001.jpg', '00002.jpg']
    assert [frame.track_ids.tolist() for frame in video] == [[31], [], [31]]


def test_faults_of_coco_vid_are_named(tmp_path):
    content = coco_vid()
    content['annotations'][1]['image_id'] = 99
    assert problem(write_json(tmp_path / 'x.json', content)) == "'image_id' is 99, which is not among images"


def coco_truth():
    images = [{'id': 5, 'height': 60, 'width': 80, 'file_name': '00000.jpg'}]
    annotations = [{'id': 1, 'image_id': 5, 'category_id': 1, 'segmentation': SQUARE}]
    return {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'disc'}]}


def test_coco_results_are_read_for_a_coco_truth_and_named_for_videos(tmp_path):
    write_images(tmp_path, 1)
    path = write_json(tmp_path / 'truth.json', coco_truth())
    rows = [{'image_id': 5, 'category_id': 1, 'segmentation': SQUARE, 'score': 0.8}]
    results = write_json(tmp_path / 'results.json', rows)
    (frame,) = open_annotations(results, truth=open_annotations(path)).videos[0]
    assert frame.scores.tolist() == [0.8] and frame.size == SIZE
    videos = write_json(tmp_path / 'videos.json', truth(['a/0.jpg', 'a/1.jpg']))
    assert 'COCO results (rows with image_id) of single images' in problem(results, truth=open_annotations(videos))


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        ([{'name': 'a.jpg', 'labels': []}] * 1000, 'a list of Scalabel (BDD100K) frames'),
        ({'frames': [], 'config': {}}, 'Scalabel (BDD100K)'),
        ([{'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 2, 2], 'score': 0.5}] * 1000, 'boxes without masks'),
        (
            coco_truth() | {'annotations': [{'id': 1, 'image_id': 5, 'category_id': 1, 'bbox': []}]},
            'boxes without masks',
        ),
        (coco_truth() | {'annotations': [{'image_id': 5, 'segments_info': []}]}, 'COCO panoptic'),
        ({'shapes': [], 'imagePath': 'a.jpg', 'imageData': None}, 'a LabelMe file'),
        ({'videos': {'a': {'objects': {}}}}, 'the meta.json of YouTube-VOS'),
        ({'_via_img_metadata': {}}, 'VGG Image Annotator'),
        ({'sequences': [], 'categories': []}, 'BURST'),
    ],
)
def test_other_json_is_one_line_with_what_to_do(tmp_path, content, told):
    assert told in problem(write_json(tmp_path / 'labels.json', content))


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('{},1,10.5,20,30,40,1,-1,-1,-1', 'boxes of MOTChallenge'),
        ('{} 1 Car 0 0 -1.8 296.7 161.7 455.2 292.3 2 1.8 4.4 -4.5 1.8 13.4 -2.1', 'boxes of KITTI tracking'),
        ('{} 0.5 0.5 0.1 0.2', 'boxes of YOLO'),
        ('{} 0.1 0.1 0.2 0.1 0.2 0.2', 'polygons of YOLO'),
    ],
)
def test_other_text_is_one_line_with_what_to_do(tmp_path, line, told):
    (tmp_path / 'seq.txt').write_text(''.join(f'{line.format(number)}\n' for number in range(1500)))
    assert told in problem(tmp_path / 'seq.txt')


def test_a_thousand_problems_of_one_kind_are_one_line(tmp_path):
    (tmp_path / 'seq.txt').write_text(''.join(f'{number} x y\n' for number in range(1500)))
    with pytest.raises(AnnotationError) as caught:
        open_annotations(tmp_path / 'seq.txt')
    assert len(caught.value.problems) == 1500
    assert str(caught.value).endswith(
        'has 3 fields, expected 6: frame id class height width rle (and 1499 more like it)'
    )
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'told'),
    [
        (b'PK\x03\x04' + bytes(50), 'a ZIP archive'),
        (b'<html>', 'an HTML page'),
        (b'version https://git-lfs', 'Git LFS'),
    ],
)
def test_other_files_are_named(tmp_path, content, told):
    (tmp_path / 'labels.json').write_bytes(content)
    assert told in problem(tmp_path / 'labels.json')


# --- every byte has a limit -------------------------------------------------------------------------------------------


def test_sizes_that_would_fill_the_memory_are_refused(tmp_path):
    content = truth()
    content['videos'][0] |= {'height': 30000, 'width': 30000}
    content['annotations'][0]['segmentations'] = [{'size': [30000, 30000], 'counts': [0, 900_000_000]}]
    found = check_annotations(write_json(tmp_path / 'x.json', content))
    assert 'the image has 30000x30000 pixels, more than the limit of 67108864' in found.problems[0].what
    (tmp_path / 'x.txt').write_text('0 1001 1 30000 30000 0\n')
    assert 'more than the limit of 67108864 pixels' in problem(tmp_path / 'x.txt')


def test_a_corrupt_frame_number_makes_no_video_of_ten_million_frames(tmp_path):
    (tmp_path / 'x.txt').write_text(f'0 1001 1 60 80 {"PlV1"}\n9999999 1001 1 60 80 {"PlV1"}\n')
    found = check_annotations(tmp_path / 'x.txt')
    assert found.problems and found.videos is None
