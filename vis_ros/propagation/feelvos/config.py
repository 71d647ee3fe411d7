"""FeelvosConfig: the settings of FEELVOS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vis_ros.propagation.propagation_config import PropagationConfig


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
