"""Region proposals by the RPN of Mask R-CNN: the first part of PTS. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.iou import box_iou
from vis_ros.networks.model_config import ModelConfig

Floats = NDArray[np.float32]
Proposals = Callable[[NDArray[np.uint8]], Floats]
"""A function from an image (h, w, 3) uint8 BGR to boxes (P, 4) in pixels."""
RpnOutputs = Callable[[NDArray[np.uint8]], Sequence[Floats]]
"""A function from such an image to what `RpnBoxes` returns."""

_COUNT, _NMS_THRESHOLD = 300, 0.9
"""Published: 2000 boxes and the same threshold."""


def rpn_proposals(outputs: RpnOutputs, config: ModelConfig, count: int = _COUNT) -> Proposals:
    """A function that returns class-agnostic region proposals, the most probable first.

    The sides of its images are multiples of 32; they are not resized.

    Args:
        outputs: runs `RpnBoxes`.
        config: of the network.
        count: maximum number of boxes, and of those of each level. Boxes that overlap a better one of the same level
            with an IoU above 0.9 are removed.
    """
    one = np.float32(config.legacy_boxes)

    def propose(image: NDArray[np.uint8]) -> Floats:
        found = outputs(image)
        limits = np.array([image.shape[1], image.shape[0]] * 2, np.float32) - one
        kept_boxes, kept_scores = [], []
        for scores, boxes in zip(found[::2], found[1::2], strict=True):
            best = np.argsort(-scores, kind='stable')[:count]
            scores, boxes = scores[best], np.clip(boxes[best], 0, limits)
            sides = (boxes[:, 2:] - boxes[:, :2] + one).min(1)
            large = sides >= config.proposal_min_size if config.proposal_min_size > 0 else sides > 0
            scores, boxes = scores[large], boxes[large]
            kept = _suppressed(boxes, config.legacy_boxes)
            kept_boxes.append(boxes[kept])
            kept_scores.append(scores[kept])
        best = np.argsort(-np.concatenate(kept_scores), kind='stable')[:count]
        return np.concatenate(kept_boxes)[best]

    return propose


def _suppressed(boxes: Floats, inclusive: bool) -> list[int]:
    """Indices of boxes (N, 4), the best first, without those that overlap a better one that is kept."""
    overlaps = box_iou(boxes, boxes, inclusive) > _NMS_THRESHOLD
    gone = np.zeros(len(boxes), bool)
    kept = []
    for index in range(len(boxes)):
        if not gone[index]:
            kept.append(index)
            gone |= overlaps[index]
    return kept
