"""FeelvosConfig: the settings of FEELVOS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from vis_ros.propagation.propagation_config import PropagationConfig

STRIDES = (4, 8, 16, 32)
"""Strides that embeddings can be matched at."""


@dataclass(frozen=True)
class FeelvosConfig(PropagationConfig):
    """FEELVOS (Voigtlaender et al., CVPR 2019)."""

    architecture: ClassVar[str] = 'feelvos'

    embedding_size: int = 100
    embedding_diagonal: float = 0.5
    """Scale of the embeddings before training (published: 1). A smaller one keeps the distances between the features of
    a light backbone away from 1."""
    feature_channels: int = 80
    """Channels of the features at stride 4 (published: 256)."""
    head_channels: int = 96
    """Channels of the dynamic segmentation head (published: 256)."""
    matching_stride: int = 8
    """Stride in pixels of the embeddings that are matched (published: 4; 8 is 10 times faster on a CPU)."""
    local_window: int = 7
    """k of the local matching: cells of the previous frame up to k away in x and y (published: 15 at stride 4, which is
    as far in pixels)."""

    def with_stride(self, stride: int) -> FeelvosConfig:
        """The same network that matches at another stride, in a window that reaches as far in pixels."""
        if stride not in STRIDES:
            raise ValueError(f'matching_stride is {stride}, but must be one of {", ".join(map(str, STRIDES))}')
        reach = (2 * self.local_window + 1) * self.matching_stride
        return replace(self, matching_stride=stride, local_window=math.ceil((reach / stride - 1) / 2))

    @property
    def variants(self) -> tuple[PropagationConfig, ...]:
        return (self,) if self.matching_stride == STRIDES[0] else (self, self.with_stride(STRIDES[0]))

    def variant(self, stored: PropagationConfig) -> str:
        same = isinstance(stored, FeelvosConfig) and stored.matching_stride == self.matching_stride
        return '' if same else f'.stride{self.matching_stride}'


PUBLISHED = FeelvosConfig(
    name='feelvos_published',
    input_height=480,
    input_width=864,
    backbone='xception65',
    batch_norm_folded=False,
    feature_channels=256,
    head_channels=256,
    embedding_diagonal=1.0,
    matching_stride=4,
    local_window=15,
)
"""The published network; its weights exist for another framework only. The input size is DAVIS 480p rounded to
multiples of 32."""
