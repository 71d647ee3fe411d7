"""TrainConfig: all settings of a training run, read from a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from vis_ros.datasets.problems import LARGEST_SIDE
from vis_ros.evaluation.evaluation import COUNTS, METRICS
from vis_ros.evaluation.leading_figure import PHOTO_METRICS
from vis_ros.field_types import typed_fields
from vis_ros.networks.model_config import ARCHITECTURES, DEMO, ModelConfig
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_header import is_propagation, read_propagation_config
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS, config_from_dict
from vis_ros.synthetic.coco_images import Part
from vis_ros.synthetic.composites import CompositeConfig
from vis_ros.training.field_checks import check_choice, check_names
from vis_ros.yaml_file import read_yaml

Kind = Literal['videos', 'composites', 'images', 'scenes']
Precision = Literal['auto', 'float32', 'bfloat16', 'float16']

LARGE_OBJECTS: Mapping[str, Any] = {'sizes': (0.07, 0.9), 'enlargement': 2.5}
"""Default effects of 'composites' in training: objects as large as those in front of a robot, at the price of some that
are enlarged and blurred."""


_NOT_NEGATIVE = ('backbone_learning_rate', 'weight_decay', 'warm_up_steps', 'warm_up_from', 'workers', 'seed')

_LARGEST = 2**31 - 1
"""Of the whole numbers; a seed may have no more bits."""

Classes = Literal['supercategories', 'categories'] | Mapping[str, Any]


@dataclass(frozen=True)
class CropSource:
    """Objects that are cut out and pasted into 'composites'. Their own images are not used, so that it does not matter
    what else they show."""

    annotations: str
    """A COCO instance JSON (stills), or a YouTube-VIS JSON, a DAVIS folder or MOTS annotations (moving objects)."""
    images: str = ''
    """Folder of the images; empty means the default place of the format. COCO needs it."""
    classes: Classes = 'supercategories'
    """As in a data source."""
    object_class: str | Mapping[str, str] = ''
    """For a format without class labels: the class of all objects, or video name -> class."""
    only: tuple[str, ...] = ()
    """Names of the videos to use; empty uses all."""
    copies: int = 1
    """How often each object counts when objects are drawn: a moving object shows many poses, a still image one."""

    def __post_init__(self) -> None:
        _check_classes(self.classes)
        if self.copies < 1:
            raise ValueError(f'crops copies {self.copies} is less than 1')

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CropSource:
        if not isinstance(values, Mapping) or 'annotations' not in values:
            raise ValueError(f'a source of crops is {values!r}, expected fields such as annotations')
        check_names('crops', values, (each.name for each in fields(cls)))
        return cls(**typed_fields(cls, 'crops ', values))


@dataclass(frozen=True)
class DataSource:
    """One source of videos. Class names come from the data; equal names are the same class in all sources."""

    kind: Kind
    """'videos': your own annotated videos. 'composites': synthetic videos of object crops of a COCO data set that move
    over its images. 'images': the images of a COCO data set; a pair is two crops of the same image. 'scenes': synthetic
    scenes like that of `vis-ros demo`, whose only class is 'shape'."""
    weight: float = 1.0
    """Share of the pairs from this source, relative to the other sources."""
    annotations: str = ''
    """'videos': a YouTube-VIS JSON, a DAVIS folder or MOTS annotations. 'composites' and 'images': a COCO instance
    JSON."""
    images: str = ''
    """Folder of the images. For 'videos', empty means the default place of the format."""
    classes: Classes = 'supercategories'
    """Which names of a COCO JSON are the classes, 'supercategories' or 'categories'; a YouTube-VIS JSON always uses its
    categories. Or a mapping from each class to the list of its categories, in which a class with an empty list takes
    all categories that are not listed: {person: [person], vehicle: [car, bus], object: []}."""
    part: Part = 'all'
    """'composites' and 'images': 'all' images, 'training' (all but every tenth) or 'held-out' (every tenth), to split
    one data set for training and validation."""
    object_class: str | Mapping[str, str] = ''
    """'videos' of a format without class labels (DAVIS): the class of all objects, or video name -> class."""
    only: tuple[str, ...] = ()
    """'videos': names of the videos to use; empty uses all."""
    exhaustive: bool | None = None
    """Whether every object of the classes is annotated. If not, all other pixels are ignored instead of counted as
    background. Default: true, but false for formats without class labels (DAVIS)."""
    ignored_boxes: str = ''
    """'composites' and 'images': a COCO results file. Its boxes are ignored where they show no annotated object: with
    the detections of another network, a data set that annotates only some objects teaches background all the same."""
    crops: tuple[CropSource, ...] = ()
    """'composites': further objects to paste."""
    effects: Mapping[str, Any] = field(default_factory=dict)
    """'composites' and 'images': fields of `vis_ros.synthetic.composites.CompositeConfig`."""

    def __post_init__(self) -> None:
        check_choice('data kind', self.kind, get_args(Kind))
        _check_classes(self.classes)
        check_choice('part', self.part, get_args(Part))
        if not self.weight > 0:
            raise ValueError(f'data weight {self.weight} of {self.kind!r} is not positive')
        if self.kind in ('composites', 'images') and not (self.images and self.annotations):
            raise ValueError(f'data source {self.kind!r} needs images (a folder) and annotations (a COCO JSON file)')
        if self.kind == 'videos' and not self.annotations:
            raise ValueError("data source 'videos' needs annotations (a YouTube-VIS JSON, a DAVIS folder, ...)")
        self.composite_config()

    def composite_config(self) -> CompositeConfig:
        """The effects as a CompositeConfig. ValueError if one does not exist."""
        check_names('effects', self.effects, [f.name for f in fields(CompositeConfig) if f.name != 'visibility'])
        values = typed_fields(CompositeConfig, 'effects ', self.effects)
        return CompositeConfig(**(dict(LARGE_OBJECTS) | values))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataSource:
        if not isinstance(values, Mapping):
            raise ValueError(f'a data source is {values!r}, expected fields such as {{kind: scenes}}')
        check_names('data', values, (each.name for each in fields(cls)))
        if 'kind' not in values:
            raise ValueError(f'a data source needs a kind, one of {", ".join(get_args(Kind))}')
        values = typed_fields(cls, 'data ', values)
        if 'crops' in values:
            values['crops'] = tuple(CropSource.from_dict(crops) for crops in values['crops'])
        return cls(**values)


def _check_classes(classes: Classes) -> None:
    """ValueError if `classes` is neither a choice nor a mapping from names to lists of names."""
    if isinstance(classes, str):
        check_choice('classes', classes, ('supercategories', 'categories'))
        return
    if not isinstance(classes, Mapping):
        raise ValueError(f'classes is {classes!r}, expected a mapping such as {{person: [person], object: []}}')
    used: dict[str, str] = {}  # category -> its class
    for name, categories in classes.items():
        if not isinstance(categories, (list, tuple)):
            raise ValueError(f'classes {name} is {categories!r}, expected a list of categories, such as [car, bus]')
        if odd := [each for each in (name, *categories) if not isinstance(each, str)]:
            raise ValueError(f'classes {name} has the name {odd[0]!r}, which is no text: put it in quotes')
        for each in categories:
            if used.setdefault(each, name) != name:
                raise ValueError(f'classes has the category {each!r} in {used[each]!r} and in {name!r}')
    if sum(not categories for categories in classes.values()) > 1:
        raise ValueError('classes has more than one class without categories: only one can take all others')


@dataclass(frozen=True)
class Validation:
    """Validation during the run: the averaged weights are tried on held-out data, and the result is scored as by
    `vis-ros evaluate`. The weights at the start are validated too, as step 0."""

    data: tuple[DataSource, ...]
    """One source or a list of sources, of any kind. Images are photos here: each is evaluated whole and for itself. The
    first source selects the best checkpoint."""
    every: int = 1000
    """Steps between validations. The last step is validated too."""
    patience: int = 0
    """Validations in a row without a new best after which the run stops; 0 never stops it."""
    videos: int = 8
    """Number of videos of each source; for 'videos' the maximum."""
    frames: int = 40
    """Number of frames of each video; for 'videos' the maximum."""
    photos: int = 200
    """Maximum number of photos of each source of kind 'images'."""
    seed: int = 1_000_000
    """Seed of the first video of 'composites' and 'scenes'."""
    figure: str = 'AP'
    """Metric that selects the best checkpoint: AP, AP50, HOTA, IDF1, ... (see `vis-ros evaluate`), a fraction of 1.
    Photos have no metrics of tracking, such as HOTA. Mask propagation networks have only J: they start from the first
    ground truth masks and have neither classes nor scores."""
    class_aware: bool = False
    """Whether the metrics are means over the classes, or ignore class labels."""
    score_threshold: float = 0.1
    """Detections below this score are dropped. Lower than at inference, so that AP sees all of them."""
    new_track_score: float = 0.3
    """Smallest score that starts a track. Low enough for a network early in training."""

    def __post_init__(self) -> None:
        figures = tuple(name for name in METRICS if name not in COUNTS)
        check_choice('validation figure', self.figure, figures)
        if self.data[0].kind == 'images' and self.figure not in PHOTO_METRICS:
            raise ValueError(
                f'validation figure {self.figure!r} follows objects from image to image, but the first source of the '
                f'validation data is photos: choose from {", ".join(PHOTO_METRICS)}, or begin with another source'
            )
        for name in ('every', 'videos', 'frames', 'photos'):
            if getattr(self, name) < 1:
                raise ValueError(f'validation {name} {getattr(self, name)} is less than 1')
        for name in ('score_threshold', 'new_track_score'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'validation {name} {getattr(self, name)} is not in [0, 1]')
        if self.patience < 0:
            raise ValueError(f'validation patience {self.patience} is less than 0')

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Validation:
        if not isinstance(values, Mapping):
            raise ValueError(f'validation is {values!r}, expected fields such as data')
        check_names('validation', values, (each.name for each in fields(cls)))
        data = values.get('data')
        sources = [data] if isinstance(data, Mapping) else data
        if not isinstance(sources, list) or not sources:
            raise ValueError('validation needs data, one source such as {kind: scenes} or a list of sources')
        opened = {'data': tuple(DataSource.from_dict(source) for source in sources)}
        return cls(**(typed_fields(cls, 'validation ', {**values, 'data': sources}) | opened))


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run, as read by `vis-ros train CONFIG`. Every field but `data` has a default."""

    data: tuple[DataSource, ...]
    """Sources of the training pairs."""
    out: str = 'runs/demo'
    """Folder of the checkpoint, the logs and the model files."""
    weights: str = ''
    """Initial weights: a name from `vis-ros weights list` or a model file. They also define the network."""
    model: ModelConfig | PropagationConfig = DEMO
    """Fields under `model:` replace those of the weights, or of the demo model if there are no weights. With the
    `architecture` of a mask propagation network (maskrnn, rgmp, pts, feelvos) they are the fields of its config, and
    the run trains on clips."""
    class_names: tuple[str, ...] = ()
    """Classes of the model, given under `model:`. Default: the classes of the weights if they contain all classes of
    the data, otherwise the classes of the data in order of appearance."""
    pretrained: str = 'efficientnet_lite0'
    """Backbone weights if `weights` is empty: 'efficientnet_lite0' (ImageNet), the `.ncnn.bin` file of NanoDet-Plus-m
    (detectors with the backbone nanodet_plus_m only), or '' for none."""
    frozen_blocks: int = 1
    """Number of frozen blocks of the backbone, after its stem, which is frozen too; -1 freezes neither. Batch norm is
    always frozen."""

    image_height: int = 288
    """Frame size of synthetic videos. Real ones are resized into it as at inference: the shorter side to at most the
    smaller number, the longer side to at most the larger one, aspect ratio kept."""
    image_width: int = 512
    input_scales: tuple[float, ...] = (1.0,)
    """Each step resizes its batch by one of these factors, drawn at random."""
    pairs: int = 2
    """Pairs of key frame and reference frame per step and GPU; each frame of a pair is both once. For mask propagation
    networks: clips per step and GPU."""
    clip_frames: int = 4
    """Frames of a clip: a reference frame from anywhere in the video, and consecutive frames."""
    clip_stride: int = 2
    """Maximum distance between consecutive frames of a clip, in frames of the video; the minimum is 1."""
    clip_objects: int = 3
    """Maximum number of objects of the reference frame, chosen at random. All others are background."""
    sampled_anchors: int = 64
    """Anchors per frame in the losses of the proposals; at most half of them are positive."""
    sampled_rois: int = 64
    """Boxes per frame in the losses of the heads; at most a quarter of them are positive."""

    steps: int = 1600
    optimizer: Literal['adamw', 'sgd'] = 'adamw'
    """'sgd' uses a momentum of 0.9."""
    learning_rate: float = 8e-4
    backbone_learning_rate: float = 2e-4
    weight_decay: float = 0.03
    schedule: Literal['cosine', 'step'] = 'cosine'
    """'cosine': the learning rate falls to 1 % at the last step. 'step': it falls to a tenth at each of
    `decay_steps`."""
    decay_steps: tuple[int, ...] = ()
    warm_up_steps: int = 100
    """The learning rate rises linearly over these steps..."""
    warm_up_from: float = 0.0
    """... from this share of its value."""
    gradient_clip: float = 3.0
    """Maximum norm of the gradients of all weights together."""
    ema: float = 0.996
    """Decay per step of the exponential moving average of the weights, which is validated and saved; 0 uses the last
    weights."""

    device: str = 'auto'
    """'auto' (CUDA if available), 'cpu', 'cuda' or 'cuda:N'. Under `torchrun` each process uses its own GPU."""
    precision: Precision = 'auto'
    """Precision of the forward pass; weights stay float32. 'auto': bfloat16 on GPUs that support it, float16 on others,
    float32 on a CPU. With float16 the loss is scaled."""
    workers: int = 1
    """Processes per GPU that make training samples; 0 makes them in the training process."""
    seed: int = 0

    validation: Validation | None = None
    log_every: int = 10
    """Steps between the rows of losses.jsonl, each a mean over the steps since the last row."""
    checkpoint_every: int = 100
    """Steps between checkpoints. A restarted run continues from the last one."""
    picture_every: int = 500
    """Steps between images of training samples in TensorBoard."""

    def __post_init__(self) -> None:
        for name, choices in (
            ('optimizer', ('adamw', 'sgd')),
            ('schedule', ('cosine', 'step')),
            ('precision', get_args(Precision)),
        ):
            check_choice(name, getattr(self, name), choices)
        self._check_model()
        if self.steps < 0:
            raise ValueError(f'steps {self.steps} is less than 0')
        if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', self.device):
            raise ValueError(f'device {self.device!r} is not auto, cpu, cuda or cuda:N')
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f'{name} {getattr(self, name)} is less than 0')
        if self.warm_up_from > 1:
            raise ValueError(f'warm_up_from {self.warm_up_from} is more than 1')
        if self.frozen_blocks < -1:
            raise ValueError(f'frozen_blocks {self.frozen_blocks} is less than -1')
        for name in (each.name for each in fields(self)):
            if isinstance(value := getattr(self, name), int) and value > _LARGEST:
                raise ValueError(f'{name} {value} is more than {_LARGEST}')
        for name in ('image_height', 'image_width'):
            if getattr(self, name) > LARGEST_SIDE:
                raise ValueError(f'{name} {getattr(self, name)} is more than {LARGEST_SIDE}')
        if '' in self.class_names or len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f'class_names {list(self.class_names)} has a name twice, or one without letters')
        for name in ('learning_rate', 'gradient_clip'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} {getattr(self, name)} is not above 0')
        for name in (
            'sampled_anchors',
            'sampled_rois',
            'pairs',
            'log_every',
            'checkpoint_every',
            'picture_every',
            'image_height',
            'image_width',
        ):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} {getattr(self, name)} is less than 1')
        if self.schedule == 'step' and not self.decay_steps:
            raise ValueError("schedule 'step' needs decay_steps, such as two thirds and eleven twelfths of the steps")
        if min(self.decay_steps, default=1) < 1 or list(self.decay_steps) != sorted(set(self.decay_steps)):
            raise ValueError(f'decay_steps {list(self.decay_steps)} are not positive numbers in ascending order')
        if not 0 <= self.ema < 1:
            raise ValueError(f'ema {self.ema} is not in [0, 1)')
        if not self.input_scales or min(self.input_scales) <= 0:
            raise ValueError(f'input_scales {self.input_scales} are not positive numbers')

    def _check_model(self) -> None:
        """Check what depends on the kind of network. ValueError if a setting does not fit it."""
        propagates = isinstance(self.model, PropagationConfig)
        is_file = not propagates and self.pretrained.endswith('.ncnn.bin')
        if self.pretrained not in ('', 'efficientnet_lite0') and not is_file:
            raise ValueError(
                f"pretrained {self.pretrained!r} is not 'efficientnet_lite0' or '': a whole model is given as `weights`"
            )
        if isinstance(self.model, ModelConfig):
            if self.model.legacy_boxes:
                raise ValueError(
                    'these weights have legacy_boxes, which cannot be trained: set legacy_boxes: false under model'
                )
            return
        for name, least in (('clip_frames', 3), ('clip_stride', 1), ('clip_objects', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name} {getattr(self, name)} is less than {least}')
        for name in ('image_height', 'image_width'):
            if getattr(self, name) % 32:
                raise ValueError(f'{name} {getattr(self, name)} is not a multiple of 32, which clips need')
        if self.validation is not None and any(source.kind == 'images' for source in self.validation.data):
            raise ValueError(
                "validation data is of kind 'images', but masks are propagated in videos: take 'composites'"
            )
        if self.validation is not None and self.validation.figure != 'J':
            raise ValueError(
                f"validation figure {self.validation.figure!r} is not 'J', the only one of mask propagation networks"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of training frames."""
        return self.image_height, self.image_width

    @classmethod
    def read(cls, path: Path) -> TrainConfig:
        """Read a YAML file. ValueError names the file and the wrong field."""
        if not path.is_file():
            raise FileNotFoundError(f'training config {path} does not exist')
        values = read_yaml(path) or {}
        try:
            if not isinstance(values, dict):
                raise ValueError(f'is a {type(values).__name__}, expected fields such as data')
            return cls.from_dict(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path}: {error}') from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The config from plain values, as in the YAML file. ValueError names the wrong field."""
        check_names('', values, (each.name for each in fields(cls) if each.name != 'class_names'))
        if not values.get('data'):
            raise ValueError('data is empty: name at least one source, such as {kind: scenes}')
        if not isinstance(values['data'], list):
            raise ValueError(f'data is {values["data"]!r}, expected a list of sources such as {{kind: scenes}}')
        values = typed_fields(cls, '', values)
        values['data'] = tuple(DataSource.from_dict(source) for source in values['data'])
        if not isinstance(values.get('model') or {}, Mapping):
            raise ValueError(f'model is {values["model"]!r}, expected fields such as {{architecture: feelvos}}')
        architecture = (values.get('model') or {}).get('architecture', '')
        if not isinstance(architecture, str):
            raise ValueError(f'model architecture is {architecture!r}, expected a text')
        model = _model(values.get('model') or {}, resolve(values['weights']) if values.get('weights') else None)
        if values.get('validation') is not None:
            figure = {'figure': 'J'} if isinstance(model, PropagationConfig) else {}
            given = values['validation']
            values['validation'] = Validation.from_dict({**figure, **given} if isinstance(given, Mapping) else given)
        names = (values.get('model') or {}).get('class_names', ())
        return cls(**(values | {'model': model, 'class_names': tuple(names)}))


def _model(own: Mapping[str, Any], weights: Path | None) -> ModelConfig | PropagationConfig:
    """The config of the network: given fields replace those of the weights, or the defaults if there are no weights."""
    own = dict(own)
    architecture = own.get('architecture', '')
    if weights is not None and is_propagation(weights):
        base = read_propagation_config(weights)
        if own.pop('architecture', base.architecture) != base.architecture:
            raise ValueError(f'{weights} holds a {base.architecture} network, but model architecture is {architecture}')
        check_names('model', own, (each.name for each in fields(base)))
        return base.with_fields(**({'name': base.architecture} | typed_fields(type(base), 'model ', own)))
    if architecture in PROPAGATION_SYSTEMS:
        if weights is not None:
            raise ValueError(f'{weights} is a detector: for {architecture} leave weights empty')
        config = PROPAGATION_SYSTEMS[architecture].config
        check_names('model', own, ('architecture', *(each.name for each in fields(config))))
        return config_from_dict({'name': architecture} | own)
    if architecture:
        check_choice('model architecture', architecture, (*ARCHITECTURES, *PROPAGATION_SYSTEMS))
    check_names('model', own, (each.name for each in fields(ModelConfig)))
    detector = replace(read_config(weights), name='model') if weights is not None else DEMO
    return detector.with_fields(**typed_fields(ModelConfig, 'model ', own))
