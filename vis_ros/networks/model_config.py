"""ModelConfig: the structure of a detector and the conventions that its weights were trained with. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from vis_ros.field_types import json_object, typed_fields

_DEMO_CLASSES = (
    'person', 'bicycle', 'car', 'motorcycle', 'bus', 'truck', 'train', 'airplane', 'boat', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'deer', 'zebra', 'giraffe', 'chair', 'couch', 'table',
    'potted plant', 'tv', 'laptop', 'book', 'bottle', 'cup', 'bowl', 'bag', 'umbrella', 'ball', 'traffic light',
    'fire hydrant', 'stop sign', 'parking meter', 'bench', 'tie', 'frisbee', 'skis', 'snowboard', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'fork', 'knife', 'spoon', 'banana',
    'apple', 'sandwich', 'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'bed', 'toilet',
    'mouse', 'remote', 'keyboard', 'cell phone', 'microwave', 'oven', 'sink', 'refrigerator', 'clock',
    'vase', 'scissors', 'teddy bear', 'toothbrush', 'object', 'shape',
)  # fmt: skip

ARCHITECTURES = ('mask_rcnn', 'masktrack_rcnn')

_CHOICES = {
    'architecture': ARCHITECTURES,
    'resize': ('uint8', 'float'),
    'fpn_norm': ('none', 'group'),
    'mask_paste': ('grid_sample', 'torchvision', 'mmcv'),
}


_MAY_BE_ZERO = (
    'mean', 'batch_norm_eps', 'proposal_min_size', 'roi_align_samples', 'score_threshold', 'nms_threshold',
    'proposal_nms_threshold', 'max_detections', 'detection_min_size', 'mask_threshold', 'mask_layers', 'rpn_layers',
    'embedding_scale',
)  # fmt: skip
"""Numbers that may be 0; all others are above 0."""

_LARGEST = {
    **dict.fromkeys(('mask_layers', 'rpn_layers', 'roi_align_samples'), 100),
    **dict.fromkeys(('fpn_channels', 'box_head_channels', 'mask_channels', 'embedding_size'), 1 << 11),
}
_MOST_CLASSES = 10_000
_LARGEST_WHOLE = 1 << 16
"""Largest value of whole numbers that are not in _LARGEST: with more, a small file would take hours or all memory."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class ModelConfig:
    """The description of one detector. It is stored in the metadata of its .safetensors file.

    torchvision, mmdetection 2 and 3, and mmdetection 0.x differ in details such as rounding, box coordinates and the
    pasting of masks. Each difference is a field here, set by `vis_ros.networks.checkpoints`, so that the network needs
    no knowledge of where a checkpoint comes from.
    """

    name: str
    class_names: tuple[str, ...]
    architecture: str = 'masktrack_rcnn'

    # input
    input_height: int = 360
    """Maximum height of the resized image; the aspect ratio is kept. For a portrait image it limits the width."""
    input_width: int = 640
    """Maximum width of the resized image. For a portrait image it limits the height."""
    resize: Literal['uint8', 'float'] = 'uint8'
    """'uint8': bilinear with OpenCV on uint8, sides int(side * scale + 0.5) (mmdetection). 'float': bilinear on float,
    sides floor(side * scale) (torchvision)."""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """Mean and standard deviation of R, G, B for normalization, in 0 to 255."""

    # ConvNet and feature pyramid
    backbone: str = 'resnet50'
    """'resnet18', 'resnet50', 'resnet101', 'resnext101_64x4d' of torchvision, 'nanodet_plus_m'
    (`vis_ros.networks.shuffle_pyramid`, with a pyramid of its own), or the name of a timm network."""
    batch_norm_eps: float = 1e-5
    batch_norm_folded: bool = False
    """A timm backbone without batch norm, which was folded into the convolutions before training. It runs faster."""
    fpn_channels: int = 256
    fpn_norm: Literal['none', 'group'] = 'none'
    """Normalization after each convolution of the pyramid: 'none', or 'group' (GroupNorm with 8 channels per group)."""

    # region proposal network
    anchor_scale: float = 8.0
    """Side of an anchor in units of the stride of its level: 8 gives 32 to 512 pixels on P2 to P6."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Aspect ratios of the anchors: height divided by width."""
    anchors_rounded: bool = False
    """Round the corners of anchors to whole pixels (torchvision, mmdetection 0.x)."""
    anchor_strides_from_grid: bool = False
    """Stride of the anchors: padded input side // grid side (torchvision), instead of 4, 8, 16, 32, 64. This differs on
    P6 unless the side is a multiple of 64."""
    rpn_layers: int = 1
    """Number of 3x3 convolutions."""
    proposals_before_nms: int = 200
    """Number of proposals per pyramid level that enter non-maximum suppression."""
    proposals: int = 200
    """Number of proposals per image that enter the box head."""
    proposal_nms_threshold: float = 0.7
    proposal_min_size: float = 0.0
    """Minimum side of a proposal in pixels of the network's input; with 0, sides must be above 0."""

    # RoIAlign
    roi_align_aligned: bool = True
    """Apply the half-pixel correction."""
    roi_align_samples: int = 0
    """Samples along each side of a bin; 0 adapts their number to the size of the bin."""

    # box head and mask head
    box_head_channels: int = 1024
    box_class_agnostic: bool = False
    """Predict one refined box for all classes, instead of one per class."""
    mask_class_agnostic: bool = False
    """Predict one mask for all classes, instead of one per class."""
    mask_layers: int = 4
    mask_channels: int = 256
    delta_clip_both: bool = True
    """Clip the deltas dw and dh from below too (mmdetection). torchvision clips them only from above."""
    legacy_boxes: bool = False
    """Inclusive box corners, where x1 is the last pixel (mmdetection 0.x): widths, RoIs and IoU add 1, and boxes are
    clipped to side - 1."""

    # dense head
    dense_classes: tuple[str, ...] = ()
    """Classes of the outputs of the dense head of NanoDet-Plus (`vis_ros.networks.dense_head`), which helps to name
    objects; several outputs may have one class. Only the backbone 'nanodet_plus_m' can have this head, with
    `class_agnostic_scores` and `box_class_agnostic`."""

    # track head
    embedding_size: int = 1024
    embedding_last_relu: bool = False
    """Apply a ReLU after the second layer too (mmtracking, mmdetection). The official code has none."""

    # detections
    score_threshold: float = 0.05
    class_agnostic_scores: bool = False
    """One detection per box with its most likely class and the score 1 - p(background), and non-maximum suppression
    across classes. Otherwise one detection per box and class."""
    nms_threshold: float = 0.5
    nms_in_source_pixels: bool = True
    """Compute the IoU for non-maximum suppression in pixels of the source image (mmdetection)."""
    max_detections: int = 100
    detection_min_size: float = 0.0
    """Minimum side of a detection in pixels of the network's input; with 0, sides must be above 0."""
    mask_paste: Literal['grid_sample', 'torchvision', 'mmcv'] = 'grid_sample'
    """How a mask is pasted into the image, see `vis_ros.masks.paste.PasteRule`."""
    mask_threshold: float = 0.5
    mask_scores: bool = False
    """Score each detection by the geometric mean of its class score and the certainty of its mask
    (`vis_ros.engines.postprocessing.mask_certainty`). Non-maximum suppression, `max_detections` and association use the
    class score only; `score_threshold` applies to both scores."""
    embedding_scale: float = 20.0
    """Only without a track head: the dot product of two embeddings is this times the cosine similarity of their
    box-head features. With 20, a cosine of 0.8 outweighs one of 0.5 by e^6 in the softmax of association."""

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in typed_fields(ModelConfig, '', given).items():
            object.__setattr__(self, name, value)
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f'{field} {getattr(self, field)!r} is not one of {", ".join(choices)}')
        if not self.class_names:
            raise ValueError('class_names is empty: a detector needs at least one class')
        if len(self.class_names) > _MOST_CLASSES:
            raise ValueError(f'class_names has {len(self.class_names)} names, expected at most {_MOST_CLASSES}')
        for each in fields(self):
            least = 'above 0' if each.name not in _MAY_BE_ZERO else 'at least 0'
            value = getattr(self, each.name)
            numbers = [number for number in (value if isinstance(value, tuple) else [value]) if _is_number(number)]
            if any(number < 0 or (number == 0 and least == 'above 0') for number in numbers):
                raise ValueError(f'{each.name} is {value}, expected {least}')
            most = _LARGEST.get(each.name, _LARGEST_WHOLE)
            if isinstance(value, int) and value > most:
                raise ValueError(f'{each.name} is {value}, expected at most {most}')
        for name in ('score_threshold', 'nms_threshold', 'proposal_nms_threshold', 'mask_threshold'):
            if getattr(self, name) > 1:
                raise ValueError(f'{name} is {getattr(self, name)}, expected at most 1')

    @property
    def has_dense_head(self) -> bool:
        """Whether the network has a dense head: it fits the pyramid and the scores, and knows any of the classes."""
        fits = self.backbone == 'nanodet_plus_m' and self.class_agnostic_scores and self.box_class_agnostic
        return fits and not set(self.dense_classes).isdisjoint(self.class_names)

    @property
    def num_classes(self) -> int:
        """Number of classes including the background, which has index 0 in every head."""
        return len(self.class_names) + 1

    def with_fields(self, **values: Any) -> ModelConfig:
        """A copy with some fields replaced."""
        return replace(self, **values)

    def to_json(self) -> str:
        """The config as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """The config in a JSON text. Raises ValueError if it has fields that this version does not know."""
        return cls.from_dict(json_object(text, 'the model config'))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The config in a dict. Raises ValueError if it has fields that this version does not know."""
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(
                f'unknown model fields {", ".join(unknown)}: the file is from a newer vis_ros, or not from vis_ros'
            )
        if missing := sorted({'name', 'class_names'} - values.keys()):
            raise ValueError(f'the model config has no {" and no ".join(missing)}')
        return cls(**typed_fields(cls, 'model ', values))


DEMO = ModelConfig(
    name='demo',
    class_names=_DEMO_CLASSES,
    input_height=288,
    input_width=512,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    backbone='nanodet_plus_m',
    batch_norm_folded=True,
    fpn_channels=96,
    fpn_norm='group',
    anchor_scale=6.0,
    proposals_before_nms=300,
    proposals=150,
    roi_align_samples=2,
    box_head_channels=512,
    box_class_agnostic=True,
    mask_class_agnostic=True,
    mask_channels=80,
    embedding_size=256,
    score_threshold=0.3,
    class_agnostic_scores=True,
    nms_threshold=0.4,
    max_detections=20,
    mask_scores=True,
)
"""The packaged model without its dense head, small enough for a CPU. Its classes: those of COCO, deer, other objects,
and the shapes of the demo."""
