"""Clips: short sequences with a reference frame for networks that carry masks along, drawn from a mixture of videos."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.synthetic.composites import Video
from vis_ros.synthetic.labelled_frame import LabelledFrame
from vis_ros.training.mixture import Mixture

UNKNOWN = 255
"""Label of pixels where nobody knows what is there: beyond the image, crowds, objects too small to be labelled."""

ENLARGEMENT = 1.35
"""Frames of another size than the clip's are fitted into it, enlarged up to so much and cut off at random."""

_LEAST_PIXELS = 30
_TRIES = 100


@dataclass(frozen=True, eq=False)
class Clip:
    """T frames of one video: the reference, of any time, and T - 1 consecutive ones.

    images: (T, H, W, 3) uint8 BGR. labels: (T, H, W) uint8, 0 background, 1 to M the objects, UNKNOWN. Every object is
    in the reference, and at least one of them in another frame.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class ClipSettings:
    """What a clip is.

    size: (height, width); frames: T, at least 2; objects: most of them; stride: the consecutive frames are 1 to so many
    frames of the video apart.
    """

    size: tuple[int, int]
    frames: int = 4
    objects: int = 3
    stride: int = 2


class Clips:
    """Clips of the videos of a mixture; clip k is the same for the same seed of the mixture, whoever asks for it when.

    Objects that were not chosen are background: the reference says which are wanted. The `ignored` pixels of a frame
    are UNKNOWN, so that videos in which not every object is annotated must be opened as if they were exhaustive.

    >>> clips = Clips(Mixture([(1.0, composites)], seed=1), ClipSettings((288, 512)))       # doctest: +SKIP
    >>> clips.clip(0).labels.shape                                                          # doctest: +SKIP
    (4, 288, 512)
    """

    def __init__(self, mixture: Mixture, settings: ClipSettings) -> None:
        self.mixture, self.settings = mixture, settings

    def clip(self, index: int) -> Clip:
        """Clip number `index`, any whole number from 0. ValueError where no video shows an object in its reference."""
        random = np.random.default_rng((self.mixture.seed, index))
        for _ in range(_TRIES):
            clip = self._try(random)
            if clip is not None:
                return clip
        raise ValueError(
            f'{_TRIES} tries found no frame with an object of {_LEAST_PIXELS} pixels at {self.settings.size}: '
            'are the objects of the training data that small?'
        )

    def _try(self, random: np.random.Generator) -> Clip | None:
        """A clip of a random video, None if its reference or all its other frames show no object."""
        settings = self.settings
        video = self.mixture.draw(random)
        reference, times = self._times(random, video)
        window = _Window(settings.size, float(random.uniform(1, ENLARGEMENT)), *random.random(2).tolist())
        first = video.frame(reference)
        ids = first.object_ids.tolist()[: UNKNOWN - 1]
        image, places = window.cut(first.image, _places(first, ids))
        counts = np.bincount(places.ravel(), minlength=UNKNOWN + 1)[1 : len(ids) + 1]
        visible = np.flatnonzero(counts >= _LEAST_PIXELS)
        if not len(visible):
            return None
        count = int(random.integers(1, min(settings.objects, len(visible)) + 1))
        chosen = random.permutation(visible)[:count]
        others = [window.cut(frame.image, _places(frame, ids)) for frame in map(video.frame, times)]
        numbers = np.zeros(UNKNOWN + 1, np.uint8)
        numbers[chosen + 1] = np.arange(1, count + 1)
        numbers[UNKNOWN] = UNKNOWN
        images = np.stack([image, *(each for each, _ in others)])
        labels = numbers[np.stack([places, *(each for _, each in others)])]
        if not ((labels[1:] > 0) & (labels[1:] < UNKNOWN)).any():
            return None
        if random.random() < 0.5:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        return Clip(np.ascontiguousarray(images), np.ascontiguousarray(labels))

    def _times(self, random: np.random.Generator, video: Video) -> tuple[int, list[int]]:
        """Of the reference and of the consecutive frames; a video that is too short stands still at its end."""
        steps = self.settings.frames - 2
        last = video.length - 1
        longest = max(min(self.settings.stride, last // steps), 1) if steps else 1
        stride = int(random.integers(1, longest + 1))
        begin = int(random.integers(max(last - steps * stride, 0) + 1))
        times = [min(begin + step * stride, last) for step in range(steps + 1)]
        return int(random.integers(video.length)), times


def _places(frame: LabelledFrame, ids: list[int]) -> NDArray[np.uint8]:
    """(H, W): 1 + the place of a pixel's object among the ids, 0 where there is none of them, UNKNOWN."""
    places = np.zeros(frame.image.shape[:2], np.uint8)
    if frame.ignored is not None:
        places[frame.ignored] = UNKNOWN
    for number, mask in zip(frame.object_ids.tolist(), frame.masks, strict=True):
        places[mask] = ids.index(number) + 1 if number in ids else 0
    return places


@dataclass(frozen=True)
class _Window:
    """The same cut of every frame of a clip.

    size: (height, width) of what comes out; enlargement: 1 fits the whole frame in; x, y: where in [0, 1] it lies in
    the space that is left, or the cut in the frame.
    """

    size: tuple[int, int]
    enlargement: float
    x: float
    y: float

    def cut(self, image: NDArray[np.uint8], places: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image and labels at the size; a frame that has it already stays as it is."""
        height, width = image.shape[:2]
        if (height, width) == self.size:
            return image, places
        scale = min(self.size[0] / height, self.size[1] / width) * self.enlargement
        left, top = (self.size[1] - width * scale) * self.x, (self.size[0] - height * scale) * self.y
        # pixel centres: (u + 0.5) = (x + 0.5) * scale + left
        matrix = np.array([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]])
        to = self.size[1], self.size[0]
        pixels = cv2.warpAffine(image, matrix, to, flags=cv2.INTER_LINEAR)
        labels = cv2.warpAffine(places, matrix, to, flags=cv2.INTER_NEAREST, borderValue=UNKNOWN)
        return np.asarray(pixels, np.uint8), np.asarray(labels, np.uint8)
