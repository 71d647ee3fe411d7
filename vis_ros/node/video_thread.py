"""VideoThread: decodes the video of one camera while the network is busy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from vis_ros.video.video_decoder import NoPixels, PacketError, Pixels, VideoDecoder
from vis_ros.video.video_packet import VideoPacket

MOST_WAITING = 60
"""Packets that may wait to be decoded: a decoder that is further behind never catches up."""


class VideoThread:
    """Decodes every packet, in the order of arrival, in a thread of its own.

    Args:
        deliver: called in that thread with each message that has an image, and its pixels.
        refuse: called with the reason for each message that has none, in any thread.

    Raises:
        ValueError: PyAV is not installed.
    """

    def __init__(self, deliver: Callable[[bytes, Pixels], None], refuse: Callable[[str], None]) -> None:
        self._deliver = deliver
        self._refuse = refuse
        self._decoder: VideoDecoder[bytes] = VideoDecoder(self._lost)
        self._waiting: deque[tuple[bytes, VideoPacket]] = deque()
        self._stopped = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name='vis_video_in', daemon=True).start()

    def put(self, message: bytes, packet: VideoPacket) -> None:
        """Decode the packet of a message next."""
        with self._changed:
            too_many = len(self._waiting) if len(self._waiting) >= MOST_WAITING else 0
            if too_many:
                self._waiting.clear()
            self._waiting.append((message, packet))
            self._changed.notify()
        for _ in range(too_many):
            self._refuse('this machine decodes the video slower than it arrives')

    def stop(self) -> None:
        """Drop what waits, and end the thread after the packet in progress."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                message, packet = self._waiting.popleft()
            try:
                images = self._decoder.put(message, packet)
            except Exception as error:
                self._refuse(f'{type(error).__name__}: {error}')
                continue
            for shown, pixels in images:
                if self._stopped:
                    return
                if isinstance(pixels, NoPixels):
                    self._refuse(str(pixels.error))
                else:
                    self._deliver(shown, pixels)

    def _lost(self, message: bytes, error: PacketError) -> None:
        self._refuse(str(error))
