"""Model: loaded networks, and a tracker for each camera. The node, replay, comparison and validation all build on
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import BackgroundCompiler, Engine, EngineInfo
from vis_ros.engines.loading import load_engine
from vis_ros.engines.propagation_model import PropagationModel, load_propagation_model
from vis_ros.instances import Instances
from vis_ros.networks.named_weights import resolve
from vis_ros.tracking.detect_and_propagate import DetectAndPropagate
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.detection_filter import DetectionFilter
from vis_ros.tracking.identity_memory import IdentityMemory, Memory
from vis_ros.tracking.photo_memory import PhotoMemory
from vis_ros.tracking.prompts import OBJECT
from vis_ros.tracking.propagate import Propagate
from vis_ros.tracking.published_memory import PublishedMemory
from vis_ros.tracking.settings import PUBLISHED_RULES, Settings
from vis_ros.tracking.tracker import Tracker

_MAX_BATCH = 8


def load(weights: str | Path = 'demo', **settings: Any) -> Model:
    """Load a model, warm it up, and make trackers from it with `Model.tracker`.

    Args:
        weights: name of packaged or fetched weights, or path of a .safetensors file.
        settings: fields of `Settings`, such as model='feelvos', engine='tensorrt' or score_threshold=0.5.

    Raises:
        ValueError: a name that is not a setting, a value that is not allowed, or something that cannot run here.
        FileNotFoundError: no such weights; the message says how to get them.

    >>> import vis_ros
    >>> tracker = vis_ros.load('demo', min_hits=1).tracker()
    """
    return Model(Settings.of({'weights': str(weights), **settings}))


class Model:
    """The networks that some settings describe, loaded and warm. Trackers share them and have their own tracks.

    Args:
        settings: `weights` may be '' for a model that propagates and starts from prompts: then there is no detector.
        engine_factory: called in place of `load_engine`.
        propagation_factory: called in place of `load_propagation_model`.
        cameras: how many share the model, and may have their images run together.

    Raises ValueError or FileNotFoundError, see `load`.
    """

    def __init__(
        self,
        settings: Settings,
        engine_factory: Callable[..., Engine] | None = None,
        propagation_factory: Callable[..., PropagationModel] | None = None,
        cameras: int = 1,
    ) -> None:
        settings.check_together()
        self.settings = settings
        self.weights_sha256 = weights_digest(settings.weights)
        """Of the file as it was when it was loaded; '' without a file."""
        self._propagation = _load_propagation(settings, propagation_factory or load_propagation_model)
        self._engine = _load_detector(settings, engine_factory or load_engine, min(cameras, _MAX_BATCH))
        self.warm_up_ms = 0.0 if self._engine is None else self._engine.warm_up()
        """Milliseconds of one frame in the detector once it is warm."""

    @property
    def batch(self) -> int:
        """Number of images, of different cameras, for which `detect` is fastest; 1 if a batch gains nothing."""
        return 1 if self._engine is None or self.settings.propagates else self._engine.batch

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """What the detector finds in each image, see `Engine.infer`; `Tracker.step` of each camera takes it."""
        assert self._engine is not None
        return self._engine.infer(images)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class id in the results of the trackers."""
        detected = () if self._engine is None else self._engine.class_names
        return detected if self._propagation is None else (*detected, OBJECT)

    @property
    def info(self) -> EngineInfo:
        """What the detector really runs on; without a detector, what the propagation model runs on."""
        if self._engine is not None:
            return self._engine.describe()
        assert self._propagation is not None
        return EngineInfo(self._propagation.engine, self._propagation.device, 'fp32', self.settings.model, 0, (0, 0))

    @property
    def propagation(self) -> str:
        """Weights and engine of the propagation model in words; '' without one."""
        return '' if self._propagation is None else f'{self._propagation.weights}: {self._propagation.engine}'

    @property
    def name(self) -> str:
        """What messages and reports call this model: 'demo', 'mask_rcnn (mine)', 'feelvos', 'demo + feelvos'."""
        if self.settings.propagates:
            return self.settings.model
        model, weights = self.info.model, Path(self.settings.weights).stem
        detector = model if weights == model else f'{model} ({weights})'
        return f'{detector} + {self.settings.bridge}' if self.settings.bridge else detector

    def compile_in_background(self) -> None:
        """Never wait while the detector is compiled for a new image size, see `BackgroundCompiler`."""
        if isinstance(self._engine, BackgroundCompiler):
            self._engine.compile_in_background()

    def tracker(self) -> Tracker:
        """A tracker without tracks, for one camera."""
        settings, wanted = self.settings, None
        if self._engine is not None:
            wanted = DetectionFilter(self._engine, settings.score_threshold, settings.classes)
        if settings.propagates:
            assert self._propagation is not None
            return Propagate(self._propagation.new(), self._engine, settings.propagate_config(), wanted)
        assert self._engine is not None
        tracker = DetectAndTrack(self._engine, new_memory(settings), wanted)
        if self._propagation is None:
            return tracker
        only_prompted = settings.start_from == 'prompts'
        return DetectAndPropagate(tracker, self._propagation.new(), settings.max_age_s, only_prompted)

    def photo_tracker(self) -> Tracker:
        """A tracker that takes each image for itself: only detection, and track ids that count its objects.

        Raises:
            ValueError: the model follows objects from image to image.
        """
        if self._engine is None or self._propagation is not None:
            raise ValueError(
                f'{self.name} follows objects from image to image, which photos do not have: '
                'use the model mask_rcnn or masktrack_rcnn, without a bridge'
            )
        wanted = DetectionFilter(self._engine, self.settings.score_threshold, self.settings.classes)
        return DetectAndTrack(self._engine, PhotoMemory(), wanted)

    def describe(self) -> dict[str, Any]:
        """What really runs, and every setting; plain JSON types, as run.json has them."""
        running = asdict(self.info)
        return {
            'model': self.name,
            'weights': self.settings.weights,
            'weights_sha256': self.weights_sha256,
            **({'propagation': self.propagation} if self.propagation else {}),
            **{name: running[name] for name in ('engine', 'device', 'precision', 'note')},
            'settings': asdict(self.settings),
        }


