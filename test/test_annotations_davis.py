"""DAVIS folders: palettes against Pillow, TrackEval as an independent reader, and the meaning of gray images."""

import io

import cv2
import numpy as np
import pytest
import trackeval
from helpers.annotated_memory import video, videos
from helpers.random_annotations import content, random_videos
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.davis import read_davis, write_davis
from vis_ros.datasets.mask_png import VOC_PALETTE, checked_numbers, decode_mask_png, encode_mask_png
from vis_ros.datasets.problems import AnnotationError

HELD = {'classes': False, 'stamps': False, 'scores': False}


def pillow_png(numbers, mode='P', palette=VOC_PALETTE, **options):
    image = Image.fromarray(numbers, mode)
    if mode == 'P':
        image.putpalette(palette.tobytes())
    data = io.BytesIO()
    image.save(data, 'PNG', **options)
    return data.getvalue()


def folder_of(path, images):
    """A folder with these mask images: bytes of files, or values that OpenCV writes."""
    path.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        file = path / f'{index:05d}.png'
        if isinstance(image, bytes):
            file.write_bytes(image)
        else:
            cv2.imwrite(str(file), image)
    return path


def ids_and_void(path):
    """The ids of the objects and the number of void pixels of each frame."""
    (only,) = read_davis(path).videos
    return [(each.track_ids.tolist(), 0 if each.ignored is None else int(decode(each.ignored).sum())) for each in only]


# --- images -----------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_palette_images_are_read_as_by_pillow(numbers):
    data = encode_mask_png(numbers)
    image = Image.open(io.BytesIO(data))
    assert image.mode == 'P' and (np.asarray(image) == numbers).all()
    colors = np.asarray(image.convert('RGB'))
    read = decode_mask_png(data)
    assert read.meaning == 'numbers' and (read.values == numbers).all()
    assert (checked_numbers(colors[..., ::-1]) == numbers).all()


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_palette_images_with_few_bits_are_read(bits):
    numbers = (np.arange(35).reshape(5, 7) % (1 << bits)).astype(np.uint8)
    read = decode_mask_png(pillow_png(numbers, palette=VOC_PALETTE[: 1 << bits], bits=bits))
    assert read.meaning == 'numbers' and (read.values == numbers).all()


def test_the_palette_is_the_one_of_voc():
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 7: (128, 128, 128)}
    known |= {8: (64, 0, 0), 20: (0, 64, 128), 255: (224, 224, 192)}
    for number, color in known.items():
        assert tuple(VOC_PALETTE[number].tolist()) == color


@pytest.mark.parametrize('cut', [0, 5, 40, 100, -20, -5])
def test_truncated_images_are_refused(cut):
    numbers = np.random.default_rng(0).integers(0, 9, (30, 40), np.uint8)
    for data in (encode_mask_png(numbers), pillow_png(numbers, 'L')):
        with pytest.raises(ValueError, match=r'is not a PNG|truncated'):
            decode_mask_png(data[:cut])


def test_a_flipped_bit_is_detected():
    data = bytearray(encode_mask_png(np.random.default_rng(0).integers(0, 9, (30, 40), np.uint8)))
    data[1200] ^= 4
    with pytest.raises(ValueError, match='is damaged or truncated at byte'):
        decode_mask_png(bytes(data))


# --- what the values mean ---------------------------------------------------------------------------------------------


def test_0_and_255_alone_in_a_whole_video_are_one_object(tmp_path):
    mask = np.zeros((8, 9), np.uint8)
    mask[2:4, 3:7] = 255
    assert ids_and_void(folder_of(tmp_path / 'gray', [mask * 0, mask])) == [([], 0), ([1], 0)]
    assert ids_and_void(folder_of(tmp_path / 'color', [cv2.merge([mask] * 3)])) == [([1], 0)]
    assert ids_and_void(folder_of(tmp_path / 'alpha', [cv2.merge([mask, mask, mask, mask * 0 + 255])])) == [([1], 0)]
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    assert ids_and_void(folder_of(tmp_path / 'ramp', [pillow_png(mask, palette=ramp)])) == [([1], 0)]
    assert ids_and_void(folder_of(tmp_path / 'bit', [pillow_png(mask > 0, None, bits=1)])) == [([1], 0)]


