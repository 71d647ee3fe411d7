"""Settings: everything a user can set, described once.

Node parameters, launch arguments, options of the command line, config/vis.yaml and the reference page are made from the
fields of these two classes: name, type and default of each field, and its `Setting` (description, choices, limits).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import numpy as np

from vis_ros.engines.engine import ENGINES, PRECISIONS
from vis_ros.images import Scale16
from vis_ros.masks.encodings import ENCODINGS
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS
from vis_ros.recordings.topics import CAMERA_NAMES, TRANSPORTS, is_camera_name
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.class_scores import parse_classes
from vis_ros.tracking.propagate_config import PropagateConfig
from vis_ros.tracking.published_memory import PublishedConfig, PublishedRule
from vis_ros.visualization import LABELS

Change = Literal['at start', 'unconfigured', 'always']
"""When a running node accepts a new value: never, while it is unconfigured, or at any time."""

PROPAGATION_MODELS = tuple(PROPAGATION_SYSTEMS)
PUBLISHED_RULES = get_args(PublishedRule)
DEPTH_MODES = ('none', 'raw', 'rectified')

_DEVICE = re.compile(r'auto|cpu|cuda(:\d+)?')
_FOREIGN = re.compile(r'use_sim_time|start_type_description_service|qos_overrides\b.*')
"""Parameters that rclpy itself declares on a node."""


@dataclass(frozen=True)
class Setting:
    """What is known of one field: the group it is listed under, its description, allowed values and when it may
    change.
    """

    group: str
    description: str
    choices: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    change: Change = 'unconfigured'


def _setting(
    default: Any,
    group: str,
    description: str,
    *,
    choices: Iterable[str] = (),
    limits: tuple[float, float] | None = None,
    change: Change = 'unconfigured',
) -> Any:
    return field(default=default, metadata={'setting': Setting(group, description, tuple(choices), limits, change)})


@dataclass(frozen=True)
class Settings:
    """What a model and its trackers are made of. Construction checks each value; ValueError names it and what is
    allowed.

    >>> Settings(min_hits=1).min_hits
    1
    """

    weights: str = _setting(
        'demo',
        'network',
        'Name of packaged or fetched weights (see `vis-ros weights list`) or path of a .safetensors file.',
    )
    model: str = _setting(
        'auto',
        'network',
        'Model. Detection in every frame: auto (as the weights say), masktrack_rcnn, mask_rcnn (without track head). '
        'Mask propagation: maskrnn, rgmp, pts, feelvos.',
        choices=('auto', 'masktrack_rcnn', 'mask_rcnn', *PROPAGATION_MODELS),
    )
    engine: str = _setting(
        'auto',
        'network',
        'Inference engine. auto takes the best one available: TensorRT or torch on an NVIDIA GPU, else OpenVINO.',
        choices=ENGINES,
    )
    precision: str = _setting(
        'auto',
        'network',
        'Precision of the network. auto takes the fastest that keeps the results. A propagation model computes in fp32 '
        'unless bf16 is named, which OpenVINO has on some processors (pts: always in fp32).',
        choices=PRECISIONS,
    )
    device: str = _setting('auto', 'network', 'Device: auto (a GPU if there is one), cpu, cuda or cuda:N.')
    threads: int = _setting(0, 'network', 'CPU threads of the network; 0 lets its library choose.', limits=(0, 256))
    accuracy_check: bool = _setting(
        True, 'network', 'Compare the detections of a reduced precision with those of fp32 before the network is used.'
    )
    input_height: int = _setting(
        0,
        'network',
        "Maximum height of the network input in pixels; 0 uses the model's own. Set height and width together.",
        limits=(0, 4096),
    )
    input_width: int = _setting(
        0,
        'network',
        "Maximum width of the network input in pixels; 0 uses the model's own. Smaller is faster and misses small "
        'objects.',
        limits=(0, 4096),
    )
    score_threshold: float = _setting(
        0.0,
        'network',
        "Detections below this score are dropped; 0 uses the model's own threshold. While running it can be raised, "
        'and lowered again to its value at load.',
        limits=(0.0, 1.0),
        change='always',
    )
    classes: str = _setting(
        '',
        'network',
        'Classes that are detected, with commas between them; the others are dropped. A class may have a score '
        "threshold of its own, above score_threshold: 'person, car:0.5'. Empty: all.",
        change='always',
    )
    max_detections: int = _setting(
        0, 'network', "Maximum number of detections per frame; 0 uses the model's own.", limits=(0, 1000)
    )

    black_level: int = _setting(
        0, 'network', 'Images of 16 bits: the value that becomes black. Lower ones are cut off.', limits=(0, 65534)
    )
    white_level: int = _setting(
        65535,
        'network',
        'Images of 16 bits: the value that becomes white. Higher ones are cut off. Thermal cameras use a small part of '
        'the range; replay prints the values it met.',
        limits=(1, 65535),
    )

    association: str = _setting(
        'one_to_one',
        'tracks',
        'Association rule. one_to_one gives unique ids in every frame. paper and mmtracking reproduce the reference '
        'implementations, including their duplicate ids.',
        choices=('one_to_one', *PUBLISHED_RULES),
    )
    new_track_score: float = _setting(
        AssociationConfig.new_track_score,
        'tracks',
        'Minimum score of a detection to start a new track; weaker detections can only continue a track.',
        limits=(0.0, 1.0),
        change='always',
    )
    min_hits: int = _setting(
        AssociationConfig.min_hits,
        'tracks',
        'With a detection model: a track is TENTATIVE until it has been detected in this many frames.',
        limits=(1, 1000),
        change='always',
    )
    max_age_s: float = _setting(
        AssociationConfig.max_age_s,
        'tracks',
        'A track that has not been seen for this many seconds is deleted. Longer bridges longer occlusions but risks '
        'reusing an id for a new object.',
        limits=(0.0, 3600.0),
        change='always',
    )
    max_identities: int = _setting(
        AssociationConfig.max_identities,
        'tracks',
        'With association one_to_one: maximum number of tracks in memory per camera; the one unseen for longest is '
        'deleted first.',
        limits=(1, 100_000),
        change='always',
    )

    bridge: str = _setting(
        '',
        'propagation',
        'With a detection model: the propagation model that follows a track through frames in which the detector '
        'misses it. Empty: none.',
        choices=('', *PROPAGATION_MODELS),
    )
    propagation_weights: str = _setting(
        '', 'propagation', 'Path of the weights of the propagation model. Empty: the packaged weights.'
    )
    start_from: str = _setting(
        'detections',
        'propagation',
        'With a propagation model: start tracks from detections, or only from prompts (the service ~/track_object, '
        '`Tracker.prompt`). With bridge: follow all confirmed tracks, or only those that a prompt showed.',
        choices=('detections', 'prompts'),
    )
    max_objects: int = _setting(
        PropagateConfig.max_objects,
        'propagation',
        'With a propagation model: maximum number of tracks per camera. Each one costs time.',
        limits=(1, 100),
    )
    fine_tune_steps: int = _setting(
        0,
        'propagation',
        'With pts: steps of fine-tuning on the first mask of each track (published: 800). Tracking waits meanwhile, '
        'unless fine_tune_in_background is true. Needs torch.',
        limits=(0, 10_000),
    )
    fine_tune_in_background: bool = _setting(
        False,
        'propagation',
        'With pts and fine_tune_steps: fine-tune in a thread of its own, while the track is followed with the untuned '
        'weights. Results then depend on how fast the machine is.',
    )

    delayed: bool = _setting(
        False,
        'propagation',
        'With model maskrnn and weights trained with causal: false: use the optical flow to the next image too, as '
        'published. The result of an image comes when the next one has arrived.',
    )

    matching_stride: int = _setting(
        0,
        'propagation',
        'With feelvos: stride in pixels of what is matched; 0 takes that of the weights (packaged: 8). 4, as '
        'published, is more precise and takes about five times as long.',
        limits=(0, 32),
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = convert(each, getattr(self, each.name))
            object.__setattr__(self, each.name, value)
            if reason := objection(each, value):
                raise ValueError(reason)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """The settings with these values. Raises ValueError for a name that is not a setting or a value not allowed."""
        names = [each.name for each in fields(cls)]
        for name in values:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                hint = f'did you mean {close[0]}?' if close else f'settings are {", ".join(names)}'
                raise ValueError(f'{name!r} is not a setting; {hint}')
        return cls(**values)

    def with_values(self, **values: Any) -> Settings:
        """A copy with some values replaced and checked."""
        return replace(self, **values)

    @property
    def propagates(self) -> bool:
        """Whether the model propagates masks instead of detecting in every frame."""
        return self.model in PROPAGATION_SYSTEMS

    @property
    def propagation_model(self) -> str:
        """The propagation model in use, as the model itself or as bridge; '' for none."""
        return self.model if self.propagates else self.bridge

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) of the network input, None for the model's own. ValueError where only one of them is set."""
        if bool(self.input_height) != bool(self.input_width):
            raise ValueError(
                f'input_height is {self.input_height} and input_width is {self.input_width}: set both, or leave both 0'
            )
        return (self.input_height, self.input_width) if self.input_height else None

    def check_together(self) -> None:
        """Raise ValueError where settings that are valid by themselves contradict each other."""
        _ = self.input_size
        self.scale16()
        if self.propagates and self.bridge:
            raise ValueError(
                f'bridge is {self.bridge!r}, but model {self.model!r} propagates every frame: leave bridge empty'
            )
        if self.propagation_weights and not self.propagation_model:
            raise ValueError(
                f'propagation_weights is {self.propagation_weights!r}, but model {self.model!r} propagates no masks: '
                'set model or bridge to a propagation model'
            )
        if self.delayed and self.model != 'maskrnn':
            raise ValueError(f'delayed is set, but model {self.model!r} does not use the next image: only maskrnn does')
        if self.matching_stride and self.propagation_model != 'feelvos':
            raise ValueError(f'matching_stride is {self.matching_stride}, but is for feelvos, as model or bridge, only')
        if self.association in PUBLISHED_RULES and self.propagation_model:
            raise ValueError(
                f'association is {self.association!r}, but its duplicate ids cannot be propagated: use one_to_one'
            )

    def scale16(self) -> Scale16:
        """How images of 16 bits become 8 bits. ValueError unless `black_level` is below `white_level`."""
        if self.black_level >= self.white_level:
            raise ValueError(f'black_level is {self.black_level}, but must be below white_level, {self.white_level}')
        return Scale16(self.black_level, self.white_level)

    def association_config(self) -> AssociationConfig:
        """The settings of the identity memory."""
        return AssociationConfig(
            new_track_score=self.new_track_score,
            max_age_s=self.max_age_s,
            max_identities=self.max_identities,
            min_hits=self.min_hits,
        )

    def published_config(self) -> PublishedConfig:
        """The settings of a published association rule. ValueError where `association` is not one."""
        return PublishedConfig(cast(PublishedRule, self.association), min_hits=self.min_hits)

    def propagate_config(self) -> PropagateConfig:
        """The settings of a tracker that propagates masks."""
        return PropagateConfig(
            start_from_detections=self.start_from == 'detections',
            max_objects=self.max_objects,
            new_track_score=self.new_track_score,
            max_age_s=self.max_age_s,
        )


