"""Clips: short sequences with a reference frame, drawn from a mixture of videos, to train mask propagation networks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.synthetic.composites import Video
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.training.mixture import Mixture

ENLARGEMENT = 1.35
"""Frames of another size than the clip are enlarged by up to this factor beyond fitting, then cropped at random."""

_MIN_PIXELS = 30
_TRIES = 100


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames of one video: a reference frame from any time, and T - 1 consecutive frames.

    images: (T, H, W, 3) uint8 BGR.
    labels: (T, H, W) uint8: 0 background, 1 to M objects, UNKNOWN. All objects are in the reference frame, and at
        least one of them is in another frame.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class ClipSettings:
    """The form of a clip.

    size: (height, width) in pixels.
    frames: T, at least 2.
    objects: maximum number of objects.
    stride: maximum distance in video frames between consecutive frames; the minimum is 1.
    """

    size: tuple[int, int]
    frames: int = 4
    objects: int = 3
    stride: int = 2


class Clips:
    """Clips of the videos of a mixture. Clip k depends only on the seed of the mixture and k.

    Objects that are not chosen are background, because the reference defines the objects to segment. `ignored` pixels
    become UNKNOWN; videos in which not every object is annotated must therefore be opened with exhaustive=True.

    >>> clips = Clips(Mixture([(1.0, composites)], seed=1), ClipSettings((288, 512)))       # doctest: +SKIP
    >>> clips.clip(0).labels.shape                                                          # doctest: +SKIP
    (4, 288, 512)
    """

    def __init__(self, mixture: Mixture, settings: ClipSettings) -> None:
        self.mixture, self.settings = mixture, settings

    def clip(self, index: int) -> Clip:
        """Clip number `index`, any integer from 0. ValueError if no reference frame with a visible object is found."""
        random = np.random.default_rng((self.mixture.seed, index))
        for _ in range(_TRIES):
            clip = self._draw(random)
            if clip is not None:
                return clip
        raise ValueError(
            f'{_TRIES} tries found no frame with an object of at least {_MIN_PIXELS} pixels at size '
            f'{self.settings.size}: the objects of the training data may be too small'
        )

    def _draw(self, random: np.random.Generator) -> Clip | None:
        """A clip of a random video; None if the reference frame or all other frames show no object."""
        settings = self.settings
        video = self.mixture.draw(random)
        reference, times = self._times(random, video)
        window = _Window(settings.size, float(random.uniform(1, ENLARGEMENT)), *random.random(2).tolist())
        first = video.frame(reference)
        ids = first.object_ids.tolist()[: UNKNOWN - 1]
        image, indices = window.apply(first.image, _object_indices(first, ids))
        counts = np.bincount(indices.ravel(), minlength=UNKNOWN + 1)[1 : len(ids) + 1]
        visible = np.flatnonzero(counts >= _MIN_PIXELS)
        if not len(visible):
            return None
        count = int(random.integers(1, min(settings.objects, len(visible)) + 1))
        chosen = random.permutation(visible)[:count]
        others = [window.apply(frame.image, _object_indices(frame, ids)) for frame in map(video.frame, times)]
        numbers = np.zeros(UNKNOWN + 1, np.uint8)
        numbers[chosen + 1] = np.arange(1, count + 1)
        numbers[UNKNOWN] = UNKNOWN
        images = np.stack([image, *(each for each, _ in others)])
        labels = numbers[np.stack([indices, *(each for _, each in others)])]
        if not ((labels[1:] > 0) & (labels[1:] < UNKNOWN)).any():
            return None
        if random.random() < 0.5:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        return Clip(np.ascontiguousarray(images), np.ascontiguousarray(labels))

    def _times(self, random: np.random.Generator, video: Video) -> tuple[int, list[int]]:
        """Numbers of the reference frame and of the consecutive frames. Short videos repeat their last frame."""
        steps = self.settings.frames - 2
        last = video.length - 1
        longest = max(min(self.settings.stride, last // steps), 1) if steps else 1
        stride = int(random.integers(1, longest + 1))
        start = int(random.integers(max(last - steps * stride, 0) + 1))
        times = [min(start + step * stride, last) for step in range(steps + 1)]
        return int(random.integers(video.length)), times


def _object_indices(frame: LabeledFrame, ids: list[int]) -> NDArray[np.uint8]:
    """(H, W) uint8: 1 + index of the pixel's object in `ids`, 0 if it is not among them, UNKNOWN."""
    indices = np.zeros(frame.image.shape[:2], np.uint8)
    if frame.ignored is not None:
        indices[frame.ignored] = UNKNOWN
    for object_id, mask in zip(frame.object_ids.tolist(), frame.masks, strict=True):
        indices[mask] = ids.index(object_id) + 1 if object_id in ids else 0
    return indices


@dataclass(frozen=True)
class _Window:
    """The crop of every frame of a clip.

    size: (height, width) of the result.
    enlargement: scale factor; 1 fits the whole frame into the size.
    x, y: position in [0, 1] of the frame within the free space, or of the crop within the frame.
    """

    size: tuple[int, int]
    enlargement: float
    x: float
    y: float

    def apply(self, image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image and labels at the size. A frame that already has the size is returned unchanged."""
        height, width = image.shape[:2]
        if (height, width) == self.size:
            return image, labels
        scale = min(self.size[0] / height, self.size[1] / width) * self.enlargement
        left, top = (self.size[1] - width * scale) * self.x, (self.size[0] - height * scale) * self.y
        # pixel centers: (u + 0.5) = (x + 0.5) * scale + left
        matrix = np.array([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]])
        to = self.size[1], self.size[0]
        pixels = cv2.warpAffine(image, matrix, to, flags=cv2.INTER_LINEAR)
        moved = cv2.warpAffine(labels, matrix, to, flags=cv2.INTER_NEAREST, borderValue=UNKNOWN)
        return np.asarray(pixels, np.uint8), np.asarray(moved, np.uint8)
