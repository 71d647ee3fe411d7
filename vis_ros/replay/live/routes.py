"""Routes: which image topic of a recording is played to which camera of a running node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vis_ros.recordings.topics import TRANSPORTS
from vis_ros.replay.live.running_node import NodeCamera
from vis_ros.replay.live.timed_images import TimedImages


@dataclass(frozen=True)
class Route:
    """A topic of the recording ('' for a video or an image folder) and the camera that receives its images."""

    recorded_topic: str
    camera: NodeCamera

    def __str__(self) -> str:
        return f'{self.recorded_topic or "images"} on {self.camera.image_topic}'


def find_routes(
    images: TimedImages, cameras: Sequence[NodeCamera], topic: str | None, chosen: Mapping[str, str | None] | None
) -> list[Route]:
    """The routes of a live replay, at least one.

    Args:
        images: the recording.
        cameras: all cameras of the node.
        topic: the only topic to play, or None.
        chosen: camera name -> topic of the recording (None: the topic named after the camera), or None. If given, it
            takes precedence over `topic`.

    Raises:
        ValueError: topics and cameras do not match; the message lists both.
    """
    if chosen:
        pairs = [(_topic_for(images, name, topic), _camera(cameras, name)) for name, topic in chosen.items()]
    else:
        pairs = _pairs_by_name([_recorded(images, topic)] if topic else list(images.topics), cameras)
    if not pairs:
        raise ValueError(
            f'{images.description} has {_listed(images)}, but the node is subscribed to '
            f'{", ".join(camera.image_topic for camera in cameras)}: choose with --topic or --camera, or remap the '
            'image topic of the node'
        )
    for recorded_topic, camera in pairs:
        _check_type(images, recorded_topic, camera)
    return [Route(recorded_topic, camera) for recorded_topic, camera in pairs]


def _pairs_by_name(recorded_topics: list[str], cameras: Sequence[NodeCamera]) -> list[tuple[str, NodeCamera]]:
    """Topics and cameras of equal names; otherwise the only topic and the only camera, whatever their names are."""
    by_topic = {camera.image_topic: camera for camera in cameras}
    pairs = [(topic, by_topic[topic]) for topic in recorded_topics if topic in by_topic]
    if not pairs and len(recorded_topics) == len(cameras) == 1:
        pairs = [(recorded_topics[0], cameras[0])]
    return pairs


def _check_type(images: TimedImages, recorded_topic: str, camera: NodeCamera) -> None:
    recorded, expected = (name.rpartition('/')[2] for name in (images.topics[recorded_topic], camera.image_type))
    if recorded != expected:
        transport = next(name for name, kind in TRANSPORTS.items() if kind == images.topics[recorded_topic])
        raise ValueError(
            f'{recorded_topic or images.description} has messages of type {recorded}, but the node expects {expected} '
            f'on {camera.image_topic}: start it with the parameter image_transport:={transport}'
        )


def _recorded(images: TimedImages, topic: str) -> str:
    """The absolute name of a topic of the recording."""
    absolute = '/' + topic.lstrip('/')
    if absolute not in images.topics:
        raise ValueError(f'{images.description} has no images on the topic {topic}; it has {_listed(images)}')
    return absolute


def _topic_for(images: TimedImages, camera: str, topic: str | None) -> str:
    compressed = f'/{camera}/image/compressed'
    return _recorded(images, topic or (compressed if compressed in images.topics else f'/{camera}/image'))


def _camera(cameras: Sequence[NodeCamera], name: str) -> NodeCamera:
    for camera in cameras:
        if camera.name == name:
            return camera
    existing = ', '.join(camera.name or 'one without a name' for camera in cameras)
    raise ValueError(f'the node has no camera {name}; it has {existing}')


def _listed(images: TimedImages) -> str:
    topics = [f'{name} ({kind.rpartition("/")[2]})' for name, kind in images.topics.items() if name]
    return ', '.join(topics) or 'no topics'
