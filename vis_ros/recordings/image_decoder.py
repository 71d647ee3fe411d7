"""ImageDecoder: the serialized image messages of one topic as pixels, whatever their type."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic

from vis_ros.image_headers import ImageError
from vis_ros.images import Scale16
from vis_ros.recordings.cdr import read_image
from vis_ros.recordings.video_messages import read_video_packet
from vis_ros.video.video_decoder import Item, NoPixels, PacketError, Pixels, VideoDecoder


class ImageDecoder(Generic[Item]):
    """Takes every message of a topic, in the order of recording. Images of their own are decoded when they are asked
    for, video at once, because each packet needs those before it.

    Args:
        type: of the messages, one of IMAGE_TYPES.
        scale: how 16 bits become 8.
        lost: see `VideoDecoder`.
    """

    def __init__(self, type: str, scale: Scale16 | None, lost: Callable[[Item, PacketError], None]) -> None:
        self._type = type
        self._scale = scale
        self._lost = lost
        self._video: VideoDecoder[Item] | None = None

    def take(self, item: Item, data: bytes) -> list[tuple[Item, Pixels]]:
        """Take the next message. Returns the images that are complete, each with the item of its message.

        Raises:
            ValueError: it has video, and PyAV is not installed.
        """
        try:
            packet = read_video_packet(data, self._type)
        except ImageError as error:
            return [(item, NoPixels(error))]
        if packet is None:
            return [(item, partial(read_image, data, self._type, self._scale))]
        if self._video is None:
            self._video = VideoDecoder(self._lost)
        return self._video.put(item, packet)

    def end(self) -> list[tuple[Item, Pixels]]:
        """The images that still wait for others, at the end of the recording."""
        return [] if self._video is None else self._video.end()
