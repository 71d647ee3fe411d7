"""Routes: which image topic of a recording goes to which camera of a running node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vis_ros.replay.live.running_node import TargetCamera
from vis_ros.replay.live.timed_images import TimedImages


@dataclass(frozen=True)
class Route:
    """A topic of the recording ('' where it has none) and the camera that gets its images."""

    recorded: str
    camera: TargetCamera

    def __str__(self) -> str:
        return f'{self.recorded or "images"} on {self.camera.image_topic}'


def find_routes(
    images: TimedImages, cameras: Sequence[TargetCamera], topic: str | None, chosen: Mapping[str, str | None] | None
) -> list[Route]:
    """The routes of a live replay, at least one.

    Args:
        images: the recording.
        cameras: of the node.
        topic: the one topic to play, or None.
        chosen: name of a camera -> topic of the recording (None: the one with its name), or None.

    Raises:
        ValueError: they do not fit; says which topics and cameras there are.
    """
    if chosen:
        pairs = [(_topic_of(images, name, recorded), _camera(cameras, name)) for name, recorded in chosen.items()]
    else:
        recorded_topics = [_topic(images, topic)] if topic else list(images.topics)
        named = {camera.image_topic: camera for camera in cameras}
        pairs = [(recorded, named[recorded]) for recorded in recorded_topics if recorded in named]
        if not pairs and len(recorded_topics) == len(cameras) == 1:
            pairs = [(recorded_topics[0], cameras[0])]
    if not pairs:
        raise ValueError(
            f'{images.description} has {_listed(images)}, but the node listens to '
            f'{", ".join(camera.image_topic for camera in cameras)}: choose with --topic or --camera, or remap the '
            'image topic of the node'
        )
    for recorded, camera in pairs:
        kind, wanted = (each.rpartition('/')[2] for each in (images.topics[recorded], camera.image_type))
        if kind != wanted:
            transport = 'compressed' if wanted == 'Image' else 'raw'
            raise ValueError(
                f'{recorded or images.description} has messages of type {kind}, but the node listens to {wanted} on '
                f'{camera.image_topic}: start it with the parameter image_transport:={transport}'
            )
    return [Route(recorded, camera) for recorded, camera in pairs]


def _topic(images: TimedImages, topic: str) -> str:
    absolute = '/' + topic.lstrip('/')
    if absolute not in images.topics:
        raise ValueError(f'{images.description} has no images on the topic {topic}; it has {_listed(images)}')
    return absolute


def _topic_of(images: TimedImages, name: str, topic: str | None) -> str:
    compressed = f'/{name}/image/compressed'
    return _topic(images, topic or (compressed if compressed in images.topics else f'/{name}/image'))


def _camera(cameras: Sequence[TargetCamera], name: str) -> TargetCamera:
    for camera in cameras:
        if camera.name == name:
            return camera
    there = ', '.join(camera.name or 'one without a name' for camera in cameras)
    raise ValueError(f'the node has no camera {name}; it has {there}')


def _listed(images: TimedImages) -> str:
    topics = [f'{name} ({kind.rpartition("/")[2]})' for name, kind in images.topics.items() if name]
    return ', '.join(topics) or 'no topics'
