"""Images of a run for TensorBoard: training samples with their ground truth, and ground truth beside predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.instances import Instances
from vis_ros.propagation.blocks.clip_labels import UNKNOWN
from vis_ros.training.detection_losses import TrainingTarget
from vis_ros.visualization import contact_sheet, draw_overlay

Image = NDArray[np.uint8]

_WIDTH = 1000
"""Width of the contact sheets in pixels."""


def draw_pairs(images: Sequence[Tensor], targets: Sequence[TrainingTarget], class_names: Sequence[str]) -> Image:
    """Draw the pairs of a batch, one in a row: key frame and reference frame. An object has the same color in both.

    Args:
        images: (H, W, 3) uint8 BGR, all key frames first, then all reference frames.
        targets: one for each image; ignored pixels are darkened.
        class_names: of the labels.
    """
    drawn = []
    for image, target in zip(images, targets, strict=True):
        pixels = image.numpy()
        if target.ignored is not None:
            pixels = np.where(target.ignored.numpy()[..., None] > 0, pixels // 2, pixels)
        drawn.append(
            _draw(pixels, target.masks.numpy(), target.object_ids.numpy(), target.labels.numpy() - 1, class_names)
        )
    pairs = len(drawn) // 2
    return contact_sheet([each for n in range(pairs) for each in (drawn[n], drawn[n + pairs])], columns=2, width=_WIDTH)


def draw_clips(images: Tensor, labels: Tensor) -> Image:
    """Draw clips (B, T, H, W, 3) uint8 BGR with their labels (B, T, H, W), one in a row, the reference frame first."""
    frames = [
        _draw_label_map(image, label)
        for clip, truth in zip(images.numpy(), labels.numpy(), strict=True)
        for image, label in zip(clip, truth, strict=True)
    ]
    return contact_sheet(frames, columns=images.shape[1], width=_WIDTH)


def draw_labels(frames: Sequence[tuple[Image, Sequence[NDArray[np.int64]]]]) -> Image:
    """Draw images (H, W, 3) uint8 BGR, one in a row, once with each of their label maps (H, W)."""
    drawn = [_draw_label_map(image, label) for image, labels in frames for label in labels]
    return contact_sheet(drawn, columns=len(frames[0][1]), width=_WIDTH)


def draw_predictions(
    frames: Sequence[tuple[AnnotatedFrame, AnnotatedFrame]], names: tuple[Sequence[str], Sequence[str]]
) -> Image:
    """Draw ground truth and prediction side by side, one frame in a row.

    Args:
        frames: (ground truth, prediction); the ground truth has the image.
        names: class names of the ground truth and of the predictions.
    """
    drawn = []
    for truth, prediction in frames:
        assert truth.read_image is not None
        image = truth.read_image()
        for frame, class_names in zip((truth, prediction), names, strict=True):
            masks = np.array([decode(mask) for mask in frame.masks], np.uint8).reshape(-1, *frame.size)
            drawn.append(_draw(image, masks, frame.track_ids, frame.class_ids, class_names, frame.scores))
    return contact_sheet(drawn, columns=2, width=_WIDTH)


def _draw_label_map(image: Image, labels: NDArray[np.int64] | NDArray[np.uint8]) -> Image:
    """Draw the objects of a label map; UNKNOWN pixels, which only uint8 labels can have, are darkened."""
    unknown = labels == UNKNOWN if labels.dtype == np.uint8 else np.zeros(labels.shape, bool)
    numbers = np.setdiff1d(np.where(unknown, 0, labels), 0).astype(np.int64)
    pixels = np.where(unknown[..., None], image // 2, image)
    return _draw(pixels, labels == numbers[:, None, None], numbers, np.zeros_like(numbers), [''])


def _draw(
    image: Image,
    masks: ArrayLike,
    track_ids: NDArray[np.int64],
    class_ids: NDArray[np.int64],
    class_names: Sequence[str],
    scores: NDArray[np.float64] | None = None,
) -> Image:
    objects = Instances.from_masks(masks, class_ids, scores, class_names)
    return draw_overlay(image, objects.with_fields(track_ids=track_ids.astype(np.uint32)))
