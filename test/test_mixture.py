"""Mixtures of videos, and videos of crops of still images."""

import numpy as np
import pytest

from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.stills import StillVideos
from vis_ros.training.mixture import Mixture, mirror

SHADES = (40, 120, 200)


class Clip:
    """A video with its number in the blue channel and the time in the green channel."""

    def __init__(self, number, seed, length):
        self.number, self.seed, self.length = number, seed, length

    def frame(self, time):
        image = np.zeros((4, 6, 3), np.uint8)
        image[..., 0], image[..., 1], image[:, :3, 2] = self.number, time, 255
        mask = np.zeros((1, 4, 6), bool)
        mask[0, :, :3] = True
        one = np.ones(1, np.int32)
        return LabeledFrame(image, one * (self.seed % 1000), one, mask, np.ones(1, bool), ~mask[0])


class Clips:
    def __init__(self, number, length=80):
        self.number, self.length = number, length

    def video(self, seed):
        return Clip(self.number, seed, self.length)


class GrayObjects:
    """Images of three objects of different gray values on black."""

    def __len__(self):
        return 4

    def frame(self, index):
        image, masks = np.zeros((90, 120, 3), np.uint8), np.zeros((3, 90, 120), bool)
        for number in range(3):
            masks[number, 20 + 5 * index : 70, 5 + 40 * number : 35 + 40 * number] = True
            image[masks[number]] = SHADES[number]
        return LabeledFrame(
            image, np.arange(1, 4, dtype=np.int32), np.arange(3, dtype=np.int32), masks, np.zeros(3, bool)
        )


def times_and_videos(mixture, count=400):
    pairs = [mixture.pair(index) for index in range(count)]
    return np.array([[frame.image[0, 0, :2] for frame in pair] for pair in pairs]).astype(int), pairs


def test_pairs_are_two_frames_of_one_video():
    values, pairs = times_and_videos(Mixture([(1, Clips(1)), (1, Clips(2))], seed=0))
    assert (values[:, 0, 0] == values[:, 1, 0]).all()
    assert (values[:, 0, 1] != values[:, 1, 1]).all()
    assert all((key.object_ids == reference.object_ids).all() for key, reference in pairs)
    assert len({int(key.object_ids[0]) for key, _ in pairs}) > 250


def test_the_frames_of_a_pair_are_mostly_near_and_sometimes_far_apart():
    values, _ = times_and_videos(Mixture([(1, Clips(1))], seed=0))
    assert values[..., 1].min() < 4 and values[..., 1].max() > 75
    distance = values[:, 1, 1] - values[:, 0, 1]
    assert 0.5 < (np.abs(distance) <= 5).mean() < 0.75 and (np.abs(distance) > 30).mean() > 0.03
    assert 0.4 < (distance > 0).mean() < 0.6


def test_sources_are_drawn_by_their_weight():
    values, _ = times_and_videos(Mixture([(3, Clips(1)), (1, Clips(2)), (0, Clips(3))], seed=0))
    shares = [(values[:, 0, 0] == number).mean() for number in (1, 2, 3)]
    assert shares == pytest.approx([0.75, 0.25, 0], abs=0.07)


def test_pairs_depend_only_on_seed_and_index():
    one, same, other = (Mixture([(1, Clips(1)), (1, Clips(2))], seed=seed) for seed in (5, 5, 6))
    for index in (9, 3, 0):
        for mine, theirs in zip(one.pair(index), same.pair(index), strict=True):
            np.testing.assert_array_equal(mine.image, theirs.image)
    assert any((one.pair(index)[0].image != other.pair(index)[0].image).any() for index in range(5))


def test_both_frames_are_mirrored_or_none():
    _, pairs = times_and_videos(Mixture([(1, Clips(1))], seed=0))
    flipped = np.array([[frame.image[0, 0, 2] == 0 for frame in pair] for pair in pairs])
    assert (flipped[:, 0] == flipped[:, 1]).all() and 0.4 < flipped[:, 0].mean() < 0.6
    for key, _ in pairs[:20]:
        np.testing.assert_array_equal(key.masks[0], key.image[..., 2] == 255)
        np.testing.assert_array_equal(key.ignored, key.image[..., 2] == 0)


def test_mirror_twice_is_the_same():
    frame = Clip(1, 2, 3).frame(0)
    twice = mirror(mirror(frame))
    np.testing.assert_array_equal(twice.image, frame.image)
    np.testing.assert_array_equal(twice.masks, frame.masks)


def test_video_of_one_frame_is_paired_with_itself():
    key, reference = Mixture([(1, Clips(1, length=1))], seed=0).pair(0)
    np.testing.assert_array_equal(key.image, reference.image)


@pytest.mark.parametrize('weights', [[], [0.0], [1.0, -1.0], [float('nan')]])
def test_bad_weights_are_rejected(weights):
    with pytest.raises(ValueError, match='weights'):
        Mixture([(weight, Clips(1)) for weight in weights], seed=0)


def test_stills_show_the_same_objects_in_other_crops():
    videos = StillVideos(GrayObjects(), (60, 80))
    moved = shared = 0
    for seed in range(12):
        key, reference = (videos.video(seed).frame(time) for time in (2, 3))
        for frame in (key, reference):
            assert frame.image.shape == (60, 80, 3) and not frame.pasted.any()
            assert frame.masks.sum(0).max(initial=0) <= 1
            means = [frame.image[mask].mean() for mask in frame.masks]
            assert (np.diff(means)[np.diff(frame.object_ids) > 0] > 0).all()  # the shades rise with the ids
            assert (frame.class_ids == frame.object_ids - 1).all()
        common = np.intersect1d(key.object_ids, reference.object_ids)
        shared += len(common)
        for number in common:
            areas = [frame.masks[frame.object_ids == number].sum() for frame in (key, reference)]
            moved += int(areas[0] != areas[1])
    assert shared >= 15 and moved >= 0.8 * shared


def test_stills_are_mirrored_for_a_whole_video():
    videos = StillVideos(GrayObjects(), (60, 80))
    seen = set()
    for seed in range(20):
        sides = set()
        for time in range(4):
            frame = videos.video(seed).frame(time)
            if len(frame) > 1:
                left = frame.boxes()[:, 0]
                sides.add(bool(left[0] < left[-1]))
        assert len(sides) <= 1
        seen |= sides
    assert seen == {True, False}


def test_stills_depend_only_on_seed_and_time():
    one, other = (StillVideos(GrayObjects(), (60, 80)) for _ in range(2))
    frames = [one.video(1).frame(time).image for time in (0, 1)]
    np.testing.assert_array_equal(other.video(1).frame(1).image, frames[1])
    np.testing.assert_array_equal(other.video(1).frame(0).image, frames[0])


def test_stills_need_images():
    with pytest.raises(ValueError, match='image'):
        StillVideos([], (60, 80))
