"""BagDepth: the depth beside the images of one camera in a bag."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.images import ImageError, decode_depth
from vis_ros.positions import DEPTH_TOLERANCE_NS, CameraModel
from vis_ros.recordings.bags import IMAGE_TYPE, BagError, BagReader, Topic, deserialize, read_header
from vis_ros.ros.camera_info import camera_model

CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'

_MOST_KEPT = 128
"""Depth images that wait for the image that they belong to."""


@dataclass(frozen=True)
class DepthTopics:
    """Names of the topics: depth that is registered to the images, and their calibration. rectified: the images are."""

    depth: str
    camera_info: str
    rectified: bool = False


class BagDepth:
    """Takes the messages of both topics as they were recorded, and gives the depth of an image by its stamp.

    topics: of the bag, to be read with the images.

    Raises ValueError where the bag does not have them.
    """

    def __init__(self, reader: BagReader, wanted: DepthTopics) -> None:
        self._depth_topic = _choose(reader, wanted.depth, IMAGE_TYPE)
        self.topics = (self._depth_topic, _choose(reader, wanted.camera_info, CAMERA_INFO_TYPE))
        self._rectified = wanted.rectified
        self.restart()

    def restart(self) -> None:
        """The bag is read from its start."""
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=_MOST_KEPT)
        self._camera: CameraModel | None = None
        self._has_fitted = False

    def take(self, topic: Topic, data: bytes) -> None:
        """The next message of one of the topics. One that cannot be read is as if it were not there."""
        if topic == self._depth_topic:
            try:
                stamp_ns, _ = read_header(data)
            except BagError:
                return
            self._waiting.append((stamp_ns, data))
        elif self._camera is None:
            with suppress(BagError):
                self._camera = camera_model(deserialize(data, CAMERA_INFO_TYPE), self._rectified)

    def at(self, stamp_ns: int) -> tuple[NDArray[np.generic], CameraModel] | None:
        """Depth (H, W) and camera of an image; None where there is none near enough in time, or it cannot be read.

        Images are asked for in their order: what is too old for one is not kept for those after it.
        """
        near = [each for each in self._waiting if abs(each[0] - stamp_ns) <= DEPTH_TOLERANCE_NS]
        self._waiting = deque((each for each in self._waiting if each[0] >= stamp_ns - DEPTH_TOLERANCE_NS), _MOST_KEPT)
        if not near or self._camera is None:
            return None
        _, data = min(near, key=lambda each: abs(each[0] - stamp_ns))
        try:
            message = deserialize(data, IMAGE_TYPE)
            depth = decode_depth(
                message.encoding, message.height, message.width, message.step, bool(message.is_bigendian), message.data
            )
        except (BagError, ImageError):
            return None
        self._has_fitted |= depth.shape == self._camera.size
        # One odd image among others is left out; where none has ever fitted, whoever uses it says what is wrong.
        return None if self._has_fitted and depth.shape != self._camera.size else (depth, self._camera)


def _choose(reader: BagReader, name: str, kind: str) -> Topic:
    found = [topic for topic in reader.of_type(kind) if topic.name == '/' + name.lstrip('/') and topic.count]
    if not found:
        listed = ', '.join(map(str, reader.of_type(kind))) or 'none'
        raise ValueError(f'{reader.path} has no {kind} on the topic {name}; of that type it has {listed}')
    return found[0]
