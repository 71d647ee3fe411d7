"""RgmpConfig: the settings of RGMP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vis_ros.propagation.propagation_config import PropagationConfig


@dataclass(frozen=True)
class RgmpConfig(PropagationConfig):
    """RGMP (Oh, Lee, Sunkavalli and Kim, CVPR 2018)."""

    architecture: ClassVar[str] = 'rgmp'

    decoder_channels: int = 64
    """Channels of the global convolution and of the refinement (published: 256)."""
