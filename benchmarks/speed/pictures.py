"""Pictures: what the cameras of a benchmark see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from vis_ros.ros.messages import to_image
from vis_ros.synthetic.scene import Scene

_COUNT = 12
_LENGTH, _STEP = 150, 3  # of the scene, in frames, and from one picture to the next


class Pictures:
    """Frames of the demo's scene in files, drawn once for each size.

    Args:
        folder: takes them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, size: tuple[int, int]) -> Path:
        """The .npy file (N, height, width, 3) uint8 BGR of pictures of (height, width) pixels."""
        path = self._folder / f'pictures_{size[0]}x{size[1]}.npy'
        if not path.exists():
            scene = Scene(seed=0, size=size, frames=_LENGTH)
            first = _LENGTH // 4  # most of the objects are in the picture
            np.save(path, np.stack([scene.frame(first + _STEP * index).image for index in range(_COUNT)]))
        return path


def serialised(pictures: Sequence[NDArray[np.uint8]]) -> list[bytes]:
    """The pictures as sensor_msgs/Image, bgr8, as they come out of DDS."""
    return [
        bytes(serialize_message(to_image(picture, 'bgr8', Header(frame_id='benchmark_optical_frame'))))
        for picture in pictures
    ]
