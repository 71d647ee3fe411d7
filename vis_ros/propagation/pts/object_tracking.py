"""ObjectTracker: tracks the box of one object with OTN, which learns it while tracking. Does not import torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.iou import box_iou
from vis_ros.propagation.pts.online_classifier import OnlineClassifier
from vis_ros.propagation.pts.region_crops import clipped_boxes

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TrackingSettings:
    """Amount of samples and learning rates. The rates are those of fc4 and fc5; fc6 has ten times the rate."""

    first_positives: int = 100
    first_negatives: int = 400
    first_steps: int = 30
    first_rate: float = 1e-3
    positives: int = 20
    negatives: int = 40
    """Positive and negative samples of each frame in which the object was found."""
    rate: float = 1e-3
    mined: int = 256
    """Negatives of a step among which the hardest are selected."""
    candidates: int = 64
    """Number of jittered boxes that are added if fewer than five proposals are near the last box."""
    long_term_steps: int = 15


PUBLISHED = TrackingSettings(500, 5000, 30, 1e-4, 50, 200, 2e-4, 1024, 5, 15)
"""Published settings, for layers that are trained in advance; the rates are too low for untrained ones."""

_POSITIVE_IOU, _NEGATIVE_IOU = 0.7, 0.3
_NEAR, _NEAR_AFTER_FAILURE = 0.5, 0.2
"""Smallest IoU of a proposal with the last box (published: 0.3 and 0.2). Here the mask refines the last box, and
proposals farther away are often parts of the object."""
_BEST = 5
_BATCH_POSITIVES, _BATCH_NEGATIVES = 32, 96
_POSITIVE_MEMORY, _NEGATIVE_MEMORY = 100, 20
_SHORT_TERM_FRAMES, _SHORT_TERM_STEPS = 5, 10
_LONG_TERM_FRAMES, _LONG_TERM_INTERVAL = 20, 10
_NEAR_JITTER, _SEARCH_JITTER, _WIDE_JITTER = (0.1, 1.1), (0.6, 1.1), (2.0, 1.5)
"""(shift in mean sides, factor of the sides): bounds that are also two standard deviations."""


@dataclass(frozen=True, eq=False)
class OtnFrame:
    """A frame as OTN sees it.

    size: (height, width) in pixels.
    proposals: boxes (P, 4).
    features: function from boxes (N, 4) to features (N, F).
    """

    size: tuple[int, int]
    proposals: Floats
    features: Callable[[Floats], Floats]


class ObjectTracker:
    """Tracks the box of one object (PTS, Zhou et al. 2019, section 3.2; MDNet, Nam and Han 2016, sections 3.2 and 4).

    Keeps positive samples of the last 100 frames and negative samples of the last 20. The random numbers are the same
    in every run.

    Args:
        start: initial weights, see `OnlineClassifier`; they are copied.
        box: (4,) of the object in the first frame.
        frame: the first frame.
        settings: None for the defaults.

    box: (4,) where the object was found last.
    score: mean log odds of the five best boxes in the last frame.
    """

    def __init__(
        self, start: Mapping[str, Floats], box: Floats, frame: OtnFrame, settings: TrackingSettings | None = None
    ) -> None:
        self.box, self.score = np.array(box, np.float32), 0.0
        self._settings = settings = settings or TrackingSettings()
        self._random = np.random.default_rng(0)
        self._positives: deque[Floats] = deque(maxlen=_POSITIVE_MEMORY)
        self._negatives: deque[Floats] = deque(maxlen=_NEGATIVE_MEMORY)
        self._frames = 0
        self._classifier = OnlineClassifier(start, self._random)
        positives, negatives = self._samples(frame, settings.first_positives, settings.first_negatives)
        self._learn(positives, negatives, settings.first_steps, settings.first_rate)
        self._positives.append(positives[: settings.positives])
        self._negatives.append(negatives[: settings.negatives])

    def find(self, frame: OtnFrame) -> bool:
        """Find the object in the next frame. Returns False if it was not found; `box` then stays."""
        self._frames += 1
        box, self.score = self._find(frame)
        if self.score > 0:
            self.box = box
        return self.score > 0

    def refine(self, box: Floats) -> None:
        """Take the box (4,) of the mask in the last frame, if the object was found and both boxes overlap enough."""
        if self.score > 0 and self._overlaps(box[None])[0] > _NEAR:
            self.box = box.copy()

    def learn(self, frame: OtnFrame) -> None:
        """Take samples of the frame of the last `find`. Train every tenth frame, or at once if the object is lost."""
        if self.score <= 0:
            self._update(_SHORT_TERM_FRAMES, _SHORT_TERM_STEPS)
            return
        positives, negatives = self._samples(frame, self._settings.positives, self._settings.negatives)
        self._positives.append(positives)
        self._negatives.append(negatives)
        if self._frames % _LONG_TERM_INTERVAL == 0:
            self._update(_LONG_TERM_FRAMES, self._settings.long_term_steps)

    def move(self, box: Floats) -> None:
        """Set the box (4,) of the object in the last frame."""
        self.box, self.score = box.copy(), 1.0

    def scores(self, features: Floats) -> Floats:
        """Log odds (N,) that boxes with features (N, F) show the object."""
        return self._classifier.scores(features)

    # ------------------------------------------------------------------------------------------------------------

    def _overlaps(self, boxes: Floats) -> Floats:
        """IoU (N,) of boxes (N, 4) with the last box."""
        return box_iou(self.box[None], boxes)[0]

    def _find(self, frame: OtnFrame) -> tuple[Floats, float]:
        """The mean of the five best boxes near the last box, and their mean score."""
        near = _NEAR if self.score >= 0 else _NEAR_AFTER_FAILURE
        boxes = frame.proposals[self._overlaps(frame.proposals) > near]
        if len(boxes) < _BEST:
            half = self._settings.candidates // 2
            far = self._jitter(self.box[None], self._settings.candidates - half, _SEARCH_JITTER)
            close = self._jitter(self.box[None], half, _NEAR_JITTER)
            boxes = clipped_boxes(np.concatenate((boxes, self.box[None], far, close)), frame.size)
        scores = self.scores(frame.features(boxes))
        best = _largest(scores, _BEST)
        return boxes[best].mean(0), float(scores[best].mean())

    def _samples(self, frame: OtnFrame, positives: int, negatives: int) -> tuple[Floats, Floats]:
        """Features (N, F) of boxes on the object, at `box`, and of boxes elsewhere, up to the given numbers."""
        overlap = self._overlaps(frame.proposals)
        sure = np.concatenate((self.box[None], frame.proposals[overlap >= _POSITIVE_IOU]))
        on = clipped_boxes(np.concatenate((sure, self._jitter(sure, 2 * positives, _NEAR_JITTER))), frame.size)
        on = on[self._overlaps(on) >= _POSITIVE_IOU][:positives]
        wide = clipped_boxes(self._jitter(self.box[None], 2 * negatives, _WIDE_JITTER), frame.size)
        anywhere = self._anywhere(negatives, frame.size)
        off = np.concatenate((frame.proposals[overlap <= _NEGATIVE_IOU], wide, anywhere))
        off = off[self._overlaps(off) <= _NEGATIVE_IOU]
        off = off[self._random.permutation(len(off))[:negatives]]
        features = frame.features(np.concatenate((on, off)))
        return features[: len(on)], features[len(on) :]

    def _jitter(self, boxes: Floats, count: int, jitter: tuple[float, float]) -> Floats:
        """(count, 4): boxes (N, 4), repeated, with Gaussian noise on position and size."""
        shift, scale = jitter
        boxes = boxes[np.arange(count) % len(boxes)]
        noise = np.clip(self._random.standard_normal((count, 3), np.float32) / 2, -1, 1)
        sides = boxes[:, 2:] - boxes[:, :2]
        center = (boxes[:, 2:] + boxes[:, :2]) / 2 + noise[:, :2] * np.float32(shift) * sides.mean(1, keepdims=True)
        half = sides * np.float32(scale) ** noise[:, 2:] / 2
        return np.concatenate((center - half, center + half), 1)

    def _anywhere(self, count: int, size: tuple[int, int]) -> Floats:
        """(count, 4): boxes of the size of the object at random positions."""
        extent = np.array([size[1], size[0]], np.float32)
        sides = np.minimum(self.box[2:] - self.box[:2], extent)
        low = self._random.random((count, 2), np.float32) * (extent - sides)
        return np.concatenate((low, low + sides), 1)

    def _update(self, frames: int, steps: int) -> None:
        positives = np.concatenate([*self._positives][-frames:])
        self._learn(positives, np.concatenate([*self._negatives]), steps, self._settings.rate)

    def _learn(self, positives: Floats, negatives: Floats, steps: int, rate: float) -> None:
        """Train with the cross entropy of positives and of the hardest negatives."""
        if len(negatives) == 0:  # the object fills the frame
            return
        on = self._batches(len(positives), _BATCH_POSITIVES, steps)
        off = self._batches(len(negatives), self._settings.mined, steps)
        for positive, mined in zip(on, off, strict=True):
            hard = negatives[mined]
            self._classifier.train(positives[positive], hard[_largest(self.scores(hard), _BATCH_NEGATIVES)], rate)

    def _batches(self, count: int, size: int, steps: int) -> NDArray[np.intp]:
        """Indices (steps, N) of batches of at most `size` samples. Every sample comes once before any is repeated."""
        size = min(size, count)
        rounds = -(-size * steps // count)
        order = np.concatenate([self._random.permutation(count) for _ in range(rounds)])
        return order[: size * steps].reshape(steps, size)


def _largest(values: Floats, count: int) -> NDArray[np.intp]:
    """Indices of the largest values (N,), at most `count`, in falling order."""
    return np.argsort(-values, kind='stable')[:count]
