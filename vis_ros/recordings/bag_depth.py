"""BagDepth: the depth images of one camera in a bag."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.images import ImageError, decode_depth
from vis_ros.positions import DEPTH_TOLERANCE_NS, CameraModel
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.cdr import deserialize, read_header
from vis_ros.recordings.topics import CAMERA_INFO_TYPE, IMAGE_TYPE, Topic, absolute
from vis_ros.ros.camera_info import camera_model
from vis_ros.ros.nearest_in_time import NearestInTime

_END_OF_STAMP = 12
"""Bytes of a serialized message up to the end of the stamp in its header."""

_MAX_WAITING = 128
"""Largest number of depth images that are kept for the images they belong to."""


@dataclass(frozen=True)
class DepthTopics:
    """Topics of the depth of a camera.

    depth: images that are registered to those of the camera; camera_info: their calibration.
    rectified: whether the camera's images are rectified.
    """

    depth: str
    camera_info: str
    rectified: bool = False


class BagDepth:
    """Takes the messages of both topics in the order of recording, and gives the depth of an image by its stamp.

    topics: of the bag, to be read together with the images.
    unusable: number of calibrations that were left out.
    frame_ids: of the depth and the calibration that `at` used last. Registered depth has the frame of its image.

    Raises ValueError if the bag does not have them.
    """

    def __init__(self, reader: BagReader, wanted: DepthTopics) -> None:
        self._depth_topic = _choose(reader, wanted.depth, IMAGE_TYPE)
        self.topics = (self._depth_topic, _choose(reader, wanted.camera_info, CAMERA_INFO_TYPE))
        self._rectified = wanted.rectified
        self.restart()

    def restart(self) -> None:
        """Forget everything: the bag is read from its start."""
        self._waiting: NearestInTime[bytes] = NearestInTime(_MAX_WAITING)
        self._cameras: list[tuple[int, CameraModel]] = []
        self._info = b''
        self.unusable = 0
        self._unusable = ''  # why the last calibration that was left out is
        self._camera_frame_id = ''
        self._has_fitted = False
        self.frame_ids: tuple[str, str] | None = None

    def take(self, topic: Topic, data: bytes) -> None:
        """The next message of one of the topics; one that cannot be read is ignored."""
        if topic == self._depth_topic:
            with suppress(BagError):
                self._waiting.add(read_header(data)[0], data)
        elif data[_END_OF_STAMP:] != self._info:  # most drivers repeat it with each image
            self._take_info(data)

    def _take_info(self, data: bytes) -> None:
        try:
            info = deserialize(data, CAMERA_INFO_TYPE)
            stamp_ns, self._camera_frame_id = read_header(data)
        except BagError:
            return
        try:
            self._cameras.append((stamp_ns, camera_model(info, self._rectified)))
            self._info = data[_END_OF_STAMP:]
        except ValueError as error:
            self._unusable = str(error)
            self.unusable += 1

    def _camera_at(self, stamp_ns: int) -> CameraModel | None:
        """The last calibration that is not newer than an image, otherwise the first one; None if there is none."""
        while len(self._cameras) > 1 and self._cameras[1][0] <= stamp_ns:
            self._cameras.pop(0)
        return self._cameras[0][1] if self._cameras else None

    def at(self, stamp_ns: int, size: tuple[int, ...]) -> tuple[NDArray[np.generic], CameraModel] | None:
        """Depth (H, W) and camera of an image; None if no depth is near enough in time or it cannot be read.

        Ask in the order of the images: depth that is too old for one is not kept for later ones.

        Args:
            stamp_ns: of the image, in nanoseconds; size: its (height, width).

        Raises:
            ValueError: no calibration so far can be used.
        """
        if self._unusable and not self._cameras:
            raise ValueError(self._unusable)
        self._waiting.want(stamp_ns)
        nearest, camera = self._waiting.nearest(), self._camera_at(stamp_ns)
        self._waiting.forget_before(stamp_ns - DEPTH_TOLERANCE_NS)
        if nearest is None or abs(nearest[0] - stamp_ns) > DEPTH_TOLERANCE_NS or camera is None:
            return None
        try:
            depth = decode_depth(deserialize(nearest[1], IMAGE_TYPE))
        except (BagError, ImageError):
            return None
        self.frame_ids = read_header(nearest[1])[1], self._camera_frame_id
        fits = depth.shape == camera.size == size
        self._has_fitted |= fits
        # A single image of another size is left out; if none has ever fitted, the caller reports the sizes.
        return None if self._has_fitted and not fits else (depth, camera)


def _choose(reader: BagReader, name: str, kind: str) -> Topic:
    found = [topic for topic in reader.of_type(kind) if topic.name == absolute(name) and topic.count]
    if not found:
        listed = ', '.join(map(str, reader.of_type(kind))) or 'none'
        raise ValueError(f'{reader.path} has no {kind} on the topic {name}; topics of that type: {listed}')
    return found[0]
