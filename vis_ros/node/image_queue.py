"""ImageQueue: the images of one camera that arrived and are not processed yet: the newest one, at most two."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from vis_ros.image_headers import ImageError
from vis_ros.ros.serialized_images import read_header
from vis_ros.ros.stamps import nanoseconds
from vis_ros.video.video_decoder import Pixels


@dataclass(frozen=True)
class ArrivedImage:
    """A serialized image message.

    stamp_ns: of its header, None if it is invalid.
    time: of arrival, of `time.monotonic`.
    pixels: of a video, whose packets are decoded on arrival; None for an image of its own.
    """

    data: bytes
    stamp_ns: int | None
    time: float
    pixels: Pixels | None = None

    @classmethod
    def now(cls, data: bytes) -> ArrivedImage:
        """A message that arrives now."""
        try:
            stamp_ns = nanoseconds(read_header(data))
        except ImageError:  # refused when the image is read
            stamp_ns = None
        return cls(data, stamp_ns, time.monotonic())


Wait = Callable[[ArrivedImage], float]
"""How many more seconds an image should wait for its depth image; 0 or less if it need not."""


class ImageQueue:
    """A new image replaces those that wait for the network. An image that only waits for its depth image is not
    replaced but processed as it is, before the new one: at high rates, none would be processed otherwise.

    Safe from any thread. Messages are not deserialized here, because most may be replaced.
    """

    def __init__(self, wait: Wait | None) -> None:
        self._wait = wait
        self._images: deque[ArrivedImage] = deque()
        self._lock = threading.Lock()

    def put(self, image: ArrivedImage) -> int:
        """Add an image. Returns how many it replaces."""
        with self._lock:
            waits_for_depth = len(self._images) == 1 and self._wait_s(self._images[0]) > 0
            replaced = 0 if waits_for_depth else len(self._images)
            if replaced:
                self._images.clear()
            self._images.append(image)
            return replaced

    def take(self) -> ArrivedImage | None:
        """Remove and return the next image to process."""
        with self._lock:
            return self._images.popleft() if self._images else None

    def clear(self) -> int:
        """Remove all images. Returns how many there were."""
        with self._lock:
            count = len(self._images)
            self._images.clear()
            return count

    def wait_s(self) -> float | None:
        """Seconds until the next image should be processed, 0 or less if at once; None without an image."""
        with self._lock:
            if not self._images:
                return None
            return 0.0 if len(self._images) > 1 else self._wait_s(self._images[0])

    def _wait_s(self, image: ArrivedImage) -> float:
        return 0.0 if self._wait is None else self._wait(image)
