"""MaskRnn: mask propagation along the optical flow, with two streams (Hu, Huang and Schwing, NIPS 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg16
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import FeaturePyramidNetwork

from vis_ros.propagation.blocks.box_crops import enlarge_boxes
from vis_ros.propagation.blocks.frame_encoder import FrameEncoder, widen_stem
from vis_ros.propagation.maskrnn.config import MaskRnnConfig
from vis_ros.propagation.maskrnn.roi_max_pool import roi_max_pool

_POOL = 7
_LOCALIZATION_CHANNELS = 256
_GATE = 1.2
"""Ratio of the sides of the gate and of the refined box."""
_VGG_SIDES = (9, 16, 23, 30)
"""Indices of the layers of VGG-16 after conv2_2, conv3_3, conv4_3 and conv5_3 with their ReLUs."""
_VGG_STRIDES, _VGG_CHANNELS = (2, 4, 8, 16), (128, 256, 512, 512)
_STRIDES = (4, 8, 16, 32)
_MOTION_CHANNELS = (24, 32, 48, 64)
_BOXES = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""Box deltas as in Fast R-CNN."""


@dataclass(frozen=True)
class MaskRnnOutput:
    """The outputs for B objects.

    logits: (B, 1, H, W), the mean of both streams.
    streams: logits (B, 1, H, W) of the appearance stream and of the flow stream.
    sides: for each stream, the score (B, 1, h, w) of each side output.
    deltas: (B, 4), the refined boxes relative to the given boxes.
    """

    logits: Tensor
    streams: list[Tensor]
    sides: list[list[Tensor]]
    deltas: Tensor


class MaskRnn(nn.Module):
    """Segments one object in a frame, given its previous mask warped by the optical flow. Stateless.

    The appearance stream takes the image and the warped mask. The flow stream takes the warped mask and the magnitudes
    of the flow to the previous and, unless `config.causal`, to the next frame (section 3.2). Their logits are averaged.
    The localization network refines the box of the warped mask; Everything outside the refined box
    is then removed, see `gate_boxes`.

    The published network has VGG-16 in both streams. The light one has a light backbone with a feature pyramid, for
    precise edges, in the appearance stream, and a small network in the flow stream, whose input is simple.
    """

    def __init__(self, config: MaskRnnConfig) -> None:
        super().__init__()
        self.config = config
        motions = 2 if config.causal else 3
        if config.backbone == 'vgg16':
            self.appearance = StreamNetwork(VggSides(4), config.side_channels)
            self.motion = StreamNetwork(VggSides(motions), config.side_channels)
        else:
            self.appearance = StreamNetwork(PyramidSides(config), config.side_channels)
            self.motion = StreamNetwork(MotionSides(motions), config.side_channels)
        self.localization = Localization(self.appearance.body.deep_channels, self.appearance.body.deep_stride)
        self.to(memory_format=torch.channels_last)  # faster by a fifth on a CPU

    def forward(self, images: Tensor, warped: Tensor, magnitudes: Tensor, boxes: Tensor) -> MaskRnnOutput:
        """Segment B objects.

        Args:
            images: (B, 3, H, W), normalized RGB; H and W are multiples of 32.
            warped: (B, 1, H, W), the probabilities of the previous frame, warped.
            magnitudes: (B, 1 or 2, H, W), `scaled_magnitude` of the flow to the previous and to the next frame.
            boxes: (B, 4) x0 y0 x1 y1 of the warped masks in pixels.
        """
        centerd = warped * 2 - 1
        appearance, sides, deep = self.appearance(_channels_last(images, centerd))
        motion, motion_sides, _ = self.motion(_channels_last(magnitudes, centerd))
        deltas = self.localization(deep, boxes)
        return MaskRnnOutput((appearance + motion) / 2, [appearance, motion], [sides, motion_sides], deltas)


def _channels_last(*planes: Tensor) -> Tensor:
    return torch.cat(planes, 1).contiguous(memory_format=torch.channels_last)


def scaled_magnitude(flow: Tensor) -> Tensor:
    """(B, 1, H, W): log(1 + length) of flow vectors (B, 2, H, W) in pixels. The logarithm keeps slow motion visible.

    The published network uses the length itself.
    """
    return flow.square().sum(1, keepdim=True).sqrt().log1p()


