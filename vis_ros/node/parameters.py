"""Parameters: every parameter of the node, declared once, with description, range and the moment it may change."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, cast, get_args

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vis_ros.engines.engine import ENGINES, PRECISIONS
from vis_ros.masks.encodings import ENCODINGS
from vis_ros.node.depth_stream import DEPTH_MODES
from vis_ros.propagation.propagation_config import PROPAGATION_CONFIGS
from vis_ros.tracking.association_config import AssociationConfig, RuleName
from vis_ros.tracking.propagate import PropagateConfig

AT_START, UNCONFIGURED, ALWAYS = 'at start', 'unconfigured', 'always'
"""When a parameter may change: never after the start, while the node is unconfigured, or also while it is active."""

_CAMERA = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*')


def _parameter(
    default: Any,
    description: str,
    *,
    change: str = UNCONFIGURED,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    metadata = {'description': description, 'change': change, 'limits': limits, 'choices': choices}
    return field(default=default, metadata=metadata)


_ASSOCIATION = AssociationConfig()
_PROPAGATION = PropagateConfig()


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters. Names, types and defaults of the fields are those of the ROS parameters."""

    autostart: bool = _parameter(True, 'Configure and activate at start, without a lifecycle manager.', change=AT_START)
    build_only: bool = _parameter(
        False,
        'Configure at start, which builds the engine where there is none yet, and end: exit status 0 if it can run.',
        change=AT_START,
    )
    model: str = _parameter(
        'auto',
        'What finds the masks. In every image: as the weights say (auto), with a track head (masktrack_rcnn), without '
        'it (mask_rcnn). Once, to carry them along: maskrnn, rgmp, pts, feelvos.',
        choices=('auto', 'masktrack_rcnn', 'mask_rcnn', *PROPAGATION_CONFIGS),
    )
    weights: str = _parameter(
        'demo', 'Name of packaged or fetched weights (`vis-ros weights list`), or the path of a .safetensors file.'
    )
    engine: str = _parameter(
        'auto',
        'What runs the network: the best that this machine has (auto), or only that one; diagnostics say which it '
        'is and why no better one.',
        choices=ENGINES,
    )
    precision: str = _parameter(
        'auto',
        'What the layers compute in: the fastest that the engine and the machine have (auto), or that one.',
        choices=PRECISIONS,
    )
    device: str = _parameter('auto', 'auto (a GPU where there is one), cpu, cuda or cuda:N.')
    threads: int = _parameter(0, 'CPU threads of the network; 0 leaves the choice to its library.', limits=(0, 256))
    accuracy_check: bool = _parameter(
        True,
        'Refuse a TensorRT engine that does not find in reference frames what the same weights find in fp32 on the '
        'processor.',
    )
    input_height: int = _parameter(
        0, 'The image is resized to at most so many rows for the network; 0 takes the size of the model.',
        limits=(0, 4096),
    )  # fmt: skip
    input_width: int = _parameter(
        0, 'The image is resized to at most so many columns for the network; 0 takes the size of the model.',
        limits=(0, 4096),
    )  # fmt: skip
    score_threshold: float = _parameter(
        0.0,
        'Detections with a lower score are neither tracked nor published; 0 takes the threshold of the model. While '
        'configured it can be raised, and lowered again to the value at configuration.',
        change=ALWAYS,
        limits=(0.0, 1.0),
    )
    max_detections: int = _parameter(
        0, 'At most so many objects an image; 0 takes the number of the model.', limits=(0, 1000)
    )
    cameras: tuple[str, ...] = _parameter(
        ('',),
        "One camera a name: it subscribes NAME/image and publishes ~/NAME/instances. [''] is one camera without a "
        'prefix.',
    )
    image_transport: str = _parameter(
        'raw', 'Subscribe `image` (raw) or `image/compressed` (compressed).', choices=('raw', 'compressed')
    )
    depth: str = _parameter(
        'none',
        'Give objects a position, from the topics `depth` (registered to the image) and `camera_info`: for images as '
        'the sensor has them (raw), for rectified ones (rectified), or not (none).',
        choices=DEPTH_MODES,
    )
    mask_encoding: str = _parameter(
        'mono8',
        'How masks travel: mono8 needs no decoding, bits is 8 times smaller, rle and png are smallest and slowest; '
        'none publishes boxes only.',
        change=ALWAYS,
        choices=tuple(ENCODINGS),
    )
    association: str = _parameter(
        _ASSOCIATION.rule,
        'one_to_one: no number twice in an image, whatever the order of detections; paper and mmtracking repeat those '
        'codes exactly, their duplicates included.',
        choices=get_args(RuleName),
    )
    new_track_score: float = _parameter(
        _ASSOCIATION.new_track_score,
        'A detection needs this score to begin a new identity; weaker ones only continue a known one.',
        change=ALWAYS,
        limits=(0.0, 1.0),
    )
    max_age_s: float = _parameter(
        _ASSOCIATION.max_age_s,
        'An identity that was not seen for so many seconds is forgotten: longer survives longer occlusion, but risks '
        'giving an old number to a new object.',
        change=ALWAYS,
        limits=(0.0, 3600.0),
    )
    max_identities: int = _parameter(
        _ASSOCIATION.max_identities,
        'At most so many identities are remembered per camera; beyond, the one seen longest ago is forgotten.',
        change=ALWAYS,
        limits=(1, 100_000),
    )
    min_hits: int = _parameter(
        _ASSOCIATION.min_hits,
        'An identity is TENTATIVE until it was seen in so many images.',
        change=ALWAYS,
        limits=(1, 1000),
    )

    propagation_weights: str = _parameter(
        '',
        'Path of the weights of a model that carries masks along, which has the detector beside it; empty: packaged.',
    )
    start_from: str = _parameter(
        'detections',
        'How objects begin that are carried along: with what the detector finds (detections), or only when '
        '~/track_object is called (service).',
        choices=('detections', 'service'),
    )
    carry: str = _parameter(
        '',
        'A model that carries the masks of identities through images in which the detector misses them (feelvos, rgmp, '
        'pts, maskrnn); empty: none. For models that detect.',
        choices=('', *PROPAGATION_CONFIGS),
    )
    max_objects: int = _parameter(
        _PROPAGATION.max_objects, 'At most so many objects are carried along per camera.', limits=(1, 100)
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, 'cameras', tuple(self.cameras))

    def association_config(self) -> AssociationConfig:
        """The settings of the identity memory. Raises ValueError where they contradict each other."""
        return replace(
            _ASSOCIATION,
            rule=cast(RuleName, self.association),
            new_track_score=self.new_track_score,
            max_age_s=self.max_age_s,
            max_identities=self.max_identities,
            min_hits=self.min_hits,
        )

    @property
    def propagation_model(self) -> str:
        """The network that carries masks along, in whatever role; '' for none."""
        return self.model if self.propagates else self.carry

    @property
    def propagates(self) -> bool:
        """Whether the model carries masks along."""
        return self.model in PROPAGATION_CONFIGS

    def propagate_config(self) -> PropagateConfig:
        """The settings of a tracker that carries masks along."""
        return replace(
            _PROPAGATION,
            start_from_detections=self.start_from == 'detections',
            max_objects=self.max_objects,
            new_track_score=self.new_track_score,
            max_age_s=self.max_age_s,
        )

    def input_size(self) -> tuple[int, int] | None:
        """(height, width) for the engine, None for the model's own. Raises ValueError if only one is given."""
        if bool(self.input_height) != bool(self.input_width):
            raise ValueError(
                f'input_height is {self.input_height} and input_width is {self.input_width}: set both, or leave both 0'
            )
        return (self.input_height, self.input_width) if self.input_height else None

    def with_changes(self, changes: Iterable[Parameter[Any]]) -> Parameters:
        """The values after some ROS parameters change; foreign ones (use_sim_time) are passed over."""
        names = {item.name for item in fields(self)}
        return replace(self, **{change.name: change.value for change in changes if change.name in names})


