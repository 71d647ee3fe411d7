"""MaskRnnConfig: the settings of MaskRNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vis_ros.propagation.propagation_config import PropagationConfig


@dataclass(frozen=True)
class MaskRnnConfig(PropagationConfig):
    """MaskRNN (Hu, Huang and Schwing, NIPS 2017)."""

    architecture: ClassVar[str] = 'maskrnn'

    side_channels: int = 16
    """Channels of each side output of a stream."""
    pyramid_channels: int = 80
    """Channels of the feature pyramid in front of the side outputs; unused with the backbone 'vgg16'."""
    causal: bool = True
    """Do without the optical flow to the next frame, as live use requires. The published network uses it and therefore
    lags one frame."""

    @property
    def delayed(self) -> bool:
        return not self.causal


PUBLISHED = MaskRnnConfig(
    name='maskrnn_published', backbone='vgg16', batch_norm_folded=False, input_height=480, input_width=864, causal=False
)
"""The published network; the input size is DAVIS 480p rounded to multiples of 32."""
