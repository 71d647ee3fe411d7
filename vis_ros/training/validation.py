"""DetectionValidator: runs the detector and the tracker on held-out data and scores the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, PredictedVideo, predicted_frame
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.evaluation.compare_results import compare
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.evaluation.leading_figure import PHOTO_METRICS
from vis_ros.evaluation.preparation import Preparation
from vis_ros.evaluation.verdict import Verdict
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings
from vis_ros.tracking.tracker import Tracker
from vis_ros.training.train_config import TrainConfig, Validation
from vis_ros.training.training_images import draw_predictions
from vis_ros.training.validation_data import RATE, open_truths

_SHOWN_VIDEOS = 4


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """What one validation found.

    metrics: by name, as `vis-ros evaluate` reports them; those of further sources as 'composites/AP'.
    image: (H, W, 3) uint8 BGR, ground truth and predictions side by side.
    """

    metrics: dict[str, float]
    image: NDArray[np.uint8]


def metric_name(source: str, first: str, metric: str) -> str:
    """The name of a metric of a source in a ValidationResult. first: name of the first source."""
    return metric if source == first else f'{source}/{metric}'


class DetectionValidator:
    """A `Validator` for Mask R-CNN and MaskTrack R-CNN.

    Opens and checks the validation data once, before the first step.

    Raises:
        ValueError: the data cannot be used, or their classes do not match the model.
        FileNotFoundError: a file or folder is missing.
    """

    def __init__(self, validation: Validation, config: TrainConfig, class_names: tuple[str, ...]) -> None:
        self.config = validation
        self.truths = open_truths(validation, config.size, class_names)
        for truth in self.truths.values():
            if validation.class_aware and not truth.has_classes:
                raise ValueError(f'{truth.source} has no class labels: set class_aware: false in validation')

    def run(self, network: MaskRCNN) -> ValidationResult:
        """Score a network in evaluation mode. Draws no random numbers."""
        metrics: dict[str, float] = {}
        images = []
        first = next(iter(self.truths))
        for name, truth in self.truths.items():
            results = self._predict(network, truth)
            found = self._metrics(evaluate(results, truth), truth.of_photos)
            metrics |= {metric_name(name, first, metric): value for metric, value in found.items()}
            images.append(_draw(truth, results))
        return ValidationResult(metrics, np.concatenate(images))

    def compare(self, start: MaskRCNN, best: MaskRCNN) -> Iterator[tuple[str, Verdict]]:
        """The verdict of `vis-ros evaluate` on each source, from `start` to `best`; both in evaluation mode.

        The two may have different classes.
        """
        for name, truth in self.truths.items():
            before, after = (
                evaluate(*Preparation().apply(self._predict(network, truth), truth)) for network in (start, best)
            )
            yield name, compare(before, after).verdict

    def _predict(self, network: MaskRCNN, truth: AnnotatedVideos) -> AnnotatedVideos:
        config = network.config
        network.config = config.with_fields(score_threshold=self.config.score_threshold)
        settings = Settings(new_track_score=self.config.new_track_score)
        model = Model(settings, engine_factory=lambda *_, **__: TorchEngine.of_network(network))
        new_tracker = model.photo_tracker if truth.of_photos else model.tracker
        videos = [_track(video, new_tracker()) for video in truth.videos]
        network.config = config
        return AnnotatedVideos('validation', 'predictions', config.class_names, videos, of_photos=truth.of_photos)

    def _metrics(self, evaluation: Evaluation, of_photos: bool) -> dict[str, float]:
        metrics = evaluation.aware if self.config.class_aware else evaluation.agnostic
        assert metrics is not None
        return {name: metrics[name] for name in metrics if not of_photos or name in PHOTO_METRICS}


def _draw(truth: AnnotatedVideos, results: AnnotatedVideos) -> NDArray[np.uint8]:
    """The middle frame of the first videos: ground truth beside predictions."""
    frames: list[tuple[AnnotatedFrame, AnnotatedFrame]] = []
    for true, found in list(zip(truth.videos, results.videos, strict=True))[:_SHOWN_VIDEOS]:
        middle = len(found) // 2
        frames.append((next(islice(true, middle, None)), next(islice(found, middle, None))))
    return draw_predictions(frames, (truth.class_names, results.class_names))


def _track(video: AnnotatedVideo, tracker: Tracker) -> PredictedVideo:
    frames = []
    for frame in video:
        assert frame.read_image is not None
        stamp = frame.index / RATE if frame.stamp_ns is None else frame.stamp_ns / 1e9
        frames.append(predicted_frame(frame, tracker.step(frame.read_image(), stamp)))
    return PredictedVideo(video.name, frames)
