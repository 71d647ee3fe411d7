"""VideoThread: decodes the video of one camera while the network is busy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from vis_ros.node.image_queue import ArrivedImage
from vis_ros.video.video_decoder import NoPixels, PacketError, VideoDecoder
from vis_ros.video.video_packet import VideoPacket

MOST_WAITING = 60
"""Packets that may wait to be decoded: a decoder that is further behind never catches up."""

_TOO_SLOW = 'this machine decodes the video slower than it arrives'


class VideoThread:
    """Decodes every packet, in the order of arrival, in a thread of its own.

    Args:
        deliver: called in that thread with each message that has an image, with its pixels.
        refuse: called with the reason for each message that has none, in any thread.

    Raises:
        ValueError: PyAV is not installed.
    """

    def __init__(self, deliver: Callable[[ArrivedImage], None], refuse: Callable[[str], None]) -> None:
        self._deliver = deliver
        self._refuse = refuse
        self._decoder: VideoDecoder[ArrivedImage] = VideoDecoder(self._lost)
        self._waiting: deque[tuple[ArrivedImage, VideoPacket]] = deque()
        self._stopped = self._left_out = False
        self._open = 0  # messages that are neither delivered nor refused
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name='vis_video_in', daemon=True).start()

    def put(self, message: ArrivedImage, packet: VideoPacket) -> None:
        """Decode the packet of a message next."""
        with self._changed:
            too_many = len(self._waiting) if len(self._waiting) >= MOST_WAITING else 0
            if too_many:
                self._waiting.clear()
                self._left_out = True
            self._waiting.append((message, packet))
            self._open += 1 - too_many
            self._changed.notify()
        for _ in range(too_many):
            self._refuse(_TOO_SLOW)

    def stop(self) -> int:
        """Drop what waits, and end the thread after the packet in progress. Returns how many messages were dropped,
        those in the decoder included, which are neither delivered nor refused any more.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify()
            return self._open

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                message, packet = self._waiting.popleft()
                left_out, self._left_out = self._left_out, False
            try:
                images = self._decoder.lose(_TOO_SLOW) if left_out else []
                images += self._decoder.put(message, packet)
            except Exception as error:
                self._settle_without_image(f'{type(error).__name__}: {error}')
                continue
            for shown, pixels in images:
                if isinstance(pixels, NoPixels):
                    self._settle_without_image(str(pixels.error))
                elif self._settle():
                    self._deliver(replace(shown, pixels=pixels))

    def _lost(self, message: ArrivedImage, error: PacketError) -> None:
        self._settle_without_image(str(error))

    def _settle_without_image(self, reason: str) -> None:
        if self._settle():
            self._refuse(reason)

    def _settle(self) -> bool:
        """One message less is open. Returns False if `stop` has dropped it."""
        with self._changed:
            self._open -= not self._stopped
            return not self._stopped