def weights_digest(weights: str) -> str:
    """SHA-256 of a model file; '' without a file."""
    try:
        return hashlib.sha256(resolve(weights).read_bytes()).hexdigest()
    except (OSError, ValueError):  # no detector, or an engine that needs no file
        return ''


def new_memory(settings: Settings) -> Memory:
    """An empty memory with the association rule of some settings."""
    if settings.association in PUBLISHED_RULES:
        return PublishedMemory(settings.published_config())
    return IdentityMemory(settings.association_config())


def _load_propagation(settings: Settings, factory: Callable[..., PropagationModel]) -> PropagationModel | None:
    if not settings.propagation_model:
        return None
    extra: dict[str, Any] = {}
    if settings.propagation_model == 'pts':
        extra = {
            'detector': settings.weights or 'demo',
            'fine_tune_steps': settings.fine_tune_steps,
            'fine_tune_in_background': settings.fine_tune_in_background,
        }
    if settings.delayed:
        extra = {'delayed': True}
    if settings.matching_stride:
        extra = {'matching_stride': settings.matching_stride}
    return factory(
        settings.propagation_model,
        settings.propagation_weights,
        engine=settings.engine,
        device=settings.device,
        threads=settings.threads,
        precision=settings.precision,
        accuracy_check=settings.accuracy_check,
        **extra,
    )


def _load_detector(settings: Settings, factory: Callable[..., Engine], batch: int) -> Engine | None:
    if not settings.weights:
        if settings.propagates and settings.start_from == 'prompts':
            return None
        raise ValueError("weights is '', but only a propagation model that starts from prompts needs no detector")
    return factory(
        settings.weights,
        model='auto' if settings.propagates else settings.model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        input_size=settings.input_size,
        score_threshold=settings.score_threshold or None,
        max_detections=settings.max_detections or None,
        threads=settings.threads,
        batch=batch,
        accuracy_check=settings.accuracy_check,
    )
