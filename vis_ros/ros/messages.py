"""`Instances` to InstanceMaskArray and back. Needs no node, clock or rclpy context, and ROS only for ROS's messages."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import CONFIRMED, Instances
from vis_ros.masks.crop import areas_and_centroids
from vis_ros.masks.encodings import ENCODINGS, MASK_NONE, decode, encoded, encoding_name
from vis_ros.ros.new_message import NewMessage, ros_message
from vis_ros.ros.stamps import nanoseconds, to_duration, to_time

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


def to_message(
    instances: Instances,
    context: MessageContext,
    mask_encoding: str = 'mono8',
    mask_data: Sequence[bytes] | None = None,
    new: NewMessage = ros_message,
) -> Any:
    """The InstanceMaskArray of one image. It uses `context.header` itself, not a copy.

    Args:
        instances: tracked, with class names, in any order. Objects without a track (id 0) are left out.
        context: all other fields.
        mask_encoding: a name of `vis_ros.masks.ENCODINGS`.
        mask_data: the encoded mask of each of the `instances`, if the caller has them already.
        new: makes the messages.

    Raises:
        ValueError: `instances` are not tracked, or the encoding is unknown.
    """
    if instances.track_ids is None:
        raise ValueError('Instances.track_ids is None: only tracked instances can become an InstanceMaskArray')
    message = new('vis_ros/msg/InstanceMaskArray')
    message.header = context.header
    message.image_height, message.image_width = instances.image_size
    message.epoch, message.sequence, message.dropped = context.epoch, context.sequence, context.dropped
    message.latency = to_duration(context.latency_ns, new)
    message.model = context.model
    ascending = np.argsort(instances.track_ids, kind='stable')
    shown = ascending[instances.track_ids[ascending] > 0].tolist()
    message.instances = [new('vis_ros/msg/InstanceMask') for _ in shown]
    _set_fields(message.instances, instances, shown, context.origin_ns, new)
    number, rois = ENCODINGS[encoding_name(mask_encoding)], instances.rois.tolist()
    areas, centroids = (each.tolist() for each in areas_and_centroids(instances.masks, instances.rois))
    for object, index in zip(message.instances, shown, strict=True):
        mask, (x0, y0, x1, y1), roi = instances.masks[index], rois[index], object.roi
        roi.x_offset, roi.y_offset, roi.width, roi.height = x0, y0, x1 - x0, y1 - y0
        object.area, (object.centroid_x, object.centroid_y) = areas[index], centroids[index]
        object.mask_encoding = number
        # Copied into the message's own array, because older distributions check an assigned array byte by byte.
        object.mask_data.frombytes(encoded(mask, number) if mask_data is None else mask_data[index])
    return message


def _set_fields(
    objects: Sequence[Any], instances: Instances, shown: list[int], origin_ns: int, new: NewMessage
) -> None:
    """Set all fields of the messages of some instances but those of the mask. Lists are read faster than arrays."""
    for name, values, default in (
        ('track_id', instances.track_ids, 0),
        ('state', instances.states, CONFIRMED),
        ('hits', instances.hits, 1),
        ('class_id', instances.class_ids, 0),
        ('score', instances.scores, 0.0),
        ('match_score', instances.match_scores, 1.0),
    ):
        every = [default] * len(instances) if values is None else values.tolist()
        for object, index in zip(objects, shown, strict=True):
            setattr(object, name, every[index])
    names = instances.names
    for object, index in zip(objects, shown, strict=True):
        object.class_name = names[index]
        where = _NOWHERE if instances.positions is None else instances.positions[index].tolist()
        object.position.x, object.position.y, object.position.z = where
        if instances.first_seen is not None:
            object.first_seen = to_time(origin_ns + round(float(instances.first_seen[index]) * 1e9), new)


def to_instances(message: Any) -> Instances:
    """The objects of an InstanceMaskArray of any class, in its order.

    The message has no float boxes and no embeddings: boxes are the integer windows. `first_seen` is in seconds since
    1970. Class names are those of the objects. Masks are empty where the message has none (MASK_NONE).

    Raises:
        ValueError: a mask does not fit its window, or a window does not fit the image.
    """
    objects = message.instances
    rois = np.array(
        [
            (r.x_offset, r.y_offset, r.x_offset + r.width, r.y_offset + r.height)
            for r in (object.roi for object in objects)
        ],
        np.int32,
    ).reshape(-1, 4)
    places = [object.position for object in objects]
    return Instances(
        image_size=(message.image_height, message.image_width),
        boxes=rois.astype(np.float32),
        scores=np.array([object.score for object in objects], np.float32),
        class_ids=np.array([object.class_id for object in objects], np.int32),
        rois=rois,
        masks=[_mask(object) for object in objects],
        track_ids=np.array([object.track_id for object in objects], np.uint32),
        match_scores=np.array([object.match_score for object in objects], np.float32),
        hits=np.array([object.hits for object in objects], np.uint32),
        states=np.array([object.state for object in objects], np.uint8),
        first_seen=np.array([(nanoseconds(object.first_seen) or 0) / 1e9 for object in objects], np.float64),
        positions=np.array([(place.x, place.y, place.z) for place in places], np.float32).reshape(-1, 3),
        class_names=_class_names(message),
    )


def _class_names(message: Any) -> tuple[str, ...]:
    """Class names by id, as far as the objects of the message have them."""
    known = {object.class_id: object.class_name for object in message.instances if object.class_id >= 0}
    return tuple(known.get(index, f'class {index}') for index in range(max(known, default=-1) + 1))


def _mask(object: Any) -> NDArray[np.uint8]:
    height, width = object.roi.height, object.roi.width
    if object.mask_encoding == MASK_NONE:
        return np.zeros((height, width), np.uint8)
    return decode(object.mask_data, object.mask_encoding, height, width)


def to_image(pixels: NDArray[Any], encoding: str, header: Any, new: NewMessage = ros_message) -> Any:
    """An Image message of (H, W) or (H, W, 3) pixels in the layout of `encoding`. `new` makes the message."""
    pixels = np.ascontiguousarray(pixels)
    message = new('sensor_msgs/msg/Image')
    message.header, message.encoding = header, encoding
    message.height, message.width = pixels.shape[:2]
    message.step = pixels.nbytes // message.height
    message.is_bigendian = sys.byteorder == 'big'
    message.data.frombytes(pixels.data.cast('B'))
    return message


def label_image(instances: Instances) -> NDArray[np.uint16]:
    """(H, W) uint16: for each pixel the index + 1 of its instance, 0 where there is none.

    Where masks overlap, the instance with the higher score is on top.
    """
    labels = np.zeros(instances.image_size, np.uint16)
    for index in np.argsort(instances.scores, kind='stable').tolist():
        x0, y0, x1, y1 = instances.rois[index]
        labels[y0:y1, x0:x1][instances.masks[index] != 0] = index + 1
    return labels
