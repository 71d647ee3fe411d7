"""DetectionValidator: runs the detector and the tracker on held-out videos and scores the result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos, Excerpt, PredictedVideo, predicted_frame
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.synthetic.synthetic_video import SyntheticVideo
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings
from vis_ros.training.labeled_videos import select_videos
from vis_ros.training.train_config import TrainConfig, Validation
from vis_ros.training.training_data import RelabeledVideos, TrainingSource, open_training_source, read_annotations
from vis_ros.training.training_images import draw_predictions

_RATE = 10.0
"""Frame rate in Hz assumed for videos without stamps."""
_SHOWN_VIDEOS = 4


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """What one validation found.

    metrics: by name, as `vis-ros evaluate` reports them.
    image: (H, W, 3) uint8 BGR, ground truth and predictions side by side.
    """

    metrics: dict[str, float]
    image: NDArray[np.uint8]


class DetectionValidator:
    """A `Validator` for Mask R-CNN and MaskTrack R-CNN.

    Opens and checks the validation data once, before the first step.

    Raises:
        ValueError: the data cannot be used, or their classes do not match the model.
        FileNotFoundError: a file or folder is missing.
    """

    def __init__(self, validation: Validation, config: TrainConfig, class_names: tuple[str, ...]) -> None:
        self.config = validation
        self.truth = open_truth(validation, config.size, class_names)
        if validation.class_aware and not self.truth.has_classes:
            raise ValueError(f'{self.truth.source} has no class labels: set class_aware: false in validation')

    def run(self, network: MaskRCNN) -> ValidationResult:
        """Score a network in evaluation mode. Draws no random numbers."""
        config = network.config
        network.config = config.with_fields(score_threshold=self.config.score_threshold)
        settings = Settings(new_track_score=self.config.new_track_score)
        model = Model(settings, engine_factory=lambda *_, **__: TorchEngine.of_network(network))
        predictions = [_track(video, model) for video in self.truth.videos]
        network.config = config
        results = AnnotatedVideos('validation', 'predictions', config.class_names, predictions)
        return ValidationResult(self._metrics(evaluate(results, self.truth)), self._draw(results))

    def _metrics(self, evaluation: Evaluation) -> dict[str, float]:
        metrics = evaluation.aware if self.config.class_aware else evaluation.agnostic
        assert metrics is not None
        return dict(metrics)

    def _draw(self, results: AnnotatedVideos) -> NDArray[np.uint8]:
        """The middle frame of the first videos: ground truth beside predictions."""
        videos = list(zip(self.truth.videos, results.videos, strict=True))[:_SHOWN_VIDEOS]
        frames = []
        for truth, predictions in videos:
            middle = len(predictions) // 2
            frames.append((next(islice(truth, middle, None)), next(islice(predictions, middle, None))))
        return draw_predictions(frames, (self.truth.class_names, results.class_names))


def open_truth(
    validation: Validation, size: tuple[int, int], class_names: tuple[str, ...] | None = None
) -> AnnotatedVideos:
    """Open the validation data and decode every image once, so that nothing fails in the middle of a run.

    Args:
        validation: what to open.
        size: (height, width) of synthetic videos.
        class_names: classes of the model; None takes those of the data.

    Raises:
        ValueError: a frame has no image, or the data have a class that the model does not have.
    """
    source = validation.data
    if source.kind == 'videos':
        videos = read_annotations(source)
        chosen = select_videos(videos, source.only)[: validation.videos]
        excerpts = [Excerpt(video, 0, validation.frames) for video in chosen]
        for excerpt in excerpts:
            for frame in excerpt:
                if frame.read_image is None:
                    raise ValueError(f'validation: {videos.source}: {excerpt.name} frame {frame.name} has no image')
                frame.read_image()
        return AnnotatedVideos(videos.source, videos.kind, videos.class_names, excerpts, videos.has_classes)
    opened: TrainingSource = open_training_source(source, size, {}, Console(quiet=True))
    class_names = class_names or opened.class_names
    unknown = [name for name in opened.class_names if name not in class_names]
    if unknown:
        raise ValueError(f'the validation data have classes that the model does not have: {", ".join(unknown)}')
    renamed = RelabeledVideos(opened, class_names)
    seeds = range(validation.seed, validation.seed + validation.videos)
    synthetic = [SyntheticVideo(f'{seed}', renamed.video(seed).frame, validation.frames, _RATE) for seed in seeds]
    return AnnotatedVideos(f'{source.kind} of seed {validation.seed}', 'synthetic videos', class_names, synthetic)


def _track(video: AnnotatedVideo, model: Model) -> PredictedVideo:
    tracker = model.tracker()
    frames = []
    for frame in video:
        assert frame.read_image is not None
        stamp = frame.index / _RATE if frame.stamp_ns is None else frame.stamp_ns / 1e9
        frames.append(predicted_frame(frame, tracker.step(frame.read_image(), stamp)))
    return PredictedVideo(video.name, frames)
