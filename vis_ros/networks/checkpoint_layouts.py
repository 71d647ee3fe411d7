"""The layouts of published checkpoints: names of their tensors, order of classes, and conventions of the code base."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

COCO_91 = tuple(MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories'])
"""Class names by COCO category id. Index 0 is the background; ids that COCO does not use are called N/A."""

COCO_80 = tuple(name for name in COCO_91[1:] if name != 'N/A')
"""The 80 classes that COCO uses, as mmdetection orders them."""

YOUTUBE_VIS = {
    '2019': (
        'person', 'giant_panda', 'lizard', 'parrot', 'skateboard', 'sedan', 'ape', 'dog', 'snake', 'monkey',
        'hand', 'rabbit', 'duck', 'cat', 'cow', 'fish', 'train', 'horse', 'turtle', 'bear',
        'motorbike', 'giraffe', 'leopard', 'fox', 'deer', 'owl', 'surfboard', 'airplane', 'truck', 'zebra',
        'tiger', 'elephant', 'snowboard', 'boat', 'shark', 'mouse', 'frog', 'eagle', 'earless_seal', 'tennis_racket',
    ),
    '2021': (
        'airplane', 'bear', 'bird', 'boat', 'car', 'cat', 'cow', 'deer', 'dog', 'duck',
        'earless_seal', 'elephant', 'fish', 'flying_disc', 'fox', 'frog', 'giant_panda', 'giraffe', 'horse', 'leopard',
        'lizard', 'monkey', 'motorbike', 'mouse', 'parrot', 'person', 'rabbit', 'shark', 'skateboard', 'snake',
        'snowboard', 'squirrel', 'surfboard', 'tennis_racket', 'tiger', 'train', 'truck', 'turtle', 'whale', 'zebra',
    ),
}  # fmt: skip
"""Edition of YouTube-VIS -> its class names."""

BACKBONES = {
    (False, 2, (64, 64)): 'resnet18',
    (True, 6, (64, 64)): 'resnet50',
    (True, 23, (64, 64)): 'resnet101',
    (True, 23, (256, 4)): 'resnext101_64x4d',
}
"""(has bottleneck blocks, number of blocks in layer3, first two sides of layer1.0.conv2) -> `ModelConfig.backbone`."""

UNNEEDED_TENSORS = re.compile(r'num_batches_tracked$|^backbone\.body\.fc\.')
"""Names of tensors that inference does not need."""

_MMDET_NAMES = (
    (r'^detector\.', ''),
    (r'^backbone\.', 'backbone.body.'),
    (r'^neck\.lateral_convs\.(\d)\.conv\.', r'backbone.fpn.inner_blocks.\1.0.'),
    (r'^neck\.fpn_convs\.(\d)\.conv\.', r'backbone.fpn.layer_blocks.\1.0.'),
    (r'^rpn_head\.rpn_conv\.', 'rpn.head.conv.0.0.'),
    (r'^rpn_head\.rpn_cls\.', 'rpn.head.cls_logits.'),
    (r'^rpn_head\.rpn_reg\.', 'rpn.head.bbox_pred.'),
    (r'^(roi_head\.)?bbox_head\.shared_fcs\.0\.', 'roi_heads.box_head.fc6.'),
    (r'^(roi_head\.)?bbox_head\.shared_fcs\.1\.', 'roi_heads.box_head.fc7.'),
    (r'^(roi_head\.)?bbox_head\.fc_cls\.', 'roi_heads.box_predictor.cls_score.'),
    (r'^(roi_head\.)?bbox_head\.fc_reg\.', 'roi_heads.box_predictor.bbox_pred.'),
    (r'^(roi_head\.)?mask_head\.convs\.(\d)\.conv\.', r'roi_heads.mask_head.\2.0.'),
    (r'^(roi_head\.)?mask_head\.upsample\.', 'roi_heads.mask_predictor.conv5_mask.'),
    (r'^(roi_head\.)?mask_head\.conv_logits\.', 'roi_heads.mask_predictor.mask_fcn_logits.'),
    (r'^track_head\.(embed_head\.)?fcs\.(\d)\.', r'track_head.fcs.\2.'),
)

_TORCHVISION_NAMES = (  # the published file has the parameter names of torchvision before 0.13
    (r'^backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(weight|bias)$', r'backbone.fpn.\1_blocks.\2.0.\3'),
    (r'^rpn\.head\.conv\.(weight|bias)$', r'rpn.head.conv.0.0.\1'),
    (r'^roi_heads\.mask_head\.mask_fcn(\d)\.', lambda match: f'roi_heads.mask_head.{int(match[1]) - 1}.0.'),
)


@dataclass(frozen=True)
class CheckpointLayout:
    """What all checkpoints of one code base have in common.

    Attributes:
        names: (pattern, replacement) pairs, applied in turn to each parameter name. They result in torchvision's names
            and `track_head.*`.
        background_last: the background is the last class, and has neither box deltas nor a mask. Otherwise it is the
            first class.
        conventions: fields of ModelConfig for all checkpoints.
        tracking: further fields of ModelConfig for checkpoints with a track head.
        plain: further fields of ModelConfig for checkpoints without a track head.
        edition: of YouTube-VIS, if it is not in the file name.
    """

    names: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    background_last: bool
    conventions: dict[str, Any]
    tracking: dict[str, Any]
    plain: dict[str, Any]
    edition: str = ''


_YOUTUBE_VIS_INPUT = {'input_height': 360, 'input_width': 640, 'proposals_before_nms': 200, 'proposals': 200}
_COCO_INPUT = {'input_height': 800, 'input_width': 1333, 'proposals_before_nms': 1000, 'proposals': 1000}

LAYOUTS = {
    'torchvision': CheckpointLayout(
        names=_TORCHVISION_NAMES,
        background_last=False,
        conventions={
            'resize': 'float',
            'anchors_rounded': True,
            'anchor_strides_from_grid': True,
            'proposal_min_size': 1e-3,
            'roi_align_aligned': False,
            'roi_align_samples': 2,
            'delta_clip_both': False,
            'nms_in_source_pixels': False,
            'detection_min_size': 1e-2,
            'mask_paste': 'torchvision',
        },
        tracking={},
        plain=_COCO_INPUT,
    ),
    'mmdet': CheckpointLayout(
        names=_MMDET_NAMES,
        background_last=True,
        conventions={'embedding_last_relu': True},
        tracking={**_YOUTUBE_VIS_INPUT, 'score_threshold': 0.01},
        plain=_COCO_INPUT,
    ),
    'official': CheckpointLayout(
        names=_MMDET_NAMES,
        background_last=False,
        conventions={
            'legacy_boxes': True,
            'anchors_rounded': True,
            'roi_align_aligned': False,
            'roi_align_samples': 2,
            'mask_paste': 'mmcv',
        },
        tracking={**_YOUTUBE_VIS_INPUT, 'max_detections': 10},
        plain=_COCO_INPUT,
        edition='2019',
    ),
}
"""'mmdet': mmdetection 2 and 3, and mmtracking. 'official': youtubevos/MaskTrackRCNN, and mmdetection 0.x and 1.x."""