@dataclass(frozen=True)
class NodeSettings(Settings):
    """All parameters of the node: the settings of its model, and what only a ROS node needs."""

    autostart: bool = _setting(
        True, 'node', 'Configure and activate at start, without a lifecycle manager.', change='at start'
    )
    build_only: bool = _setting(
        False,
        'node',
        'Configure, which builds the TensorRT engine if there is none yet, then exit. The exit status is 0 if the '
        'engine works.',
        change='at start',
    )
    cameras: tuple[str, ...] = _setting(
        ('',),
        'node',
        'Camera names. [front, left] subscribes to front/image and left/image and publishes ~/front/instances and '
        "~/left/instances; each camera has its own tracks. [''] is one camera without a prefix.",
    )
    image_transport: str = _setting(
        'raw',
        'node',
        'Image topics: raw subscribes to `image`, compressed to `image/compressed` (JPEG, PNG, H.264 or H.265), ffmpeg '
        'to `image/ffmpeg` (FFMPEGPacket) and foxglove to `image/foxglove` (CompressedVideo). Video needs PyAV.',
        choices=tuple(TRANSPORTS),
    )
    depth: str = _setting(
        'none',
        'node',
        'Give each object a position from the topics `depth` (registered to the image) and `camera_info`. raw: the '
        'images are as the sensor delivers them; rectified: they are rectified; none: no positions.',
        choices=DEPTH_MODES,
    )
    mask_encoding: str = _setting(
        'mono8',
        'node',
        'Mask encoding in the message. mono8 needs no decoding, bits is 8 times smaller, rle and png are the smallest '
        'and slowest, none publishes boxes only.',
        choices=ENCODINGS,
        change='always',
    )
    overlay_labels: str = _setting(
        'full',
        'node',
        'What the tags on the overlay have: full is track id, class and score; id is the track id; none draws no tags.',
        choices=LABELS,
        change='always',
    )

    def model_settings(self) -> Settings:
        """The part that a model is loaded from."""
        return Settings(**{each.name: getattr(self, each.name) for each in fields(Settings)})


