"""Postprocessing: what a network found, in pixels of its input, as `Instances` of the source image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.masks.paste import paste
from vis_ros.networks.model_config import ModelConfig


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
    class_scores = None
    if config.mask_scores:
        together = np.sqrt(scores * certainty(masks))
        order = np.argsort(-together, kind='stable')
        order = order[together[order] > config.score_threshold]
        scores, class_scores = together[order], scores[order]
        boxes, labels, masks, embeddings = boxes[order], labels[order], masks[order], embeddings[order]
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
        class_scores=class_scores,
    )


def certainty(masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(D,) mean of |2 p - 1| over each mask (D, S, S) of probabilities p: 1 where every pixel is decided, 0 where none.

    A box that is a little off, or holds no object, mostly has a mask in doubt, however sure its class is: what Mask
    Scoring R-CNN (Huang et al. 2019) learns with a head of its own.
    """
    return np.abs(2 * masks - 1).mean((1, 2), dtype=np.float32)
