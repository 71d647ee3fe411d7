"""Validator: the network as it is used, with its identity memory, scored on videos that it does not train on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from vis_ros.datasets.excerpt import Excerpt
from vis_ros.datasets.predicted_video import PredictedVideo, predicted_frame
from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.evaluation.metrics.tracking_measures import TrackingMeasures
from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.synthetic.synthetic_video import SyntheticVideo
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.identity_memory import IdentityMemory
from vis_ros.training.frame_videos import choose
from vis_ros.training.train_config import TrainConfig, Validation
from vis_ros.training.training_data import OpenSource, Renamed, open_source, read_annotations
from vis_ros.training.training_pictures import answers_picture

_RATE = 10.0
"""Hz of videos whose frames have no stamps."""
_PICTURES = 4


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """figures: as in the Evaluation, class-aware or not as the config has it; picture: truth and answers side by side,
    (H, W, 3) uint8 BGR."""

    figures: dict[str, float]
    picture: NDArray[np.uint8]


class Validator:
    """Opens and checks the validation data once; `run` scores a network on all of it.

    Raises ValueError or FileNotFoundError, before any training, that names what cannot be used.
    """

    def __init__(self, validation: Validation, config: TrainConfig, class_names: tuple[str, ...]) -> None:
        TrackingMeasures()  # that TrackEval is missing is better known now than at the first validation
        self.config = validation
        self.truth = open_truth(validation, config.size, class_names)
        if validation.class_aware and not self.truth.has_classes:
            raise ValueError(f'{self.truth.source} tells no classes: validation class_aware must be false')

    def run(self, network: MaskRCNN) -> ValidationResult:
        """Score a network, which is in evaluation mode; draws no random number."""
        config = network.config
        network.config = config.with_fields(score_threshold=self.config.score_threshold)
        engine = TorchEngine.of_network(network)
        answers = [_track(video, engine, self.config.new_track_score) for video in self.truth.videos]
        network.config = config
        results = AnnotatedVideos('validation', 'answers', config.class_names, answers)
        found = evaluate(results, self.truth)
        return ValidationResult(self._figures(found), self._picture(results))

    def _figures(self, evaluation: Evaluation) -> dict[str, float]:
        figures = evaluation.aware if self.config.class_aware else evaluation.agnostic
        assert figures is not None
        return dict(figures)

    def _picture(self, results: AnnotatedVideos) -> NDArray[np.uint8]:
        """Of some videos the middle frame."""
        videos = list(zip(self.truth.videos, results.videos, strict=True))[:_PICTURES]
        frames = [
            (next(islice(truth, len(answers) // 2, None)), next(islice(answers, len(answers) // 2, None)))
            for truth, answers in videos
        ]
        return answers_picture(frames, (self.truth.class_names, results.class_names))


def open_truth(
    validation: Validation, size: tuple[int, int], class_names: tuple[str, ...] | None = None
) -> AnnotatedVideos:
    """The validation data, every picture of it read once.

    size: (height, width) of made videos; class_names: of the model, None takes those of the data.
    """
    source = validation.data
    if source.kind == 'videos':
        videos = read_annotations(source)
        chosen = choose(videos, source.only)[: validation.videos]
        excerpts = [Excerpt(video, 0, validation.frames) for video in chosen]
        for excerpt in excerpts:
            for frame in excerpt:
                if frame.read_image is None:
                    raise ValueError(f'validation: {videos.source}: {excerpt.name} frame {frame.name} has no picture')
                frame.read_image()
        return AnnotatedVideos(videos.source, videos.kind, videos.class_names, excerpts, videos.has_classes)
    opened: OpenSource = open_source(source, size, {}, Console(quiet=True))
    class_names = class_names or opened.class_names
    unknown = [name for name in opened.class_names if name not in class_names]
    if unknown:
        raise ValueError(f'the validation data have classes that the model has not: {", ".join(unknown)}')
    renamed = Renamed(opened, class_names)
    seeds = range(validation.seed, validation.seed + validation.videos)
    made = [SyntheticVideo(f'{seed}', renamed.video(seed).frame, validation.frames, _RATE) for seed in seeds]
    return AnnotatedVideos(f'{source.kind} of seed {validation.seed}', 'made videos', class_names, made)


def _track(video: AnnotatedVideo, engine: TorchEngine, new_track_score: float) -> PredictedVideo:
    tracker = DetectAndTrack(engine, IdentityMemory(AssociationConfig(new_track_score=new_track_score)))
    frames = []
    for frame in video:
        assert frame.read_image is not None
        stamp = frame.index / _RATE if frame.stamp_ns is None else frame.stamp_ns / 1e9
        frames.append(predicted_frame(frame, tracker.step(frame.read_image(), stamp)))
    return PredictedVideo(video.name, frames)
