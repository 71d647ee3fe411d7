"""VideoDecoder: the packets of one H.264 or H.265 stream as images, through PyAV."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vis_ros.extras import require
from vis_ros.image_headers import LARGEST_IMAGE, ImageError
from vis_ros.video.h264_headers import H264Headers
from vis_ros.video.h265_headers import H265Headers
from vis_ros.video.video_packet import H264, H265, PacketHeaders, VideoPacket

BEFORE_KEY = 'before the first key frame'
AFTER_LOSS = 'after a lost or damaged video packet'
NO_PICTURE, REPEATED = 'unreadable', 'recorded twice'
"""Why a packet gives no image: values of `PacketError.reason`."""

Item = TypeVar('Item')
Pixels = Callable[[], NDArray[np.uint8]]
"""Gives the pixels of an image, (H, W, 3) uint8 BGR, or raises ImageError."""


class PacketError(ImageError):
    """A packet of a video gives no image. reason: in words, the same for all packets that have none for this reason."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


_MISSES_PICTURES = (62,)
"""The version of libavcodec from which on an H.265 decoder reports pictures that are missing: that of FFmpeg 8."""

_RECENT = 4
"""Packets among which a repeated one is looked for. In a still scene, an encoder may repeat itself after 16."""

_NO_KEY = BEFORE_KEY, 'a video packet needs the key frame before it, which is not there'


class VideoDecoder(Generic[Item]):
    """Decodes every packet of a stream, in the order of the stream; images come in the order of display.

    A decoder gives an image later than its packet where others are displayed before it, so each packet comes with an
    item, which comes back with the image. A packet that is lost or damaged spoils those after it, which give no image
    until the next key frame. Pixels are converted when they are asked for.

    lost: called with the item of a packet for which the decoder, later on, gave no image.
    """

    def __init__(self, lost: Callable[[Item, PacketError], None]) -> None:
        require('video', 'an image topic with H.264 or H.265 video')
        self._lost = lost
        self._codec = ''
        self._context: Any = None
        self._headers: PacketHeaders = H264Headers()
        self._missing: tuple[str, str] | None = _NO_KEY  # why packets give no image now: reason and problem
        self._leads = False  # whether the next packets may need some before the key frame, being displayed before it
        self._pending: dict[int, Item] = {}
        self._number = 0
        self._recent: deque[bytes] = deque(maxlen=_RECENT)  # packets that are no key frames

    def put(self, item: Item, packet: VideoPacket) -> list[tuple[Item, Pixels]]:
        """Decode the next packet. Returns the images that are complete, each with its item, and the packet itself if it
        gives none, with NoPixels.
        """
        images: list[tuple[Item, Pixels]] = []
        try:
            if packet.codec != self._codec:
                images += self._start(packet.codec)
            if packet.data in self._recent:  # read again, it would look like a loss, or displace a picture
                raise PacketError(REPEATED, 'the video packet is one of those before it again')
            header = self._headers.read(packet.data)
            if not header.has_picture:
                self._feed(packet.data)
                raise PacketError(NO_PICTURE, 'a video packet has parameters but no picture')
            if not header.is_key:
                self._recent.append(packet.data)
            if header.lacks and self._missing is None:
                images += self._stop('one before it is missing')
            if header.is_key:
                images += self._flush() if header.is_clean and self._missing is None else []
                self._leads = self._missing is not None and not (header.is_clean or header.is_gradual)
                self._missing = None
            if self._missing is not None:
                raise PacketError(*self._missing)
            self._pending[self._number] = item
            frames = self._feed(packet.data)
            if frames is None:
                del self._pending[self._number]
                refusal = self._refusal(packet)
                images += self._stop(refusal) if header.is_reference and not self._leads else []
                raise PacketError(NO_PICTURE, refusal)
            self._leads &= header.is_key
            images += self._images(frames)
        except ImageError as error:
            images.append((item, NoPixels(error)))
        self._number += 1
        return images

    def lose(self, cause: str) -> list[tuple[Item, Pixels]]:
        """Packets before the next one are left out, which `put` does not always notice: pictures are numbered modulo 16
        or more. Returns the images before them.
        """
        return self._stop(cause) if self._context is not None else []

    def end(self) -> list[tuple[Item, Pixels]]:
        """The images that the decoder still holds, at the end of the stream."""
        return self._flush() if self._context is not None else []

    def _start(self, codec: str) -> list[tuple[Item, Pixels]]:
        import av

        if codec == H265 and av.library_versions['libavcodec'] < _MISSES_PICTURES:
            raise ImageError(
                f'H.265 needs PyAV 16 or later, and this is {av.__version__}, which decodes what was damaged or lost '
                'without a word: pip install -U av'
            )
        images = self.end()
        self._codec, self._missing = codec, _NO_KEY
        self._headers = H264Headers() if codec == H264 else H265Headers()
        self._context = av.CodecContext.create(codec, 'r')
        self._context.thread_count = 1  # more would delay the images
        # Without "explode" the decoder makes up what is missing.
        self._context.options = {'err_detect': 'explode', 'max_pixels': str(LARGEST_IMAGE)}
        return images

    def _feed(self, data: bytes) -> list[Any] | None:
        """The frames that are complete after these bytes; None if they cannot be decoded."""
        import av

        packet = av.Packet(data)
        packet.pts = self._number
        try:
            return list(self._context.decode(packet))
        except av.FFmpegError:
            return None

    def _flush(self) -> list[tuple[Item, Pixels]]:
        """Return the images that the decoder still holds, and reset it. It keeps the parameter sets of the stream."""
        import av

        try:
            images = self._images(self._context.decode(None))
        except av.FFmpegError:
            images = []
        self._context.flush_buffers()
        for item in self._pending.values():
            self._lost(item, PacketError(NO_PICTURE, 'the decoder gave no image for a video packet'))
        self._pending.clear()
        return images

    def _stop(self, cause: str) -> list[tuple[Item, Pixels]]:
        """The images before a loss; what follows waits for a key frame."""
        images = self._flush()
        self._headers.forget()
        self._missing = AFTER_LOSS, f'a video packet needs one that was lost or damaged: {cause}'
        return images

    def _images(self, frames: list[Any]) -> list[tuple[Item, Pixels]]:
        found = [(self._pending.pop(frame.pts, None), frame) for frame in frames]
        return [(item, _pixels(frame)) for item, frame in found if item is not None]

    def _refusal(self, packet: VideoPacket) -> str:
        width, height = self._context.width, self._context.height
        if width * height > LARGEST_IMAGE:
            return f'the video has {width}x{height} pixels, more than the limit of {LARGEST_IMAGE}'
        return f'a video packet ({packet.codec}, {len(packet.data)} bytes) is damaged, or needs one that is missing'


def _pixels(frame: Any) -> Pixels:
    return lambda: np.ascontiguousarray(frame.to_ndarray(format='bgr24'), np.uint8)


class NoPixels:
    """In place of the pixels of an image that has none: a call raises the error."""

    def __init__(self, error: ImageError) -> None:
        self.error = error

    def __call__(self) -> NDArray[np.uint8]:
        raise self.error
