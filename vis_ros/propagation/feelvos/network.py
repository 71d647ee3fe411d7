"""Feelvos: mask propagation by matching pixel embeddings (Voigtlaender et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork

from vis_ros.propagation.blocks.frame_encoder import FrameEncoder
from vis_ros.propagation.feelvos.config import STRIDES, FeelvosConfig
from vis_ros.propagation.feelvos.deeplab import DeepLabEncoder
from vis_ros.propagation.feelvos.matching import global_matching, local_matching

STRIDE = 4
"""Stride in pixels of features, previous masks and logits."""
_GROUP = 8
_HEAD_LAYERS, _HEAD_KERNEL, _MAPS = 4, 7, 3
_NOISE = 0.01
_NEARNESS = (-4.0, 2.0, -4.0)
"""Initial weights of the global map, the previous mask and the local map in the logit."""


class Feelvos(nn.Module):
    """Segments all objects of a frame, given the reference frame and the previous frame. Stateless.

    Each frame is encoded once (`encode`). For each object, the background first, the distances to its pixels in the
    reference frame (`global_maps`) and to its nearby pixels in the previous frame (`local_maps`) go, together with its
    previous mask, through the dynamic segmentation head (`segment`), whose weights all objects share (figures 2 and 3).

    Embeddings have the stride config.matching_stride; features, previous masks and logits have stride 4. H and W are
    multiples of 32.
    """

    def __init__(self, config: FeelvosConfig) -> None:
        super().__init__()
        if config.matching_stride not in STRIDES:
            raise ValueError(f'matching_stride {config.matching_stride} is not one of {", ".join(map(str, STRIDES))}')
        self.config = config
        channels = config.feature_channels
        if config.backbone == 'xception65':
            self.backbone: nn.Module = DeepLabEncoder(config.backbone, channels)
        else:
            self.backbone = PyramidEncoder(config)
        self.embedding = Embedding(channels, config.embedding_size, config.embedding_diagonal)
        self.head = DynamicHead(channels, config.head_channels)
        self.to(memory_format=torch.channels_last)  # faster by a quarter on a CPU

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, H / 4, W / 4) and embeddings (B, E, h, w) of images (B, 3, H, W), normalized RGB."""
        features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        ratio = self.config.matching_stride // STRIDE
        return features, self.embedding(functional.avg_pool2d(features, ratio) if ratio > 1 else features)

    def cells(self, masks: Tensor) -> Tensor:
        """Masks (..., H, W) at the stride of the embeddings, sampled at the center of each cell."""
        return _subsample(masks, self.config.matching_stride)

    def global_maps(self, embedding: Tensor, references: Sequence[Tensor]) -> Tensor:
        """Distances (K, h, w) of the embeddings (E, h, w) of a frame to those of K objects, each (N, E)."""
        return global_matching(embedding, references)

    def local_maps(self, embedding: Tensor, previous: Tensor, masks: Tensor) -> Tensor:
        """Distances (K, h, w) of embeddings (E, h, w) to those of the previous frame under masks (K, H, W)."""
        return local_matching(embedding, previous, self.cells(masks), self.config.local_window)

    def segment(self, features: Tensor, global_maps: Tensor, local_maps: Tensor, masks: Tensor) -> Tensor:
        """Logits (K, H / 4, W / 4) of the objects; their softmax is the probabilities (section 3.5).

        Args:
            features: (C, H / 4, W / 4) of the frame.
            global_maps: distances (K, h, w).
            local_maps: distances (K, h, w).
            masks: (K, H, W) bool, in the previous frame.
        """
        previous = _subsample(masks, STRIDE).to(features)
        return self.head(features, object_maps(global_maps, local_maps, previous).to(features))


def object_maps(global_maps: Tensor, local_maps: Tensor, previous: Tensor) -> Tensor:
    """What the head takes of K objects, (K, 3, H / 4, W / 4): global distances, previous mask, local distances.

    Args:
        global_maps: (K, h, w), enlarged to stride 4.
        local_maps: (K, h, w), enlarged to stride 4.
        previous: masks (K, H / 4, W / 4), 0 or 1.
    """
    distances = torch.stack((global_maps, local_maps), 1)
    distances = functional.interpolate(distances, previous.shape[1:], mode='bilinear').to(previous)
    return torch.cat((distances[:, :1], previous[:, None], distances[:, 1:]), 1)


def enlarge(logits: Tensor) -> Tensor:
    """Logits (K, H / 4, W / 4) enlarged to full resolution, (K, H, W)."""
    return functional.interpolate(logits[None].float(), scale_factor=float(STRIDE), mode='bilinear')[0]


