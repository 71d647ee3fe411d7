"""What TensorBoard shows of a run: training pairs with their truth, and truth beside answers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vis_ros.datasets.rle import decode
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.instances import Instances
from vis_ros.training.detection_losses import TrainingTarget
from vis_ros.visualization import contact_sheet, draw_overlay

Image = NDArray[np.uint8]

_UNKNOWN = 255


def pairs_picture(images: Sequence[Tensor], targets: Sequence[TrainingTarget], class_names: Sequence[str]) -> Image:
    """The pairs of a batch, one a row: key frame and reference frame, equal objects in equal colours.

    images: (H, W, 3) uint8 BGR, all key frames and then all reference frames. Ignored pixels are shown darker.
    """
    drawn = []
    for image, target in zip(images, targets, strict=True):
        masks = target.masks.numpy()
        labels, ids = target.labels.numpy() - 1, target.object_ids.numpy()
        pixels = image.numpy()
        if target.ignored is not None:
            pixels = np.where(target.ignored.numpy()[..., None] > 0, pixels // 2, pixels)
        objects = _instances((image.shape[0], image.shape[1]), masks, labels, ids, np.ones(len(ids)))
        drawn.append(draw_overlay(pixels, objects, class_names))
    pairs = len(drawn) // 2
    return contact_sheet([each for n in range(pairs) for each in (drawn[n], drawn[n + pairs])], columns=2, width=1000)


def clips_picture(images: Tensor, labels: Tensor) -> Image:
    """The clips of a batch, one a row, the reference first: (B, T, H, W, 3) uint8 BGR and their labels (B, T, H, W)."""
    frames = [
        _drawn_labels(image, label)
        for clip, truth in zip(images.numpy(), labels.numpy(), strict=True)
        for image, label in zip(clip, truth, strict=True)
    ]
    return contact_sheet(frames, columns=images.shape[1], width=1000)


def labels_picture(frames: Sequence[tuple[Image, Sequence[NDArray[np.int64]]]]) -> Image:
    """Images (H, W, 3) uint8 BGR, one a row, each with its label maps (H, W) side by side, as many for every image."""
    drawn = [_drawn_labels(image, label) for image, labels in frames for label in labels]
    return contact_sheet(drawn, columns=len(frames[0][1]), width=1000)


def _drawn_labels(image: Image, labels: NDArray[np.int64] | NDArray[np.uint8]) -> Image:
    """Unknown pixels, 255 in uint8 labels, are shown darker."""
    unknown = labels == _UNKNOWN if labels.dtype == np.uint8 else np.zeros(labels.shape, bool)
    numbers = np.setdiff1d(np.where(unknown, 0, labels), 0).astype(np.int64)
    masks = [(labels == number).astype(np.uint8) for number in numbers.tolist()]
    pixels = np.where(unknown[..., None], image // 2, image)
    size = (image.shape[0], image.shape[1])
    return draw_overlay(pixels, _instances(size, masks, np.zeros_like(numbers), numbers, np.ones(len(masks))), [''])


def answers_picture(
    frames: Sequence[tuple[AnnotatedFrame, AnnotatedFrame]], names: tuple[Sequence[str], Sequence[str]]
) -> Image:
    """Truth and answer side by side, one frame a row; names: of the classes of truth and of answers.

    The frames of the truth have pictures.
    """
    drawn = []
    for truth, answer in frames:
        assert truth.read_image is not None
        image = truth.read_image()
        drawn += [
            draw_overlay(image, _of_frame(frame), name) for frame, name in zip((truth, answer), names, strict=True)
        ]
    return contact_sheet(drawn, columns=2, width=1000)


def _of_frame(frame: AnnotatedFrame) -> Instances:
    masks = [decode(mask) for mask in frame.masks]
    return _instances(frame.size, masks, frame.class_ids, frame.track_ids, frame.scores)


def _instances(
    size: tuple[int, int],
    masks: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    class_ids: NDArray[np.int64],
    track_ids: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> Instances:
    """Objects as they are drawn, from masks (H, W) of the whole image."""
    windows = [cv2.boundingRect(mask) for mask in masks]
    rois = np.array([(x, y, x + width, y + height) for x, y, width, height in windows], np.int32).reshape(-1, 4)
    return Instances(
        image_size=size,
        boxes=rois.astype(np.float32),
        scores=scores.astype(np.float32),
        class_ids=class_ids.astype(np.int32),
        rois=rois,
        masks=[mask[y0:y1, x0:x1] for mask, (x0, y0, x1, y1) in zip(masks, rois.tolist(), strict=True)],
        track_ids=track_ids.astype(np.uint32),
    )
