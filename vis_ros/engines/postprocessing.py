"""Postprocessing: what a network found, in pixels of its input, as `Instances` of the source image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.masks import paste
from vis_ros.networks.config import ModelConfig


def to_instances(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[Any],
    masks: NDArray[np.float32],
    embeddings: NDArray[np.float32],
    scale: tuple[float, float],
    image_size: tuple[int, int],
    config: ModelConfig,
) -> Instances:
    """The D objects found in one image; each mask is computed inside its box only.

    Args:
        boxes: (D, 4) x0 y0 x1 y1 in pixels of the network's input.
        scores: (D,).
        labels: (D,) integers, 1 to C (0 is the background).
        masks: (D, S, S) probabilities.
        embeddings: (D, E).
        scale: (x, y) factors from source pixels to pixels of the network's input.
        image_size: (height, width) of the source image.
        config: its rules of boxes and masks.
    """
    boxes = np.divide(boxes, np.array(scale * 2, np.float32))
    pasted = [
        paste(mask, box, image_size, config.mask_paste, config.mask_threshold)
        for mask, box in zip(masks, boxes, strict=True)
    ]
    if config.legacy_boxes:  # x1, y1 are the last pixel; outside this package they are the pixel after it
        boxes = np.minimum(boxes + np.array([0, 0, 1, 1], np.float32), np.array(image_size[::-1] * 2, np.float32))
    return Instances(
        image_size=(image_size[0], image_size[1]),
        boxes=boxes,
        scores=scores,
        class_ids=labels - 1,
        rois=np.array([roi for _, roi in pasted], np.int32).reshape(-1, 4),
        masks=[mask for mask, _ in pasted],
        embeddings=embeddings,
    )