def test_255_is_void_where_any_frame_has_numbers_or_a_palette(tmp_path):
    void = np.zeros((8, 9), np.uint8)
    void[2:4, 3:7] = 255
    numbers = void.copy()
    numbers[5] = 2
    assert ids_and_void(folder_of(tmp_path / 'gray', [void, numbers, void * 0])) == [([], 8), ([2], 8), ([], 0)]
    assert ids_and_void(folder_of(tmp_path / 'palette', [pillow_png(void), pillow_png(void * 0)])) == [([], 8), ([], 0)]
    colors = [VOC_PALETTE[each][..., ::-1] for each in (void, numbers)]
    assert ids_and_void(folder_of(tmp_path / 'colors', colors)) == [([], 8), ([2], 8)]
    assert ids_and_void(folder_of(tmp_path / 'mixed', [void, pillow_png(numbers)])) == [([], 8), ([2], 8)]
    assert ids_and_void(folder_of(tmp_path / 'empty', [void, pillow_png(void * 0)])) == [([], 8), ([], 0)]
    assert ids_and_void(folder_of(tmp_path / 'other', [pillow_png(void), colors[1]])) == [([], 8), ([2], 8)]


def test_the_gray_of_number_7_is_recognized_by_the_colors_of_other_frames(tmp_path):
    seven, both = np.zeros((2, 8, 9), np.uint8)
    seven[2:4], both[2:4], both[5] = 7, 7, 1
    colors = [VOC_PALETTE[each][..., ::-1] for each in (seven, both)]
    assert ids_and_void(folder_of(tmp_path / 'colors', colors)) == [([7], 0), ([1, 7], 0)]
    grays = [cv2.merge([each * 10] * 3) for each in (seven, both)]
    assert ids_and_void(folder_of(tmp_path / 'grays', grays)) == [([70], 0), ([10, 70], 0)]