def declare(node: Node) -> dict[str, str]:
    """Declare every parameter on a node.

    Returns:
        For each parameter whose value in a file or on the command line cannot be taken: its name and why. It then has
        its default; the node decides what to do about that, rather than die in its constructor.
    """
    faults = {}
    for item in fields(Parameters):
        default: Any = list(item.default) if isinstance(item.default, tuple) else item.default
        try:
            node.declare_parameter(item.name, default, _descriptor(item))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            faults[item.name] = f'parameter {item.name}: {error}'
            node.declare_parameter(item.name, default, _descriptor(item), ignore_override=True)
    return faults


def read(node: Node) -> Parameters:
    """The values as they are now."""
    return Parameters(**{item.name: node.get_parameter(item.name).value for item in fields(Parameters)})


def check(changes: Iterable[Parameter[Any]], configured: bool) -> SetParametersResult:
    """Whether parameters may take new values: what types, ranges and read-only flags do not say already."""
    known = {item.name: item for item in fields(Parameters)}
    for change in changes:
        if change.name not in known:
            continue
        reason = _objection(known[change.name], change.value, configured)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _objection(item: Field[Any], value: Any, configured: bool) -> str:
    choices, limits = item.metadata['choices'], item.metadata['limits']
    if limits and not limits[0] <= value <= limits[1]:  # rclpy lets pass what is very near
        return f'{item.name} is {value}, but must be from {limits[0]} to {limits[1]}'
    if configured and item.metadata['change'] == UNCONFIGURED:
        return f'{item.name} can change only while the node is unconfigured: deactivate and clean it up first'
    if choices and value not in choices:
        return f'{item.name} is {value!r}, but must be one of {", ".join(choices)}'
    if item.name == 'cameras':
        return _objection_to_cameras(value)
    if item.name == 'device' and not re.fullmatch(r'auto|cpu|cuda(:\d+)?', value):
        return f'device is {value!r}, but must be auto, cpu, cuda or cuda:N'
    return ''


def _objection_to_cameras(names: Any) -> str:
    if tuple(names) == ('',):
        return ''
    if not names:
        return "cameras is empty: one camera without a prefix is ['']"
    for name in names:
        if not _CAMERA.fullmatch(name):
            return f'cameras has {name!r}, which is not a ROS name (letters, digits, _ and /, beginning with a letter)'
    if len(set(names)) < len(names):
        return f'cameras is {list(names)}: a name is there twice'
    return ''


def _descriptor(item: Field[Any]) -> ParameterDescriptor:
    limits, change = item.metadata['limits'], item.metadata['change']
    descriptor = ParameterDescriptor(
        name=item.name, description=item.metadata['description'], read_only=change == AT_START
    )
    constraints = []
    if item.metadata['choices']:
        constraints.append(f'One of {", ".join(item.metadata["choices"])}.')
    if change == UNCONFIGURED:
        constraints.append('Can change only while the node is unconfigured.')
    descriptor.additional_constraints = ' '.join(constraints)
    if limits and isinstance(item.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1], step=0.0)]
    elif limits:
        descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]), step=1)]
    return descriptor
