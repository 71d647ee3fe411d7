"""Propagation of first masks through a video, with a propagator that records its calls, and the score J."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import encode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo
from vis_ros.propagation.first_masks import propagate_first_masks, working_size
from vis_ros.training.propagation_validation import mean_j


class Moving:
    """A propagator that moves every mask to the right by 32 pixels of the working size in each step."""

    input_size = (64, 128)

    def __init__(self) -> None:
        self.masks: dict[int, NDArray[np.bool_]] = {7: np.ones((3, 3), bool)}  # of a video before
        self.sizes: list[tuple[int, ...]] = []

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self.masks))

    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        assert mask.shape == image.shape[:2] and mask.dtype == bool
        self.masks[object_id] = mask

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        self.sizes.append(image.shape)
        self.masks = {number: np.roll(mask, 32, 1) for number, mask in self.masks.items()}
        objects = np.stack([self.masks[number] for number in self.object_ids]).astype(np.float32)
        return np.concatenate((0.5 * np.ones((1, *objects.shape[1:]), np.float32), objects))

    def reset(self) -> None:
        self.masks.clear()


def block(column: int, row: int = 0) -> NDArray[np.bool_]:
    """A mask (128, 256) of 64 by 64 pixels."""
    mask = np.zeros((128, 256), bool)
    mask[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] = True
    return mask


def test_objects_start_with_their_first_mask_and_are_propagated_from_then_on() -> None:
    image = np.zeros((128, 256, 3), np.uint8)
    given = [{3: block(0)}, {3: block(3), 9: block(0, 1)}, {}, {3: block(0)}]
    propagator = Moving()
    found = list(propagate_first_masks(propagator, [(image, masks) for masks in given]))
    expected = [3 * block(0), 3 * block(1) + 9 * block(0, 1), 3 * block(2) + 9 * block(1, 1)]
    expected.append(3 * block(3) + 9 * block(2, 1))
    for labels, wanted in zip(found, expected, strict=True):
        # a mask of half the size, enlarged: it may differ along the outline
        assert labels.shape == (128, 256) and (labels != wanted).mean() < 0.01
        assert set(np.unique(labels).tolist()) == {0, *np.unique(wanted).tolist()}
    assert propagator.sizes == [(64, 128, 3)] * 3


def test_frames_before_the_first_object_are_empty() -> None:
    image = np.zeros((128, 256, 3), np.uint8)
    found = list(propagate_first_masks(Moving(), [(image, {}), (image, {1: np.zeros((128, 256), bool)}), (image, {})]))
    assert not np.any(found)


@pytest.mark.parametrize(
    ('image', 'limits', 'expected'),
    [
        ((480, 854), (288, 512), (288, 512)),
        ((854, 480), (288, 512), (512, 288)),
        ((480, 640), (288, 512), (288, 384)),
        ((1000, 100), (288, 512), (512, 64)),
        ((4000, 10), (288, 512), (512, 32)),
    ],
)
def test_working_sizes(image: tuple[int, int], limits: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(image, limits) == expected


class Video(AnnotatedVideo):
    def __init__(self, frames: list[AnnotatedFrame]) -> None:
        super().__init__('video', len(frames))
        self.frames = frames

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.frames)


def test_mean_j_follows_the_formula() -> None:
    """Three random objects over six frames, some absent. The first frame of each does not count, nor do pixels that
    are ignored."""
    random = np.random.default_rng(1)
    truth = random.integers(0, 4, (6, 20, 30))
    truth[:2][truth[:2] == 3] = 0
    truth[3][truth[3] == 1] = 0
    answers = np.where(random.random(truth.shape) < 0.6, truth, random.integers(0, 3, truth.shape))
    answers[3][answers[3] == 1] = 0
    ignored = random.random(truth.shape) < 0.2
    frames = [
        AnnotatedFrame(
            name=str(time),
            index=time,
            stamp_ns=None,
            size=(20, 30),
            track_ids=ids,
            class_ids=np.zeros(len(ids), np.int64),
            scores=np.ones(len(ids)),
            masks=[encode(truth[time] == number) for number in ids],
            ignored=encode(ignored[time]),
        )
        for time in range(6)
        for ids in [np.setdiff1d(truth[time], 0)]
    ]
    values = []
    for number, first in ((1, 0), (2, 0), (3, 2)):
        found = []
        for time in range(first + 1, 6):
            mine, true = (np.logical_and(each[time] == number, ~ignored[time]) for each in (answers, truth))
            union = np.logical_or(mine, true).sum()
            found.append(np.logical_and(mine, true).sum() / union if union else 1.0)
        values.append(np.mean(found))
    assert mean_j(Video(frames), list(answers)) == pytest.approx(np.mean(values))
    assert mean_j(Video(frames[:1]), [answers[0]]) is None
