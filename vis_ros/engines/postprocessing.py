"""Postprocessing: from the outputs of a network to the `Instances` of the source image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.instances import Instances
from vis_ros.masks.paste import place
from vis_ros.masks.pasted_masks import PastedMasks
from vis_ros.networks.model_config import ModelConfig


def postprocess(
    outputs: NetworkOutputs, scale: tuple[float, float], image_size: tuple[int, int], config: ModelConfig
) -> Instances:
    """The objects of one image. Their masks are pasted when one is first read.

    Args:
        outputs: what the network found, in pixels of its input.
        scale: (x, y) factors from source pixels to pixels of the network's input.
        image_size: (height, width) of the source image.
        config: the model's conventions for boxes, masks and scores.
    """
    class_scores = None
    if config.mask_scores:
        outputs, class_scores = _rescore(outputs, config.score_threshold)
    boxes = np.divide(outputs.boxes, np.array(scale * 2, np.float32))
    placement = place(boxes, outputs.masks.shape[1], image_size, config.mask_paste)
    if config.legacy_boxes:  # x1 and y1 are the last pixel; in `Instances` they are the pixel after it
        boxes = np.minimum(boxes + np.array([0, 0, 1, 1], np.float32), np.array(image_size[::-1] * 2, np.float32))
    return Instances(
        image_size=(image_size[0], image_size[1]),
        boxes=boxes,
        scores=outputs.scores,
        class_ids=outputs.labels - 1,
        rois=placement.rois,
        masks=PastedMasks(outputs.masks, placement, config.mask_threshold),
        embeddings=outputs.embeddings,
        class_scores=class_scores,
    )


def _rescore(outputs: NetworkOutputs, score_threshold: float) -> tuple[NetworkOutputs, NDArray[np.float32]]:
    """Score each object by the geometric mean of its class score and its mask certainty (`ModelConfig.mask_scores`).

    Returns the objects above the threshold, sorted by the new score, and their class scores.
    """
    scores = np.sqrt(outputs.scores * mask_certainty(outputs.masks))
    order = np.argsort(-scores, kind='stable')
    order = order[scores[order] > score_threshold]
    rescored = replace(
        outputs,
        boxes=outputs.boxes[order],
        scores=scores[order],
        labels=outputs.labels[order],
        masks=outputs.masks[order],
        embeddings=outputs.embeddings[order],
    )
    return rescored, outputs.scores[order]


def mask_certainty(masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(D,) mean of |2 p - 1| over each mask (D, S, S) of probabilities p: 1 if all pixels are certain, 0 if none is.

    A box that is inaccurate or contains no object usually gets an uncertain mask, even if its class score is high.
    Mask Scoring R-CNN (Huang et al. 2019) learns such a score with a head of its own.
    """
    return np.abs(2 * masks - 1).mean((1, 2), dtype=np.float32)