def refine(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (B, 4) refined by the deltas (B, 4) of the localization network."""
    return _BOXES.decode_single(deltas, boxes)


def box_deltas(boxes: Tensor, truth: Tensor) -> Tensor:
    """The deltas (B, 4) that refine boxes (B, 4) to the ground truth boxes (B, 4)."""
    return _BOXES.encode_single(truth, boxes)


def gate_boxes(boxes: Tensor) -> Tensor:
    """The gates (B, 4) of refined boxes (B, 4): a fifth larger. Pixels with their centers outside do not count."""
    return enlarge_boxes(boxes, _GATE)


class StreamNetwork(nn.Module):
    """A network with side outputs, whose weighted sum is one logit map (as in OSVOS, Caelles et al. 2017).

    Side outputs are enlarged after the weighting, not before: both are linear, so the result is the same, but cheaper.
    """

    def __init__(self, body: VggSides | PyramidSides | MotionSides, side_channels: int) -> None:
        super().__init__()
        self.body = body
        self.sides = nn.ModuleList(nn.Conv2d(channels, side_channels, 3, padding=1) for channels in body.channels)
        self.scores = nn.ModuleList(nn.Conv2d(side_channels, 1, 1) for _ in body.channels)
        self.weights = nn.ModuleList(nn.Conv2d(side_channels, 1, 1, bias=False) for _ in body.channels)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, planes: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Logits (B, 1, H, W), the score (B, 1, h, w) of each side output, and the deep features of the body."""
        features, deep = self.body(planes)
        sides = [side(feature) for side, feature in zip(self.sides, features, strict=True)]
        parts = [weight(side) for weight, side in zip(self.weights, sides, strict=True)]
        logits = sum(enlarge(part, planes.shape[2:]) for part in parts) + self.bias
        assert isinstance(logits, Tensor)
        return logits, [score(side) for score, side in zip(self.scores, sides, strict=True)], deep


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps at full resolution. Away from the border this equals the fixed bilinear deconvolutions of the paper."""
    return functional.interpolate(maps, list(size), mode='bilinear')


class VggSides(nn.Module):
    """VGG-16 without pool5 and fully connected layers. planes: input planes of the first convolution."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        features = vgg16(weights=None).features
        if planes > 3:
            widen_stem(features, planes - 3)
        elif planes < 3:
            features[0] = nn.Conv2d(planes, 64, 3, padding=1)
        ends = (0, *_VGG_SIDES)
        self.parts = nn.ModuleList(features[begin:end] for begin, end in pairwise(ends))
        self.channels = _VGG_CHANNELS
        self.deep_channels, self.deep_stride = _VGG_CHANNELS[-1], _VGG_STRIDES[-1]

    def forward(self, planes: Tensor) -> tuple[list[Tensor], Tensor]:
        features = []
        for part in self.parts:
            planes = part(planes)
            features.append(planes)
        return features, planes


class PyramidSides(nn.Module):
    """A light backbone with a feature pyramid. They match the packaged detector, so its weights can be loaded."""

    def __init__(self, config: MaskRnnConfig) -> None:
        super().__init__()
        channels = config.pyramid_channels
        self.encoder = FrameEncoder(config, extra=1)
        self.fpn = FeaturePyramidNetwork(self.encoder.channels, channels, norm_layer=_group_norm)
        self.channels = (channels,) * len(_STRIDES)
        self.deep_channels, self.deep_stride = channels, _STRIDES[2]

    def forward(self, planes: Tensor) -> tuple[list[Tensor], Tensor]:
        levels = self.fpn({str(i): level for i, level in enumerate(self.encoder(planes))})
        features = [functional.relu(level) for level in levels.values()]
        return features, features[2]


class MotionSides(nn.Module):
    """A small network from input planes to features at strides 4, 8, 16 and 32."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        stem, *_ = _MOTION_CHANNELS
        self.stem = _half(planes, stem)
        widths = (stem, *_MOTION_CHANNELS)
        self.parts = nn.ModuleList(_half(before, after) for before, after in pairwise(widths))
        self.channels = _MOTION_CHANNELS
        self.deep_channels, self.deep_stride = _MOTION_CHANNELS[-1], _STRIDES[-1]

    def forward(self, planes: Tensor) -> tuple[list[Tensor], Tensor]:
        planes = self.stem(planes)
        features = []
        for part in self.parts:
            planes = part(planes)
            features.append(planes)
        return features, planes


def _half(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
        nn.GroupNorm(outputs // 8, outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(outputs // 8, outputs),
        nn.ReLU(),
    )


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 8, channels)


class Localization(nn.Module):
    """RoI pooling and two fully connected layers, from boxes to the deltas that refine them."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.fc1 = nn.Linear(channels * _POOL * _POOL, _LOCALIZATION_CHANNELS)
        self.fc2 = nn.Linear(_LOCALIZATION_CHANNELS, _LOCALIZATION_CHANNELS)
        self.deltas = nn.Linear(_LOCALIZATION_CHANNELS, 4)
        nn.init.zeros_(self.deltas.weight)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        pooled = roi_max_pool(features, boxes.to(features), _POOL, self.stride)
        hidden = functional.relu(self.fc1(pooled.flatten(1)))
        return self.deltas(functional.relu(self.fc2(hidden)))
