"""Topics of bags: message types that this package reads and writes, and names of topics."""

from __future__ import annotations

import re
from dataclasses import dataclass

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
FFMPEG_TYPE = 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'
FOXGLOVE_VIDEO_TYPE = 'foxglove_msgs/msg/CompressedVideo'
VIDEO_TYPES = (FFMPEG_TYPE, FOXGLOVE_VIDEO_TYPE)
"""Messages with one packet of a video each, which needs the packets before it. A CompressedImage can have one too."""

IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_TYPE, *VIDEO_TYPES)

TRANSPORTS = {
    'raw': IMAGE_TYPE,
    'compressed': COMPRESSED_TYPE,
    'ffmpeg': FFMPEG_TYPE,
    'foxglove': FOXGLOVE_VIDEO_TYPE,
}
"""Transport of images, as image_transport names it -> type of the messages. Topics of all but raw end in its name."""

CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
INSTANCES_TYPE = 'vis_ros/msg/InstanceMaskArray'

CAMERA_NAMES = 'use letters, digits, _ and /, each part starting with a letter'
"""What the name of a camera may be, in words."""

_CAMERA = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*')


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, the type of its messages ('sensor_msgs/msg/Image') and their number."""

    name: str
    type: str
    count: int

    def __str__(self) -> str:
        return f'{self.name} ({self.type.rsplit("/", 1)[-1]}, {self.count})'


def transport_of(topic: str) -> str:
    """The transport of an image topic, by the last part of its name.

    >>> transport_of('/camera/image/ffmpeg'), transport_of('/camera/image')
    ('ffmpeg', 'raw')
    """
    last = topic.rpartition('/')[2]
    return last if last in TRANSPORTS else 'raw'


def absolute(name: str) -> str:
    """The name of a topic with its leading slash, which users may leave out."""
    return '/' + name.lstrip('/')


def ignored_topic(instances: str) -> str:
    """The topic of an annotation's ignored regions, for the topic of its arrays: /truth/ignored/compressed."""
    return f'{instances.removesuffix("/instances")}/ignored/compressed'


def is_camera_name(name: str) -> bool:
    """Whether a camera can have this name, of which topics are made: topics that start with _ are hidden.

    >>> is_camera_name('head/left'), is_camera_name('_left')
    (True, False)
    """
    return bool(_CAMERA.fullmatch(name))


def topic_name(text: str) -> str:
    """A name as one part of a topic: letters, digits and underscores, not starting with a digit.

    >>> topic_name('bmx-trees')
    'bmx_trees'
    """
    name = re.sub(r'[^A-Za-z0-9_]', '_', text) or '_'
    return f'_{name}' if name[0].isdigit() else name
