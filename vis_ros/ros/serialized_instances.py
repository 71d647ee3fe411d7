"""`Instances` as a serialized InstanceMaskArray. Needs no node, clock or rclpy context, and no ROS."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import CONFIRMED, Instances
from vis_ros.masks.crop import areas_and_centroids
from vis_ros.masks.encodings import ENCODINGS, encoded, encoding_name
from vis_ros.ros.stamps import NS_PER_S

# The fields of an InstanceMask around its class name: in CDR, numbers are aligned to their size.
_BEFORE_NAME = struct.Struct('<IB3xIiIH2x')  # track_id, state, hits, first_seen, class_id
_AFTER_NAME = struct.Struct('<2f4I4xI2f')  # score, match_score, roi (do_rectify is false), area, centroid
_BEFORE_MASK = struct.Struct('<3dB3xI')  # position, mask_encoding, number of bytes of mask_data
_PADDING = tuple(bytes(count) for count in range(8))
_LATEST_NS = 2**31 * NS_PER_S - 1  # of a Time, whose seconds are an int32
_NOWHERE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class MessageContext:
    """The fields of an InstanceMaskArray that do not describe an object.

    header: a std_msgs/Header.
    origin_ns: stamp in nanoseconds from which `Instances.first_seen` counts its seconds. With 0 (seconds since 1970)
        float64 resolves `first_seen` to a quarter of a microsecond.
    """

    header: Any
    epoch: int
    sequence: int
    dropped: int
    model: str
    latency_ns: int = 0
    origin_ns: int = 0


@dataclass(frozen=True, eq=False)
class EncodedMasks:
    """The masks of N instances as messages have them, made by `encode_masks`.

    encoding: a value of ENCODINGS; data: of each mask; areas: (N,) pixels; centroids: (N, 2) x and y in pixels.
    """

    encoding: int
    data: Sequence[bytes | NDArray[np.uint8]]
    areas: NDArray[np.int64]
    centroids: NDArray[np.float64]


def encode_masks(instances: Instances, encoding: str = 'mono8') -> EncodedMasks:
    """Encode and measure the masks.

    Args:
        encoding: a name of `vis_ros.masks.ENCODINGS`.

    Raises:
        ValueError: the encoding is unknown.
    """
    number = ENCODINGS[encoding_name(encoding)]
    data = [encoded(mask, number) for mask in instances.masks]
    return EncodedMasks(number, data, *areas_and_centroids(instances.masks, instances.rois))


def serialized_instances(instances: Instances, context: MessageContext, masks: EncodedMasks) -> bytes:
    """The InstanceMaskArray of one image, as DDS and bags have it (CDR, XCDR1, little-endian).

    Making a message for ROS to serialize takes 2 ms longer for a hundred objects.

    Args:
        instances: tracked, with class names, in any order. Objects without a track (id 0) are left out.
        context: all other fields.
        masks: of the instances.

    Raises:
        ValueError: `instances` are not tracked.
    """
    if instances.track_ids is None:
        raise ValueError('Instances.track_ids is None: only tracked instances can become an InstanceMaskArray')
    ascending = np.argsort(instances.track_ids, kind='stable')
    shown = ascending[instances.track_ids[ascending] > 0]
    parts: list[Any] = [_head(context, instances.image_size, len(shown))]
    place = len(parts[0]) - 4  # numbers are aligned from behind the four bytes that name the encoding
    rows = zip(shown.tolist(), *_fields(instances, masks, shown, context.origin_ns), strict=True)
    for index, before_name, name, after_name, position in rows:
        data = masks.data[index]
        fields = _BEFORE_NAME.pack(*before_name) + name + _AFTER_NAME.pack(*after_name)
        fields += _PADDING[-(place + len(fields)) % 8] + _BEFORE_MASK.pack(*position, masks.encoding, len(data))
        end = _PADDING[-len(data) % 4]
        parts += fields, data, end
        place += len(fields) + len(data) + len(end)
    if len(shown):
        parts.pop()  # nothing follows the last object
    return b''.join(parts)


def _head(context: MessageContext, size: tuple[int, int], count: int) -> bytes:
    """What precedes `count` objects in an image of (height, width)."""
    stamp, numbers = context.header.stamp, (*size, context.epoch, context.sequence, context.dropped)
    return b''.join(
        [
            b'\0\1\0\0',  # little-endian CDR
            struct.pack('<iI', stamp.sec, stamp.nanosec),
            _text(context.header.frame_id),
            struct.pack('<5IiI', *numbers, *divmod(context.latency_ns, NS_PER_S)),
            _text(context.model),
            struct.pack('<I', count),
        ]
    )


def _text(text: str) -> bytes:
    """A string, which starts at a multiple of four bytes, and padding up to another one."""
    data = text.encode() + b'\0'
    return struct.pack('<I', len(data)) + data + _PADDING[-len(data) % 4]


def _fields(
    instances: Instances, masks: EncodedMasks, shown: NDArray[np.intp], origin_ns: int
) -> tuple[Iterable[Any], ...]:
    """Of each of the instances that are shown: the fields before its class name, that name, those after it, and its
    position.
    """

    def values(column: NDArray[Any] | None, default: Any) -> list[Any]:  # a list is read faster than an array
        return [default] * len(shown) if column is None else column[shown].tolist()

    seen_ns = np.zeros(len(shown), np.int64)
    if instances.first_seen is not None:
        seen_ns = np.clip(origin_ns + np.rint(instances.first_seen[shown] * 1e9).astype(np.int64), 0, _LATEST_NS)
    rois, names = instances.rois[shown], instances.names
    before_name = zip(
        values(instances.track_ids, 0),
        values(instances.states, CONFIRMED),
        values(instances.hits, 1),
        *(part.tolist() for part in np.divmod(seen_ns, NS_PER_S)),
        values(instances.class_ids, 0),
        strict=True,
    )
    after_name = zip(
        values(instances.scores, 0.0),
        values(instances.match_scores, 1.0),
        *rois[:, :2].T.tolist(),
        *(rois[:, [3, 2]] - rois[:, [1, 0]]).T.tolist(),  # height and width
        masks.areas[shown].tolist(),
        *masks.centroids[shown].T.tolist(),
        strict=True,
    )
    texts = {name: _text(name) for name in set(names)}
    return before_name, [texts[names[index]] for index in shown], after_name, values(instances.positions, _NOWHERE)
