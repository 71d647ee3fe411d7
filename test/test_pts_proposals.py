from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torchvision.ops import box_iou

from vis_ros.networks.mask_rcnn import MaskRCNN
from vis_ros.networks.model_config import ModelConfig
from vis_ros.propagation.pts.proposals import rpn_proposals
from vis_ros.propagation.pts.rpn_boxes import RpnBoxes
from vis_ros.propagation.torch_parts import run_part


def test_proposals_are_the_refined_most_probable_anchors() -> None:
    torch.manual_seed(0)
    config = ModelConfig('tiny', ('thing',), 'mask_rcnn', backbone='resnet18', fpn_channels=16, proposals=7)
    network = MaskRCNN(config).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    outputs = partial(run_part, RpnBoxes(network), torch.device('cpu'))
    found = {count: rpn_proposals(outputs, config, count)(image) for count in (3, 20, 100)}
    assert network.config is config
    boxes = torch.from_numpy(found[100])
    assert found[100].dtype == np.float32
    assert 20 < len(boxes) <= 100
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= torch.tensor([96.0, 64.0])).all()
    # Of the same level no two have an IoU over 0.9; the first ones do not depend on their number.
    overlap = box_iou(boxes, boxes).fill_diagonal_(0)
    assert overlap.max() > 0.7
    assert found[3].shape == (3, 4) and found[20].shape == (20, 4)
    rows = {tuple(row) for row in np.round(found[100], 3).tolist()}
    assert {tuple(row) for row in np.round(found[3], 3).tolist()} <= rows
    pixels = (image[..., ::-1].astype(np.float32) - np.float32(config.mean)) / np.float32(config.std)
    with torch.inference_mode():
        features = network.features(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        logits, deltas = network.rpn_outputs(features)
        for count in found:
            network.config = config.with_fields(proposals=count, proposals_before_nms=count, proposal_nms_threshold=0.9)
            expected = network.propose(logits, deltas, network.anchors(features, (64, 96)), [(64, 96)])[0]
            np.testing.assert_allclose(found[count], expected, atol=1e-3)
