"""Clips: their content, checked against the videos they come from."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.propagation.feelvos.config import FeelvosConfig
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.training.clip_loader import clip_loader, to_clip_input
from vis_ros.training.clips import Clip, Clips, ClipSettings
from vis_ros.training.mixture import Mixture

SIZE = (32, 64)
OBJECTS = 5
FIRST_ID = 11


class Squares:
    """A video of objects of 8 by 8 pixels in a row, object n of the gray 40 n, on a background that shows the time.

    absent: the times at which an object is not there; unknown: the left column is ignored.
    """

    def __init__(
        self, length: int = 20, size: tuple[int, int] = SIZE, absent: Any = lambda number, time: False
    ) -> None:
        self.length, self.size, self.absent = length, size, absent

    def frame(self, time: int) -> LabeledFrame:
        image = np.zeros((*self.size, 3), np.uint8)
        image[..., 1] = time
        masks, ids = [], []
        for number in range(1, OBJECTS + 1):
            if not self.absent(number, time):
                mask = np.zeros(self.size, bool)
                mask[4 + time % 5 : 12 + time % 5, 12 * number - 8 : 12 * number] = True
                image[mask, 0] = 40 * number
                masks.append(mask)
                ids.append(FIRST_ID + number)
        ignored = np.zeros(self.size, bool)
        ignored[:, 0] = True
        image[:, 0, 2] = 255
        return LabeledFrame(
            image,
            np.array(ids, np.int32),
            np.zeros(len(ids), np.int32),
            np.array(masks, bool).reshape(-1, *self.size),
            np.zeros(len(ids), bool),
            ignored,
        )

    def video(self, seed: int) -> Squares:
        return self


def clips_of(*videos: Any, seed: int = 0, **settings: Any) -> Clips:
    return Clips(Mixture([(1.0, video) for video in videos], seed), ClipSettings(SIZE, **settings))


def times(clip: Clip) -> list[int]:
    """From the background, in a row without objects."""
    return clip.images[:, -1, 5, 1].tolist()


def test_every_label_is_one_object_in_all_frames() -> None:
    clips = clips_of(Squares(absent=lambda number, time: (number + time) % 4 == 0))
    counts = set()
    for index in range(40):
        clip = clips.clip(index)
        assert clip.images.shape == (4, *SIZE, 3) and clip.labels.shape == (4, *SIZE)
        assert clip.images.dtype == clip.labels.dtype == np.uint8
        number = int(clip.labels[clip.labels < UNKNOWN].max())
        counts.add(number)
        grays = []
        for label in range(1, number + 1):
            values = np.unique(clip.images[clip.labels == label][:, 0])
            assert len(values) == 1 and values[0] % 40 == 0 and values[0] > 0
            grays.append(int(values[0]))
            assert (clip.labels[0] == label).sum() == 64  # whole, in the reference
            for frame, labels in zip(clip.images, clip.labels, strict=True):
                np.testing.assert_array_equal(labels == label, frame[..., 0] == values[0])
        assert len(set(grays)) == number
        np.testing.assert_array_equal(clip.labels == UNKNOWN, clip.images[..., 2] == 255)
        assert ((clip.labels[1:] > 0) & (clip.labels[1:] < UNKNOWN)).any()
    assert counts == {1, 2, 3}


def test_objects_and_their_numbers_are_drawn_at_random() -> None:
    clips = clips_of(Squares(), objects=2)
    pairs = set()
    for index in range(150):
        clip = clips.clip(index)
        pairs.add(
            tuple(int(clip.images[0][clip.labels[0] == n][0, 0]) // 40 for n in (1, 2) if (clip.labels == n).any())
        )
    assert {pair for pair in pairs if len(pair) == 1} == {(n,) for n in range(1, OBJECTS + 1)}
    assert len({pair for pair in pairs if len(pair) == 2}) >= 18  # of 20 ordered pairs


@pytest.mark.parametrize('stride', [1, 3])
def test_frames_are_consecutive_and_the_reference_is_anywhere(stride: int) -> None:
    clips = clips_of(Squares(), frames=5, stride=stride)
    references, strides, begins = set(), set(), set()
    for index in range(200):
        reference, *rest = times(clips.clip(index))
        (step,) = set(np.diff(rest).tolist())
        references.add(reference)
        strides.add(step)
        begins.add(rest[0])
        assert rest[-1] < 20
    assert references == set(range(20)) and strides == set(range(1, stride + 1))
    assert {0, 16} <= begins


def test_a_short_video_repeats_its_last_frame() -> None:
    clips = clips_of(Squares(length=2), frames=5)
    assert {tuple(times(clips.clip(index))[1:]) for index in range(5)} == {(0, 1, 1, 1)}


def test_clips_depend_only_on_seed_and_number() -> None:
    one, same, other = (clips_of(Squares(), Squares(length=50), seed=seed) for seed in (5, 5, 6))
    for index in (9, 3, 0):
        np.testing.assert_array_equal(one.clip(index).images, same.clip(index).images)
        np.testing.assert_array_equal(one.clip(index).labels, same.clip(index).labels)
    assert any((one.clip(index).images != other.clip(index).images).any() for index in range(5))


def test_all_frames_are_mirrored_or_none() -> None:
    clips = clips_of(Squares())
    mirrored = [(clips.clip(index).labels[:, 0, -1] == UNKNOWN).tolist() for index in range(60)]
    assert all(len(set(each)) == 1 for each in mirrored)
    assert 15 < sum(each[0] for each in mirrored) < 45


def test_a_frame_without_objects_is_no_reference() -> None:
    clips = clips_of(Squares(absent=lambda number, time: time < 10))
    assert {times(clips.clip(index))[0] for index in range(80)} == set(range(10, 20))


def test_videos_without_objects_are_rejected() -> None:
    with pytest.raises(ValueError, match='no frame with an object'):
        clips_of(Squares(absent=lambda number, time: True)).clip(0)


def test_frames_of_another_size_are_resized_and_cropped_alike() -> None:
    """Images and labels are cropped by the same window. Pixels beyond the image are unknown."""
    clips = clips_of(Squares(size=(40, 60)), frames=3)
    scales = set()
    for index in range(40):
        clip = clips.clip(index)
        assert clip.images.shape == (3, *SIZE, 3)
        for image, labels in zip(clip.images, clip.labels, strict=True):
            for number in range(1, int(labels[labels < UNKNOWN].max(initial=0)) + 1):
                mask = labels == number
                inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3)), borderValue=0) > 0
                assert (image[inner][:, 0] >= 38).all()
        rows, columns = np.nonzero(clip.labels[0] != UNKNOWN)
        scales.add(int(np.ptp(columns)) + 1)
        assert len(rows) == len(set(rows.tolist())) * len(set(columns.tolist()))  # a rectangle
        assert np.ptp(rows) == SIZE[0] - 1
    # 59 columns are known, at a scale of 0.8 and more
    assert 45 <= min(scales) <= 49 and max(scales) >= SIZE[1] - 2 and len(scales) > 5


def test_the_loader_gives_each_process_its_share() -> None:
    clips = clips_of(Squares())
    batches = list(clip_loader(clips, 2, 2, 0, first=4, rank=1, world=2))
    for (images, labels), numbers in zip(batches, ((6, 7), (10, 11)), strict=True):
        for place, number in enumerate(numbers):
            np.testing.assert_array_equal(images[place].numpy(), clips.clip(number).images)
            np.testing.assert_array_equal(labels[place].numpy(), clips.clip(number).labels)


def test_input_is_normalized_rgb_and_scaled_to_multiples_of_32() -> None:
    config = FeelvosConfig('a', mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    images, labels = next(iter(clip_loader(clips_of(Squares()), 2, 1, 0)))
    pixels, numbers = to_clip_input(images, labels, config, 1.0, torch.device('cpu'))
    assert pixels.shape == (2, 4, 3, *SIZE) and pixels.dtype == torch.float32 and numbers.dtype == torch.int64
    expected = (images.numpy()[..., ::-1].astype(np.float32) - config.mean) / config.std
    np.testing.assert_allclose(pixels.permute(0, 1, 3, 4, 2).numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(numbers.numpy(), labels.numpy())
    pixels, numbers = to_clip_input(images, labels, config, 1.6, torch.device('cpu'))
    assert pixels.shape == (2, 4, 3, 64, 96) and set(numbers.unique().tolist()) == set(labels.unique().tolist())
