"""DavisSequence, from a DAVIS folder that the tests write."""

import cv2
import numpy as np
import pytest

from vis_ros.synthetic.coco_images import SUPERCATEGORIES
from vis_ros.synthetic.davis_sequence import (
    DAVIS_CLASSES,
    DAVIS_TEST,
    DAVIS_TRAIN,
    DavisSequence,
)


def write_sequence(root, name, masks, form=lambda mask: mask * 255):
    """Frames whose object becomes brighter over time."""
    for kind in ('JPEGImages', 'Annotations'):
        (root / kind / name).mkdir(parents=True)
    for time, mask in enumerate(masks):
        image = np.full((*mask.shape, 3), 20, np.uint8)
        image[mask > 0] = 100 + 15 * time
        cv2.imwrite(str(root / 'JPEGImages' / name / f'{time:05d}.jpg'), image)
        cv2.imwrite(str(root / 'Annotations' / name / f'{time:05d}.png'), form(mask))


def moving_square(frames=6, size=(60, 90)):
    masks = np.zeros((frames, *size), np.uint8)
    for time in range(frames):
        masks[time, 15:45, 5 + 8 * time : 35 + 8 * time] = 1
    return masks


@pytest.fixture
def root(tmp_path):
    write_sequence(tmp_path, 'cows', moving_square())
    return tmp_path


def test_frames_have_the_annotated_object(root):
    sequence = DavisSequence(root, 'cows', class_id=3)
    assert len(sequence) == sequence.length == 6
    for time, mask in enumerate(moving_square()):
        frame = sequence.frame(time)
        np.testing.assert_array_equal(frame.masks, [mask > 0])
        assert frame.object_ids.tolist() == [1] and frame.class_ids.tolist() == [3]
        assert abs(int(frame.image[30, 20 + 8 * time, 0]) - (100 + 15 * time)) < 8
        np.testing.assert_array_equal(frame.ignored, mask == 0)


def test_frame_without_object_is_empty(tmp_path):
    masks = moving_square(3)
    masks[1] = 0
    write_sequence(tmp_path, 'cows', masks)
    assert [len(DavisSequence(tmp_path, 'cows').frame(time)) for time in range(3)] == [1, 0, 1]


def voc_color(number):
    """The VOC palette: three bits of a number at a time, from the highest bit of each channel down."""
    red = green = blue = 0
    for shift in range(8):
        red |= (number >> 0 & 1) << (7 - shift)
        green |= (number >> 1 & 1) << (7 - shift)
        blue |= (number >> 2 & 1) << (7 - shift)
        number >>= 3
    return blue, green, red


def test_indexed_sequence_has_several_objects_and_void_pixels(tmp_path):
    masks = moving_square(2)
    masks[:, 50:58, 60:80] = 2
    masks[:, :5] = 255
    paint = lambda mask: np.array([voc_color(n) for n in range(256)], np.uint8)[mask]  # noqa: E731
    write_sequence(tmp_path, 'cows', masks, paint)
    frame = DavisSequence(tmp_path, 'cows').frame(0)
    assert frame.object_ids.tolist() == [1, 2]
    np.testing.assert_array_equal(frame.masks[1], masks[0] == 2)
    assert frame.ignored[:5].all()


def test_crops_go_forwards_and_backwards_through_the_sequence(root):
    sequence = DavisSequence(root, 'cows', class_id=3)
    shades = [int(np.median(sequence.crop(phase).image)) for phase in range(12)]
    expected = [100 + 15 * time for time in (0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1)]
    np.testing.assert_allclose(shades, expected, atol=6)
    assert sequence.crop(2.9) is sequence.crop(2)
    assert sequence.crop(0).class_id == 3 and sequence.extent == 30
    assert abs(sequence.crop(0).area - 900) < 130


def test_crops_skip_frames_where_the_object_is_cut_off_or_small(tmp_path):
    masks = moving_square(6)
    masks[1, :, :40] = masks[0, 15, 20]
    masks[3] = 0
    masks[3, 30:34, 30:34] = 1
    write_sequence(tmp_path, 'cows', masks)
    sequence = DavisSequence(tmp_path, 'cows')
    shades = {round((int(np.median(sequence.crop(phase).image)) - 100) / 15) for phase in range(20)}
    assert shades == {0, 2, 4, 5}


def test_all_crops_are_reduced_by_the_same_factor(tmp_path):
    masks = np.zeros((2, 700, 700), np.uint8)
    masks[0, 20:660, 20:660] = 1
    masks[1, 20:340, 20:340] = 1
    write_sequence(tmp_path, 'cows', masks)
    sequence = DavisSequence(tmp_path, 'cows')
    assert [max(sequence.crop(time).size) for time in (0, 1)] == pytest.approx([326, 166], abs=3)


def test_missing_parts_are_named(root):
    with pytest.raises(ValueError, match="'horses'"):
        DavisSequence(root, 'horses')
    (root / 'Annotations' / 'cows' / '00002.png').unlink()
    with pytest.raises(ValueError, match=r'1 of its frames.*00002\.png'):
        DavisSequence(root, 'cows')


def test_training_and_test_halves_are_fixed_and_disjoint():
    assert DAVIS_TRAIN == ('blackswan', 'breakdance', 'cows', 'horsejump-high', 'motocross-jump', 'scooter-black')
    assert not set(DAVIS_TRAIN) & set(DAVIS_TEST) and set(DAVIS_TRAIN) | set(DAVIS_TEST) == set(DAVIS_CLASSES)
    assert set(DAVIS_CLASSES.values()) <= set(SUPERCATEGORIES)
