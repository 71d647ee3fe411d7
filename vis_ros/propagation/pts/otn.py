"""OTN, the object tracking network of PTS: MDNet (Nam and Han, CVPR 2016), whose last layers are trained online."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vis_ros.propagation.blocks.box_crops import crop_regions, enlarge_boxes
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.sampled_roi_align import sampled_roi_align

OTN_FEATURES = ('backbone', 'vgg_m')
STRIDES = (8, 16)
"""Of the feature maps that boxes take their features from."""

_CROP, _PADDING = 107, 16
"""Side of a crop, and the context around the box on each side of it, in pixels."""
_CELLS = 3
_EPSILON = 1e-5


class Otn(nn.Module):
    """Features of boxes, and fully connected layers that separate one object from everything else. Stateless.

    'vgg_m' is the published form: three convolutions on a crop of 107 x 107 pixels of each box. 'backbone' takes the
    features by RoIAlign from feature maps of the whole frame, whose cost does not depend on the number of boxes and
    objects. Both give 3 x 3 cells for a box with a context of 16 / 107 of its sides.

    The weights are the initial weights of every `ObjectTracker`; nothing is trained in advance.

    Args:
        config: of the network.
        channels: of the feature maps for 'backbone'.

    Raises:
        ValueError: config.otn_features is unknown.
    """

    def __init__(self, config: PtsConfig, channels: Sequence[int]) -> None:
        super().__init__()
        if config.otn_features not in OTN_FEATURES:
            raise ValueError(f'otn_features {config.otn_features!r} is not one of {", ".join(OTN_FEATURES)}')
        self.convolutions = vgg_m_convolutions() if config.otn_features == 'vgg_m' else None
        cell = 512 if self.convolutions else sum(channels)
        self.classifier = OtnClassifier(cell * _CELLS**2, config.otn_channels)
        self.requires_grad_(False)

    def box_features(self, frame: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Features (P, 9 * C) of boxes (P, 4) in pixels of the frame.

        Args:
            frame: for 'vgg_m' the normalized image (1, 3, h, w), for 'backbone' its feature maps (1, C, h / s, w / s)
                at STRIDES, see `normalized_map`.
            boxes: the boxes.
        """
        regions = enlarge_boxes(boxes, 1 + 2 * _PADDING / _CROP)
        if self.convolutions is not None:
            return self.convolutions(crop_regions(frame[0], regions, _CROP)).flatten(1)
        each = zip(frame, STRIDES, strict=True)
        return torch.cat([sampled_roi_align(plane, regions, _CELLS, stride) for plane, stride in each], 1).flatten(1)


class OtnClassifier(nn.Module):
    """The initial weights of fc4, fc5 and fc6: features (P, F) to logits (P, 2) of background and object.

    `OnlineClassifier` computes with them.
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.fc4 = nn.Linear(features, channels)
        self.fc5 = nn.Linear(channels, channels)
        self.fc6 = nn.Linear(channels, 2)


def vgg_m_convolutions() -> nn.Sequential:
    """VGG-M (Chatfield et al. 2014) up to conv3: crops (P, 3, 107, 107) to features (P, 512, 3, 3)."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(96, 256, 5, stride=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(256, 512, 3),
        nn.ReLU(),
    )


def normalized_map(features: Tensor) -> Tensor:
    """Feature maps (1, C, h, w) with mean 0 and variance 1 in each cell, so that all maps have equal weight."""
    centered = features - features.mean(1, keepdim=True)
    return centered * (centered.square().mean(1, keepdim=True) + _EPSILON).rsqrt()