def setting(item: Field[Any]) -> Setting:
    """The description of a field of `Settings` or `NodeSettings`."""
    found: Setting = item.metadata['setting']
    return found


def setting_type(item: Field[Any]) -> type:
    """bool, int, float, str or tuple (of str)."""
    kind = _type_hints()[item.name]
    return get_origin(kind) or kind


@cache
def _type_hints() -> dict[str, Any]:
    return get_type_hints(NodeSettings)  # slow: it compiles each annotation


def convert(item: Field[Any], value: Any) -> Any:
    """The value as the type of the field, where nothing is lost: a list as tuple, an int or numeric text as float."""
    kind = setting_type(item)
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):  # YAML 1.1, which PyYAML reads, takes 1e-4 for text
            return float(value)
    if kind is str and isinstance(value, Path):
        return str(value)
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(value)
    return value


def objection(item: Field[Any], value: Any) -> str:
    """Why a field cannot have a value, '' where it can."""
    described, kind = setting(item), setting_type(item)
    if type(value).__name__ != kind.__name__:
        expected = 'a list of str' if kind is tuple else kind.__name__
        return f'{item.name} is {value!r}, but must be {expected}'
    if described.limits and not described.limits[0] <= value <= described.limits[1]:
        return f'{item.name} is {value}, but must be from {described.limits[0]} to {described.limits[1]}'
    if described.choices and value not in described.choices:
        return f'{item.name} is {value!r}, but must be one of {", ".join(map(repr, described.choices))}'
    if item.name == 'device' and not _DEVICE.fullmatch(value):
        return f'device is {value!r}, but must be auto, cpu, cuda or cuda:N'
    if item.name == 'classes':
        try:
            parse_classes(value)
        except ValueError as error:
            return str(error)
    return _objection_to_cameras(value) if item.name == 'cameras' else ''


def _objection_to_cameras(names: tuple[Any, ...]) -> str:
    if names == ('',):
        return ''
    if not names:
        return "cameras is empty; [''] is one camera without a prefix"
    for name in names:
        if not (isinstance(name, str) and is_camera_name(name)):
            return f'cameras has {name!r}, which is not a ROS name: {CAMERA_NAMES}'
    if len(set(names)) < len(names):
        return f'cameras is {list(names)}: a name occurs twice'
    return ''


def is_foreign(name: str) -> bool:
    """Whether a parameter of the node belongs to rclpy and not to vis_ros."""
    return bool(_FOREIGN.fullmatch(name))
