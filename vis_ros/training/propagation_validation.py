"""PropagationValidator: the first masks of videos that are not trained on, carried along and scored by J."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vis_ros.datasets.rle import decode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo
from vis_ros.propagation.first_masks import Masks, propagate_first_masks
from vis_ros.propagation.loading import new_propagator
from vis_ros.training.train_config import Validation
from vis_ros.training.training_pictures import labels_picture
from vis_ros.training.validation import ValidationResult, open_truth

_PICTURES = 4


class PropagationValidator:
    """Opens and checks the validation data once; `run` scores a network on all of it.

    Raises ValueError or FileNotFoundError, before any training, that names what cannot be used.
    """

    def __init__(self, validation: Validation, size: tuple[int, int]) -> None:
        self.config = validation
        self.truth = open_truth(validation, size)

    def run(self, network: nn.Module) -> ValidationResult:
        """Score a network, which is in evaluation mode. J: the mean over the videos of `mean_j`."""
        device: torch.device = next(network.parameters()).device
        propagator = new_propagator(network, device)
        scores: list[float | None] = []
        shown: list[tuple[AnnotatedFrame, NDArray[np.int64]]] = []
        for video in self.truth.videos:
            answers = list(propagate_first_masks(propagator, map(_image_and_masks, video)))
            scores.append(mean_j(video, answers))
            if len(shown) < _PICTURES:
                middle = len(answers) // 2
                shown.append((next(islice(video, middle, None)), answers[middle]))
        known = [score for score in scores if score is not None]
        picture = labels_picture([(_image(frame), (_labels(frame), answer)) for frame, answer in shown])
        return ValidationResult({'J': float(np.mean(known)) if known else 0.0}, picture)


def mean_j(video: AnnotatedVideo, answers: list[NDArray[np.int64]]) -> float | None:
    """Mean IoU over the objects of a video and their frames after the first, which is given; None without any.

    1 in a frame in which neither the object nor an answer is; ignored pixels are left out.
    """
    values: dict[int, list[float]] = {}
    for frame, answer in zip(video, answers, strict=True):
        counted = np.ones(frame.size, bool) if frame.ignored is None else decode(frame.ignored) == 0
        masks = _masks(frame)
        for number, found in values.items():
            mine = (answer == number) & counted
            true = masks[number] & counted if number in masks else np.zeros_like(mine)
            union = int((mine | true).sum())
            found.append(int((mine & true).sum()) / union if union else 1.0)
        for number in masks:
            values.setdefault(number, [])
    means = [float(np.mean(found)) for found in values.values() if found]
    return float(np.mean(means)) if means else None


def _image_and_masks(frame: AnnotatedFrame) -> tuple[NDArray[np.uint8], Masks]:
    return _image(frame), _masks(frame)


def _image(frame: AnnotatedFrame) -> NDArray[np.uint8]:
    assert frame.read_image is not None
    return frame.read_image()


def _masks(frame: AnnotatedFrame) -> dict[int, NDArray[np.bool_]]:
    return {number: decode(mask) > 0 for number, mask in zip(frame.track_ids.tolist(), frame.masks, strict=True)}


def _labels(frame: AnnotatedFrame) -> NDArray[np.int64]:
    labels = np.zeros(frame.size, np.int64)
    for number, mask in _masks(frame).items():
        labels[mask] = number
    return labels
