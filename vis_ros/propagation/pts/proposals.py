"""Region proposals by the RPN of Mask R-CNN: the first part of PTS."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from vis_ros.networks.mask_rcnn import MaskRCNN

Proposals = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""A function from an image (h, w, 3) uint8 BGR to boxes (P, 4) in pixels."""

_COUNT, _NMS_THRESHOLD = 300, 0.9
"""Published: 2000 boxes and the same threshold."""


def rpn_proposals(network: MaskRCNN, device: torch.device, count: int = _COUNT) -> Proposals:
    """A function that returns class-agnostic region proposals, the most probable first.

    The sides of its images are multiples of 32; they are not resized.

    Args:
        network: in evaluation mode, on `device`; it is not changed.
        device: of the network.
        count: maximum number of boxes. Boxes that overlap a better one with an IoU above 0.9 are removed.
    """
    config = network.config.with_fields(
        proposals=count, proposals_before_nms=count, proposal_nms_threshold=_NMS_THRESHOLD
    )
    network = copy.copy(network)
    network.config = config
    mean, std = (torch.tensor(each, device=device)[:, None, None] for each in (config.mean, config.std))

    @torch.inference_mode()
    def propose(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1).float()
        features = network.features(((pixels.flip(0) - mean) / std)[None])
        size = (image.shape[0], image.shape[1])
        logits, deltas = network.rpn_outputs(features)
        boxes = network.propose(logits, deltas, network.anchors(features, size), [size])
        return boxes[0].cpu().numpy()

    return propose
