"""PropagationConfig: the settings that every mask propagation network has. Does not import torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

_LARGEST = {'input_height': 1 << 16, 'input_width': 1 << 16}
_LARGEST_WHOLE = 1 << 11
"""Largest value of other whole numbers: with more channels, a small file would take all memory."""


@dataclass(frozen=True)
class PropagationConfig:
    """Base class of the configs of the systems. Model files store it in their metadata, so a file describes itself."""

    architecture: ClassVar[str] = ''
    """Name of the system, a key of PROPAGATION_SYSTEMS."""

    name: str
    input_height: int = 288
    """Images are resized to fit this height..."""
    input_width: int = 512
    """... and this width. The aspect ratio is nearly kept: both sides become multiples of 32."""
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    """RGB, in gray levels from 0 to 255."""
    backbone: str = 'tf_efficientnet_lite0'
    """A light backbone, 'tf_efficientnet_lite0' or 'resnet18', or the backbone of the published system."""
    batch_norm_folded: bool = True
    """For timm backbones: fold batch norm into the convolutions before training, which is faster."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value, most = getattr(self, each.name), _LARGEST.get(each.name, _LARGEST_WHOLE)
            if isinstance(value, int) and not 0 <= value <= most:
                raise ValueError(f'{each.name} is {value}, expected 0 to {most}')

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.input_height, self.input_width

    @property
    def delayed(self) -> bool:
        """Whether the network needs the next image, so that results come one image late."""
        return False

    def with_stride(self, stride: int) -> PropagationConfig:
        """The config for matching at another stride with the same weights. ValueError if there is no such thing."""
        raise ValueError(f'matching_stride is {stride}, but {self.architecture} matches nothing: only feelvos does')

    @property
    def variants(self) -> tuple[PropagationConfig, ...]:
        """The configs that graphs are exported for: this one, and others that the same weights are often used with."""
        return (self,)

    def variant(self, stored: PropagationConfig) -> str:
        """What the names of graphs have, beside those of the config that is stored with the weights."""
        return ''

    def with_fields(self, **values: Any) -> PropagationConfig:
        """A copy with some fields replaced."""
        return replace(self, **values)

    def to_json(self) -> str:
        """The config and its architecture as a JSON object."""
        return json.dumps({'architecture': self.architecture, **asdict(self)})
