"""PropagationConfig: what a network that carries masks along is made of. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar


@dataclass(frozen=True)
class PropagationConfig:
    """One propagation network. Written into the metadata of its .safetensors file, so that a file describes itself."""

    architecture: ClassVar[str] = ''
    """Name of the system, a key of PROPAGATION_CONFIGS."""

    name: str
    input_height: int = 288
    """Images are resized into this height..."""
    input_width: int = 512
    """... and this width, ratio nearly kept: both sides of what the network gets are multiples of 32."""
    mean: tuple[float, float, float] = (127.0, 127.0, 127.0)
    std: tuple[float, float, float] = (128.0, 128.0, 128.0)
    """RGB, in grey levels of 0 to 255."""
    backbone: str = 'tf_efficientnet_lite0'
    """A light one, 'tf_efficientnet_lite0' or 'resnet18', or the published one of the system by its name."""
    batch_norm_folded: bool = True
    """A timm backbone without batch norm: it is folded into the convolutions before training, which is faster."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.input_height, self.input_width

    def with_fields(self, **values: Any) -> PropagationConfig:
        """The same network with some fields replaced."""
        return replace(self, **values)

    def to_json(self) -> str:
        return json.dumps({'architecture': self.architecture, **asdict(self)})


@dataclass(frozen=True)
class MaskRnnConfig(PropagationConfig):
    """MaskRNN (Hu, Huang, Schwing, NIPS 2017)."""

    architecture: ClassVar[str] = 'maskrnn'

    side_channels: int = 16
    """Channels of each side output of a stream."""
    pyramid_channels: int = 80
    """Channels of the feature pyramid before the side outputs of a light backbone; 'vgg16' has none."""
    causal: bool = True
    """Without the flow to the next frame, for live use. The published form knows it, and is one frame late."""


@dataclass(frozen=True)
class RgmpConfig(PropagationConfig):
    """RGMP (Oh et al., CVPR 2018)."""

    architecture: ClassVar[str] = 'rgmp'

    decoder_channels: int = 64
    """Channels of the global convolution and the refinement (published: 256)."""


@dataclass(frozen=True)
class PtsConfig(PropagationConfig):
    """PTS = RPN + OTN + RGSN (Zhou et al. 2019): the networks OTN and RGSN; the RPN is Mask R-CNN's."""

    architecture: ClassVar[str] = 'pts'

    crop_size: int = 256
    """Side of the square crops that RGSN gets."""
    decoder_channels: int = 48
    """Channels of the decoder of RGSN (published: 256)."""
    otn_features: str = 'backbone'
    """What OTN sees of boxes: 'backbone', features of RGSN's encoder, or 'vgg_m', its own convolutions (published)."""
    otn_channels: int = 128
    """Channels of the fully connected layers of OTN, which are learned for each object (published: 512)."""


@dataclass(frozen=True)
class FeelvosConfig(PropagationConfig):
    """FEELVOS (Voigtlaender et al., CVPR 2019)."""

    architecture: ClassVar[str] = 'feelvos'

    embedding_size: int = 100
    embedding_diagonal: float = 0.5
    """Scale of fresh embeddings (published: 1): distances of the light features must not all be near 1."""
    feature_channels: int = 80
    """Channels of the features at stride 4 (published: 256)."""
    head_channels: int = 96
    """Channels of the dynamic segmentation head (published: 256)."""
    matching_stride: int = 8
    """Pixels a cell of the embeddings that are matched (published: 4; 8 is 10 times faster on a CPU)."""
    local_window: int = 7
    """k of the local matching: previous cells at most k away in x and y (published: 15 at stride 4, as far)."""


PROPAGATION_CONFIGS: Mapping[str, type[PropagationConfig]] = {
    each.architecture: each for each in (MaskRnnConfig, RgmpConfig, PtsConfig, FeelvosConfig)
}
"""Architecture -> its config."""


def propagation_config(values: Mapping[str, Any]) -> PropagationConfig:
    """The config of plain values with a key `architecture`; ValueError names what is not known."""
    values = dict(values)
    architecture = values.pop('architecture', '')
    if architecture not in PROPAGATION_CONFIGS:
        raise ValueError(f'architecture {architecture!r} is not one of {", ".join(PROPAGATION_CONFIGS)}')
    kind = PROPAGATION_CONFIGS[architecture]
    unknown = sorted(values.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f'unknown fields of a {architecture} model: {", ".join(unknown)}')
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**given)