def test_colors_that_are_not_in_the_palette_are_reported(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    (only,) = read_davis(folder_of(tmp_path / 'photos', [photo])).videos
    with pytest.raises(AnnotationError, match=r'00000.png: has the color \(\d+, \d+, \d+\) at x 0, y 0'):
        only.frame(0)


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('annotations', ['Annotations', 'Annotations/480p', 'Annotations_unsupervised/Full-Resolution'])
def test_folders_are_found_from_each_level(tmp_path, annotations):
    mask = np.eye(8, 9, dtype=np.uint8)
    for name in ('bear', 'camel'):
        folder_of(tmp_path / annotations / name, [mask])
        images = tmp_path / annotations.replace('Annotations_unsupervised', 'JPEGImages').replace(
            'Annotations', 'JPEGImages'
        )
        (images / name).mkdir(parents=True)
        cv2.imwrite(str(images / name / '00000.jpg'), np.full((8, 9, 3), 90, np.uint8))
    levels = [tmp_path, *(tmp_path / annotations).parents, tmp_path / annotations]
    for path in [level for level in levels if tmp_path in (level, *level.parents)]:
        read = read_davis(path)
        assert [each.name for each in read.videos] == ['bear', 'camel']
        assert [next(iter(each)).read_image().mean() for each in read.videos] == [90, 90]
    (only,) = read_davis(tmp_path / annotations / 'camel').videos
    assert only.name == 'camel' and next(iter(only)).read_image is not None


def test_several_sets_of_annotations_are_refused(tmp_path):
    mask = np.eye(8, 9, dtype=np.uint8)
    for kind in ('Annotations/480p', 'Annotations/1080p', 'Annotations_unsupervised'):
        folder_of(tmp_path / kind / 'bear', [mask])
    with pytest.raises(AnnotationError, match='choose one of them: Annotations, Annotations_unsupervised'):
        read_davis(tmp_path)
    with pytest.raises(AnnotationError, match='choose one of them: 480p, 1080p'):
        read_davis(tmp_path / 'Annotations')


def test_empty_folders_are_reported(tmp_path):
    with pytest.raises(AnnotationError, match='contains no mask images'):
        read_davis(tmp_path)
    folder_of(tmp_path / 'a', [np.eye(4, dtype=np.uint8)])
    for name in ('b', 'c'):
        (tmp_path / name).mkdir()
    with pytest.raises(AnnotationError) as caught:
        read_davis(tmp_path)
    assert [(each.file, each.what) for each in caught.value.problems] == [
        (str(tmp_path / name), 'has no mask image *.png') for name in ('b', 'c')
    ]


def test_frames_are_the_annotated_ones_in_natural_order(tmp_path):
    for name in ('10', '5', '0'):
        folder_of(tmp_path / 'Annotations' / 'v', [])
        cv2.imwrite(str(tmp_path / 'Annotations' / 'v' / f'{name}.png'), np.eye(8, 9, dtype=np.uint8))
    (only,) = read_davis(tmp_path).videos
    assert [(each.index, each.name) for each in only] == [(0, '0.png'), (1, '5.png'), (2, '10.png')]


def test_a_bad_image_does_not_hide_the_next(tmp_path):
    good = encode_mask_png(np.eye(8, 9, dtype=np.uint8))
    deep = np.full((8, 9), 2005, np.uint16)
    (only,) = read_davis(folder_of(tmp_path / 'v', [good, good[:50], deep, good])).videos
    assert [only.frame(index).track_ids.tolist() for index in (0, 3)] == [[1], [1]]
    with pytest.raises(AnnotationError, match=r'00001\.png: is damaged or truncated'):
        only.frame(1)
    with pytest.raises(AnnotationError, match=r'00002\.png: has 16 bits per pixel'):
        only.frame(2)


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', range(3))
def test_what_is_written_is_read(tmp_path, seed):
    made = random_videos(seed, disjoint=True, ignored=True, has_classes=False, images=True)
    assert write_davis(made, tmp_path) == []
    read = read_davis(tmp_path)
    assert content(read, **HELD) == content(made, **HELD)
    assert read.class_names == ('object',) and not read.has_classes
    assert all(each.read_image().shape == (24, 36, 3) for one in read.videos for each in one)


def test_trackeval_reads_the_images(tmp_path):
    made = random_videos(1, disjoint=True, ignored=True, has_classes=False)
    results = random_videos(2, disjoint=True, has_classes=False)
    write_davis(made, tmp_path / 'truth')
    write_davis(results, tmp_path / 'trackers' / 'ours')
    dataset = trackeval.datasets.DAVIS(
        {
            'GT_FOLDER': str(tmp_path / 'truth' / 'Annotations'),
            'TRACKERS_FOLDER': str(tmp_path / 'trackers'),
            'TRACKER_SUB_FOLDER': 'Annotations',
            'PRINT_CONFIG': False,
        }
    )
    assert sorted(dataset.seq_list) == ['first', 'second']
    for mine, result in zip(made.videos, results.videos, strict=True):
        raw = dataset.get_raw_seq_data('ours', mine.name)
        for index, (frame, other) in enumerate(zip(mine, result, strict=True)):
            for ids, dets, expected in (('gt_ids', 'gt_dets', frame), ('tracker_ids', 'tracker_dets', other)):
                assert raw[ids][index].tolist() == expected.track_ids.tolist()
                for rle, mask in zip(raw[dets][index], expected.masks, strict=True):
                    assert (coco.decode(rle) == decode(mask)).all()
            void = 0 if frame.ignored is None else decode(frame.ignored)
            assert (coco.decode(raw['masks_void'][index]) == void).all()


def test_losses_are_reported_with_counts(tmp_path):
    lower, higher = (0, 0, 6, 4), (4, 0, 10, 4)
    made = videos(
        [[(300, lower, 0, 0.4), (301, higher, 1, 0.9)], [(301, higher, 1, 0.9), (302, (5, 1, 6, 2), 0, 0.1)]],
        class_names=('a', 'b'),
    )
    assert write_davis(made, tmp_path) == [
        'classes of 3 objects',
        'ids of 3 of 3 objects (they got new ones)',
        'scores of 4 detections',
        'overlaps of 9 pixels (given to the higher score, then to the smaller object)',
        '1 mask completely covered by others',
    ]
    frames = list(read_davis(tmp_path).videos[0])
    assert [each.track_ids.tolist() for each in frames] == [[1, 2], [2]]
    assert [int(decode(mask).sum()) for mask in frames[0].masks] == [16, 24]


def test_with_equal_scores_the_smaller_object_wins(tmp_path):
    made = videos([[(2, (2, 2, 4, 4)), (1, (0, 0, 10, 10))]], has_classes=False)
    write_davis(made, tmp_path)
    (frame,) = read_davis(tmp_path).videos[0]
    assert [int(decode(mask).sum()) for mask in frame.masks] == [96, 4]


def test_an_object_with_id_0_gets_another_id(tmp_path):
    made = videos([[(0, (2, 2, 4, 4)), (1, (5, 5, 9, 9))]], has_classes=False)
    assert write_davis(made, tmp_path) == ['ids of 2 of 2 objects (they got new ones)']
    (frame,) = read_davis(tmp_path).videos[0]
    assert [int(decode(mask).sum()) for mask in frame.masks] == [4, 16]


def test_more_objects_than_numbers_are_refused(tmp_path):
    made = videos(video([[(number + 1, (0, 0, 2, 2)) for number in range(255)]], 'crowd'))
    with pytest.raises(ValueError, match='video crowd has 255 objects, but a DAVIS image can hold 254'):
        write_davis(made, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
