"""PropagationValidator: propagates the first masks of held-out videos and scores the result by J."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo
from vis_ros.propagation.first_masks import Masks, propagate_first_masks
from vis_ros.propagation.torch_parts import new_propagator
from vis_ros.training.train_config import Validation
from vis_ros.training.training_images import draw_labels
from vis_ros.training.validation import ValidationResult, metric_name
from vis_ros.training.validation_data import open_truths

_SHOWN_VIDEOS = 4


class PropagationValidator:
    """A `Validator` for mask propagation networks.

    Opens and checks the validation data once, before the first step.

    Raises:
        ValueError: the data cannot be used.
        FileNotFoundError: a file or folder is missing.
    """

    def __init__(self, validation: Validation, size: tuple[int, int]) -> None:
        self.config = validation
        self.truths = open_truths(validation, size)

    def run(self, network: nn.Module) -> ValidationResult:
        """Score a network in evaluation mode. J is the mean of `mean_j` over the videos of a source."""
        device: torch.device = next(network.parameters()).device
        propagator = new_propagator(network, device)
        metrics: dict[str, float] = {}
        shown: list[tuple[AnnotatedFrame, NDArray[np.int64]]] = []
        first = next(iter(self.truths))
        for name, truth in self.truths.items():
            scores = []
            for video in truth.videos:
                predictions = list(propagate_first_masks(propagator, map(_image_and_masks, video)))
                scores.append(mean_j(video, predictions))
                if len(shown) < _SHOWN_VIDEOS:
                    middle = len(predictions) // 2
                    shown.append((next(islice(video, middle, None)), predictions[middle]))
            known = [score for score in scores if score is not None]
            metrics[metric_name(name, first, 'J')] = float(np.mean(known)) if known else 0.0
        drawing = draw_labels([(_image(frame), (_labels(frame), prediction)) for frame, prediction in shown])
        return ValidationResult(metrics, drawing)


def mean_j(video: AnnotatedVideo, predictions: list[NDArray[np.int64]]) -> float | None:
    """The region similarity J of a video (Perazzi et al., CVPR 2016): mean IoU over its objects and their frames.

    The frame in which an object's mask is given does not count. The IoU is 1 in a frame where both ground truth and
    prediction are empty. Ignored pixels are left out.

    Args:
        video: the ground truth.
        predictions: label maps (H, W), one for each frame: 0 background, else track ids.

    Returns:
        J in [0, 1], or None if no object has a frame that counts.
    """
    values: dict[int, list[float]] = {}
    for frame, prediction in zip(video, predictions, strict=True):
        counted = np.ones(frame.size, bool) if frame.ignored is None else decode(frame.ignored) == 0
        masks = _masks(frame)
        for track_id, ious in values.items():
            predicted = (prediction == track_id) & counted
            true = masks[track_id] & counted if track_id in masks else np.zeros_like(predicted)
            union = int((predicted | true).sum())
            ious.append(int((predicted & true).sum()) / union if union else 1.0)
        for track_id in masks:
            values.setdefault(track_id, [])
    means = [float(np.mean(ious)) for ious in values.values() if ious]
    return float(np.mean(means)) if means else None


def _image_and_masks(frame: AnnotatedFrame) -> tuple[NDArray[np.uint8], Masks]:
    return _image(frame), _masks(frame)


def _image(frame: AnnotatedFrame) -> NDArray[np.uint8]:
    assert frame.read_image is not None
    return frame.read_image()


def _masks(frame: AnnotatedFrame) -> dict[int, NDArray[np.bool_]]:
    return {track_id: decode(mask) > 0 for track_id, mask in zip(frame.track_ids.tolist(), frame.masks, strict=True)}


def _labels(frame: AnnotatedFrame) -> NDArray[np.int64]:
    labels = np.zeros(frame.size, np.int64)
    for track_id, mask in _masks(frame).items():
        labels[mask] = track_id
    return labels