class PyramidEncoder(nn.Module):
    """A light encoder: features at stride 4 that are the mean of all enlarged levels of a feature pyramid.

    Like those of DeepLabv3+, they have a large receptive field. Backbone and pyramid have the structure of the packaged
    detector, so its weights can be loaded.
    """

    def __init__(self, config: FeelvosConfig) -> None:
        super().__init__()
        self.encoder = FrameEncoder(config)
        self.fpn = FeaturePyramidNetwork(self.encoder.channels, config.feature_channels, norm_layer=_group_norm)

    def forward(self, images: Tensor) -> Tensor:
        levels = self.fpn({str(i): level for i, level in enumerate(self.encoder(images))})
        finest, *others = levels.values()
        large = [functional.interpolate(other, finest.shape[2:], mode='bilinear') for other in others]
        return functional.relu((finest + sum(large)) / len(levels))


class Embedding(nn.Module):
    """Features to non-negative embeddings of the same size: depthwise 3x3, ReLU, pointwise, ReLU.

    Initialized close to the identity times `diagonal`.
    """

    def __init__(self, inputs: int, outputs: int, diagonal: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        for conv in (self.depthwise, self.pointwise):
            nn.init.normal_(conv.weight, std=0.03 * diagonal)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.depthwise.weight[:, 0, 1, 1] += 1
            self.pointwise.weight[:, :, 0, 0] += torch.eye(outputs, inputs) * diagonal

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.pointwise(functional.relu(self.depthwise(features))))


class DynamicHead(nn.Module):
    """Four layers of depthwise 7x7 and pointwise convolution, each followed by a ReLU, and a logit.

    The initialization is not published: the first channels pass the distance maps and the previous mask on to the
    logit, so that training starts from plain matching and learns to correct it.
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        inputs = [features + _MAPS] + [channels] * (_HEAD_LAYERS - 1)
        self.depthwise = nn.ModuleList(
            nn.Conv2d(width, width, _HEAD_KERNEL, padding=_HEAD_KERNEL // 2, groups=width) for width in inputs
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in inputs)
        self.logit = nn.Conv2d(channels, 1, 1)
        for name, parameter in self.named_parameters():
            if name.endswith('bias'):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity='relu')
        self._pass_maps()

    @torch.no_grad()
    def _pass_maps(self) -> None:
        middle = _HEAD_KERNEL // 2
        depthwise: Any
        pointwise: Any
        for number, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True)):
            taken = slice(-_MAPS, None) if number == 0 else slice(_MAPS)
            nn.init.normal_(depthwise.weight[taken], std=_NOISE)
            depthwise.weight[taken, 0, middle, middle] += 1
            nn.init.normal_(pointwise.weight[:_MAPS], std=_NOISE)
            pointwise.weight[:_MAPS, taken, 0, 0] += torch.eye(_MAPS)
        nn.init.normal_(self.logit.weight, std=_NOISE)
        self.logit.weight[0, :_MAPS, 0, 0] = torch.tensor(_NEARNESS)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """Logits (K, h, w) of K objects from shared features (C, h, w) and the maps (K, 3, h, w) of each object.

        Objects are processed one by one, so that activations stay in the cache of a CPU.
        """
        shared = self.shared(features[None])
        return torch.cat([self.logits(shared, own)[:, 0] for own in maps.split(1)])

    def shared(self, features: Tensor) -> Tensor:
        """What features (1, C, h, w) contribute to the first layer of every object: (1, channels, h, w)."""
        return self._first_layer(features, slice(-_MAPS), None)

    def logits(self, shared: Tensor, maps: Tensor) -> Tensor:
        """Logits (1, 1, h, w) of one object from the result of `shared` and its maps (1, 3, h, w)."""
        x = _relu(shared + self._first_layer(maps, slice(-_MAPS, None), self.pointwise[0].bias))
        for depthwise, pointwise in zip(self.depthwise[1:], self.pointwise[1:], strict=True):
            x = _relu(pointwise(_relu(depthwise(x))))
        return self.logit(x)

    def _first_layer(self, planes: Tensor, part: slice, bias: Any) -> Tensor:
        """The contribution of some input planes to the first layer, before its second ReLU."""
        depthwise: Any = self.depthwise[0]
        pointwise: Any = self.pointwise[0]
        weight = depthwise.weight[part]
        padding = _HEAD_KERNEL // 2
        mixed = functional.conv2d(planes, weight, depthwise.bias[part], padding=padding, groups=len(weight))
        return functional.conv2d(_relu(mixed), pointwise.weight[:, part], bias)


def _relu(x: Tensor) -> Tensor:
    """ReLU in place; the outputs of the convolutions are not used elsewhere."""
    return functional.relu(x, inplace=True)


def _subsample(masks: Tensor, stride: int) -> Tensor:
    return masks[..., stride // 2 :: stride, stride // 2 :: stride]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP, channels)
