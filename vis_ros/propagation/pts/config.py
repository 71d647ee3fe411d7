"""PtsConfig: the settings of PTS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vis_ros.propagation.propagation_config import PropagationConfig


@dataclass(frozen=True)
class PtsConfig(PropagationConfig):
    """PTS (Zhou et al. 2019): its networks OTN and RGSN. The region proposals come from the RPN of Mask R-CNN."""

    architecture: ClassVar[str] = 'pts'

    crop_size: int = 256
    """Side in pixels of the square crops that RGSN segments."""
    decoder_channels: int = 48
    """Channels of the decoder of RGSN (published: 256)."""
    otn_features: str = 'backbone'
    """Box features of OTN: 'backbone' takes them from the encoder of RGSN, 'vgg_m' from convolutions of its own
    (published)."""
    otn_channels: int = 128
    """Channels of the fully connected layers of OTN, which are trained online for each object (published: 512)."""
