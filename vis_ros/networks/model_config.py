"""ModelConfig: what a detector is made of, and the numerics that its checkpoint was trained with. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

COCO_SUPERCATEGORIES = (
    'person', 'vehicle', 'outdoor', 'animal', 'accessory', 'sports',
    'kitchen', 'food', 'furniture', 'electronic', 'appliance', 'indoor',
)  # fmt: skip

ARCHITECTURES = ('mask_rcnn', 'masktrack_rcnn')

_CHOICES = {
    'architecture': ARCHITECTURES,
    'resize': ('uint8', 'float'),
    'fpn_norm': ('none', 'group'),
    'mask_paste': ('grid_sample', 'torchvision', 'mmcv'),
}


@dataclass(frozen=True)
class ModelConfig:
    """One detector. Written into the metadata of its .safetensors file, so that a file describes itself.

    Checkpoints of different origin need different numerics (torchvision, mmdet 2 and 3, mmdet 0.x); each
    such difference is a field here, set by the checkpoint loader, and never an `if` on the origin.
    """

    name: str
    class_names: tuple[str, ...]
    architecture: str = 'masktrack_rcnn'

    # input
    input_height: int = 360
    """The resized image is at most this high (its shorter side, where the rule says 'short side')..."""
    input_width: int = 640
    """... and this wide; the aspect ratio is kept."""
    resize: Literal['uint8', 'float'] = 'uint8'
    """'uint8': OpenCV bilinear on bytes, int(side * scale + 0.5) (mmdet); 'float': bilinear on the normalised image,
    floor(side * scale) (torchvision)."""
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """RGB, in grey levels of 0 to 255."""

    # (a) ConvNet
    backbone: str = 'resnet50'
    """'resnet18', 'resnet50', 'resnet101', 'resnext101_64x4d' of torchvision, or the name of any timm network."""
    batch_norm_eps: float = 1e-5
    batch_norm_folded: bool = False
    """A timm backbone without batch norm: it is folded into the convolutions before training, which is faster."""
    fpn_channels: int = 256
    fpn_norm: Literal['none', 'group'] = 'none'
    """'none' or 'group' (GroupNorm of 8 channels a group)."""

    # (b) region proposal network
    anchor_scale: float = 8.0
    """Anchor side in units of the level's stride: 8 gives 32 to 512 pixels on P2 to P6."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width."""
    anchors_rounded: bool = False
    """Base anchors rounded to whole pixels (torchvision, mmdet 0.x)."""
    anchor_strides_from_grid: bool = False
    """Stride = padded input // grid (torchvision) and not 4, 8, 16, 32, 64: differs on P6 unless a side is k * 64."""
    rpn_layers: int = 1
    proposals_before_nms: int = 200
    """Per pyramid level."""
    proposals: int = 200
    proposal_nms_threshold: float = 0.7
    proposal_min_size: float = 0.0

    # (c) RoIAlign
    roi_align_aligned: bool = True
    """Half-pixel correction."""
    roi_align_samples: int = 0
    """Samples along each side of a bin; 0 adapts to the size of the bin."""

    # (d) heads
    box_head_channels: int = 1024
    box_class_agnostic: bool = False
    """One box regression and one mask for all classes."""
    mask_class_agnostic: bool = False
    mask_layers: int = 4
    mask_channels: int = 256
    delta_clip_both: bool = True
    """Clip dw, dh from below too (mmdet); torchvision clips only from above."""
    legacy_boxes: bool = False
    """Inclusive boxes (x1 is the last pixel), as in mmdet 0.x: +1 in widths, RoIs and IoU, clipped to side - 1."""

    # fourth branch
    embedding_size: int = 1024
    embedding_last_relu: bool = False
    """ReLU after the second layer too (mmtracking, mmdet); the official code has none."""

    # detections
    score_threshold: float = 0.05
    class_agnostic_scores: bool = False
    """Score = 1 - p(background), one class (the likeliest) a box, NMS across classes."""
    nms_threshold: float = 0.5
    nms_in_source_pixels: bool = True
    max_detections: int = 100
    detection_min_size: float = 0.0
    mask_paste: Literal['grid_sample', 'torchvision', 'mmcv'] = 'grid_sample'
    """A rule of `vis_ros.masks.paste.paste`."""
    mask_threshold: float = 0.5
    mask_scores: bool = False
    """Score = geometric mean of that of the class and the certainty of the mask (`engines.postprocessing.certainty`).
    Suppression, `max_detections` and identities go by the class alone; `score_threshold` holds for both scores."""
    embedding_scale: float = 20.0
    """Only without a track head: dot products of two embeddings are this times the cosine of the box-head features.
    A cosine of 0.8 against one of 0.5 is then e^6 in eq. 2."""

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f'{field} {getattr(self, field)!r} is not one of {", ".join(choices)}')
        if not self.class_names:
            raise ValueError('class_names is empty: a detector needs at least one class')

    @property
    def num_classes(self) -> int:
        """Classes with the background, which is index 0 in every head."""
        return len(self.class_names) + 1

    def with_fields(self, **values: Any) -> ModelConfig:
        """The same model with some fields replaced."""
        return replace(self, **values)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Raises ValueError naming the fields that this version does not know."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f'unknown model fields {", ".join(unknown)}: the file is of a newer vis_ros, or not ours')
        converted: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**converted)


DEMO = ModelConfig(
    name='demo',
    class_names=(*COCO_SUPERCATEGORIES, 'shape'),
    input_height=288,
    input_width=512,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
    backbone='tf_efficientnet_lite0',
    batch_norm_folded=True,
    fpn_channels=80,
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
"""The packaged model: small enough for a CPU, 12 COCO supercategories and the shapes of the demo scene."""
