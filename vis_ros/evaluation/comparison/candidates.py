"""Contestants: the models that `vis-ros compare-models` compares, each as a function of an annotated video."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.rle import decode
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.engines.engine import load_engine
from vis_ros.instances import CONFIRMED, Instances
from vis_ros.propagation.propagation_config import PROPAGATION_CONFIGS
from vis_ros.tracking.detect_and_propagate import DetectAndPropagate
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory
from vis_ros.tracking.propagate import Propagate, PropagateConfig
from vis_ros.tracking.tracker import Tracker

DETECTORS = ('mask_rcnn', 'masktrack_rcnn')
FIRST_MASK = 'first mask'
"""The baseline: the masks of the first frame, never moved."""
MODELS: tuple[str, ...] = (FIRST_MASK, *DETECTORS, *PROPAGATION_CONFIGS)

CARRIED_BY = '+'
"""Between a detector and the model that bridges its gaps: 'masktrack_rcnn+feelvos' is a model too."""

_FINE_TUNE_STEPS = 30
"""Of PTS on the first frame (published: 800)."""

_RATE = 24.0
"""Frames a second of videos without stamps."""


class Contestant(ABC):
    """One model; the videos are shown to it one after the other.

    class_names: of the class ids in what it finds; weights, engine: what runs, in words.
    """

    class_names: tuple[str, ...] = ('object',)
    weights: str = ''
    engine: str = ''

    @abstractmethod
    def begin(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        """Forget the video before and take the first frame of the next, with its true objects."""

    @abstractmethod
    def step(self, image: NDArray[np.uint8], stamp: float) -> Instances:
        """The tracked instances of the next frame, (H, W, 3) uint8 BGR, taken at `stamp` seconds."""


class FirstMask(Contestant):
    """The masks of the first frame, in every frame."""

    def begin(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        self._first = given(frame)
        return self._first

    def step(self, image: NDArray[np.uint8], stamp: float) -> Instances:
        return self._first


class Detecting(Contestant):
    """Every frame detected, then associated; the true objects are not given to it."""

    def __init__(self, model: str, weights: str, threads: int) -> None:
        self._engine = load_engine(weights or 'demo', model=model, threads=threads)
        self._engine.warm_up()
        info = self._engine.describe()
        self.class_names = self._engine.class_names
        self.weights, self.engine = weights or 'demo', f'{info.engine}, {info.precision}'

    def begin(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        self._tracker: Tracker = DetectAndTrack(self._engine, IdentityMemory())
        return self.step(image, stamp(frame))

    def step(self, image: NDArray[np.uint8], stamp: float) -> Instances:
        return self._tracker.step(image, stamp)


class DetectingAndCarrying(Detecting):
    """As Detecting, and a propagator carries masks through frames in which the detector misses them."""

    def __init__(self, model: str, weights: str, threads: int) -> None:
        from vis_ros.propagation.loading import load_propagation_model

        detector, _, carrier = model.partition(CARRIED_BY)
        super().__init__(detector, '', threads)
        self._propagators = load_propagation_model(carrier, weights, threads=threads)
        self.engine += f'; {self._propagators.engine}'

    def begin(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        tracker = DetectAndTrack(self._engine, IdentityMemory())
        self._tracker = DetectAndPropagate(tracker, self._propagators.new())
        return self.step(image, stamp(frame))


class Carrying(Contestant):
    """The true masks of the first frame, carried along; no detector helps. PTS is fine-tuned on them, as published."""

    def __init__(self, model: str, weights: str, threads: int) -> None:
        from vis_ros.propagation.loading import load_propagation_model

        self._propagators = load_propagation_model(model, weights, threads=threads, fine_tune_steps=_FINE_TUNE_STEPS)
        self.weights, self.engine = self._propagators.weights, self._propagators.engine

    def begin(self, image: NDArray[np.uint8], frame: AnnotatedFrame) -> Instances:
        config = PropagateConfig(start_from_detections=False, max_objects=max(len(frame), 1))
        self._tracker = Propagate(self._propagators.new(), None, config)
        masks = dict(zip(frame.track_ids.tolist(), map(decode, frame.masks), strict=True))
        return self._tracker.begin(image, stamp(frame), masks)

    def step(self, image: NDArray[np.uint8], stamp: float) -> Instances:
        return self._tracker.step(image, stamp)


def is_mixed(model: str) -> bool:
    """Whether it is a detector and a model that bridges its gaps."""
    detector, joined, carrier = model.partition(CARRIED_BY)
    return detector in DETECTORS and bool(joined) and carrier in PROPAGATION_CONFIGS


def contestant(model: str, weights: str, threads: int) -> Contestant:
    """A model of MODELS, loaded. ValueError or FileNotFoundError says why it cannot run."""
    if model == FIRST_MASK:
        return FirstMask()
    if model in DETECTORS:
        return Detecting(model, weights, threads)
    if is_mixed(model):
        return DetectingAndCarrying(model, weights, threads)
    if model in PROPAGATION_CONFIGS:
        return Carrying(model, weights, threads)
    raise ValueError(f'model {model!r} is not one of {", ".join(MODELS)}')


def stamp(frame: AnnotatedFrame) -> float:
    """Seconds."""
    return frame.index / _RATE if frame.stamp_ns is None else frame.stamp_ns / 1e9


def given(frame: AnnotatedFrame) -> Instances:
    """The true objects of a frame as tracked instances, with their own ids."""
    masks = [decode(mask) for mask in frame.masks]
    rois = np.array([_tight(mask) for mask in masks], np.int32).reshape(-1, 4)
    count = len(masks)
    return Instances(
        image_size=frame.size,
        boxes=rois.astype(np.float32),
        scores=np.ones(count, np.float32),
        class_ids=np.zeros(count, np.int32),
        rois=rois,
        masks=[np.ascontiguousarray(mask[y0:y1, x0:x1]) for mask, (x0, y0, x1, y1) in zip(masks, rois, strict=True)],
        track_ids=frame.track_ids.astype(np.uint32),
        match_scores=np.ones(count, np.float32),
        hits=np.ones(count, np.uint32),
        states=np.full(count, CONFIRMED, np.uint8),
        first_seen=np.full(count, stamp(frame)),
    )


def _tight(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
