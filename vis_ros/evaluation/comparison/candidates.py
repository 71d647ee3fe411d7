"""Candidates: the models that `vis-ros compare-models` compares, each shown one annotated video after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.instances import CONFIRMED, Instances
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.tracking.model import Model
from vis_ros.tracking.prompts import PromptError
from vis_ros.tracking.settings import Settings

DETECTORS = ('mask_rcnn', 'masktrack_rcnn')
FIRST_MASK = 'first mask'
"""The baseline: the masks of the first frame, never moved."""
MODELS: tuple[str, ...] = (FIRST_MASK, *DETECTORS, *PROPAGATION_SYSTEMS)

BRIDGED_BY = '+'
"""Between a detection model and its bridge: 'masktrack_rcnn+feelvos' is a model too."""

_FINE_TUNE_STEPS = 30
"""Of PTS on the first frame (published: 800). None with the engine openvino, which cannot fine-tune."""

_MAX_OBJECTS = 100

_RATE = 24.0
"""Frames per second of videos without stamps."""


class Candidate(ABC):
    """One model under comparison.

    class_names: of the class ids in its results; weights, engine: what runs, in words.
    """

    class_names: tuple[str, ...] = ('object',)
    weights: str = ''
    engine: str = ''

    @abstractmethod
    def start(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        """Take the first frame of the next video, with its ground truth; returns the tracks in it."""

    @abstractmethod
    def step(self, image: NDArray[np.uint8], stamp: float, after: NDArray[np.uint8] | None) -> Instances:
        """The tracked instances of the next frame, (H, W, 3) uint8 BGR, taken at `stamp` seconds.

        after: the image that follows it; None if there is none.
        """


class FirstMask(Candidate):
    """The masks of the first frame, in every frame."""

    def start(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        self._first = ground_truth(frame)
        return self._first

    def step(self, image: NDArray[np.uint8], stamp: float, after: NDArray[np.uint8] | None) -> Instances:
        return self._first


class Detection(Candidate):
    """Detection in every frame, with or without bridge. It does not get the ground truth."""

    def __init__(self, settings: Settings) -> None:
        self._model = Model(settings)
        self._tracker = self._model.tracker()
        info = self._model.info
        self.class_names = self._model.class_names
        self.weights = settings.weights
        self.engine = f'{info.engine}, {info.precision}'
        if self._model.propagation:
            self.engine += f'; {self._model.propagation}'

    def start(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        self._tracker.reset()
        return self._tracker.step(image, stamp(frame))

    def step(self, image: NDArray[np.uint8], stamp: float, after: NDArray[np.uint8] | None) -> Instances:
        return self._tracker.step(image, stamp)


class Propagation(Candidate):
    """The ground truth masks of the first frame, propagated without a detector. PTS is fine-tuned on them."""

    def __init__(self, settings: Settings) -> None:
        self._model = Model(settings)
        self._tracker = self._model.tracker()
        self.class_names = self._model.class_names
        self.weights, _, self.engine = self._model.propagation.partition(': ')

    def start(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        self._tracker.reset()
        self._tracker.step(image, stamp(frame))  # there is no object yet
        for mask in frame.masks:
            try:
                self._tracker.prompt(mask=decode(mask))
            except PromptError:  # too small to be propagated: it stays missing, and is scored as such
                continue
        return ground_truth(frame)

    def step(self, image: NDArray[np.uint8], stamp: float, after: NDArray[np.uint8] | None) -> Instances:
        return self._tracker.step(image, stamp, after=after if self._model.settings.delayed else None)


def is_bridged(model: str) -> bool:
    """Whether a name is a detection model and its bridge, such as 'masktrack_rcnn+feelvos'."""
    detector, joined, bridge = model.partition(BRIDGED_BY)
    return detector in DETECTORS and bool(joined) and bridge in PROPAGATION_SYSTEMS


def candidate(model: str, weights: str, settings: Settings) -> Candidate:
    """A model of MODELS or a bridged one, loaded.

    Args:
        model: its name.
        weights: of the detector, or of the propagation model where there is one; '' for the packaged weights.
        settings: all others.

    Raises:
        ValueError, FileNotFoundError: it cannot run; the message says why.
    """
    if model == FIRST_MASK:
        return FirstMask()
    detector, _, bridge = model.partition(BRIDGED_BY)
    if is_bridged(model):
        return Detection(settings.with_values(model=detector, bridge=bridge, propagation_weights=weights))
    if model in DETECTORS:
        return Detection(settings.with_values(model=model, weights=weights or settings.weights))
    if model in PROPAGATION_SYSTEMS:
        values = {'start_from': 'prompts', 'max_objects': _MAX_OBJECTS, 'propagation_weights': weights, 'weights': ''}
        values['delayed'] = settings.delayed and model == 'maskrnn'
        values['matching_stride'] = settings.matching_stride if model == 'feelvos' else 0
        steps = 0 if settings.engine == 'openvino' else settings.fine_tune_steps or _FINE_TUNE_STEPS
        return Propagation(settings.with_values(model=model, fine_tune_steps=steps if model == 'pts' else 0, **values))
    raise ValueError(f'model {model!r} is not one of {", ".join(MODELS)}')


def stamp(frame: AnnotatedFrame) -> float:
    """Seconds."""
    return frame.index / _RATE if frame.stamp_ns is None else frame.stamp_ns / 1e9


def ground_truth(frame: AnnotatedFrame) -> Instances:
    """The objects of an annotated frame as tracked instances, with their own ids."""
    masks = np.array([decode(mask) for mask in frame.masks], np.uint8).reshape(-1, *frame.size)
    count = len(masks)
    return Instances.from_masks(masks, class_names=('object',)).with_fields(
        track_ids=frame.track_ids.astype(np.uint32),
        match_scores=np.ones(count, np.float32),
        hits=np.ones(count, np.uint32),
        states=np.full(count, CONFIRMED, np.uint8),
        first_seen=np.full(count, stamp(frame)),
    )
