"""InstanceMaskArray to `Instances`, and images to messages. Needs no node, clock or rclpy context, and ROS only for
ROS's messages.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.masks.encodings import MASK_NONE, decode
from vis_ros.ros.new_message import NewMessage, ros_message
from vis_ros.ros.stamps import nanoseconds

_JPEG_QUALITY = 80


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


def to_jpeg(pixels: NDArray[np.uint8], header: Any) -> Any:
    """A CompressedImage of (H, W, 3) BGR pixels, as compressed_image_transport writes it."""
    message = ros_message('sensor_msgs/msg/CompressedImage')
    message.header, message.format = header, 'bgr8; jpeg compressed bgr8'
    message.data.frombytes(cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].data)
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
