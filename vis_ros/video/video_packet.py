"""VideoPacket: one packet of a stream of H.264 or H.265 in Annex B, which has one image, and what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from vis_ros.image_headers import ImageError

H264, H265 = 'h264', 'hevc'
"""The codecs that are read, by the names that FFmpeg has for them."""

HEADER_BYTES = 512
"""More than a slice header up to the number of its picture, or the parameters of a sequence, ever have."""

_START = re.compile(rb'\x00\x00\x01')


@dataclass(frozen=True)
class VideoPacket:
    """One packet of a stream: the codec, H264 or H265, and the bytes."""

    codec: str
    data: bytes


@dataclass(frozen=True)
class PacketHeader:
    """What a packet is.

    has_picture: False if it has nothing but parameters.
    is_key: decoding can start here.
    is_clean: no later packet needs one before it.
    is_gradual: of a key, that the images are whole only some packets later.
    is_reference: later packets may need this one.
    lacks: one before it was lost, which it may need.
    """

    has_picture: bool
    is_key: bool
    is_clean: bool
    is_gradual: bool
    is_reference: bool
    lacks: bool


class PacketHeaders(Protocol):
    """Reads the headers of the packets of one stream, in order.

    The pictures of a stream are numbered. By the numbers a loss is noticed where a decoder does not notice it.
    """

    def read(self, data: bytes) -> PacketHeader:
        """The header of the next packet. Raises ImageError if it is no Annex B."""

    def forget(self) -> None:
        """Expect any picture next."""


def codec_of(text: str) -> str | None:
    """H264 or H265 by the name of a codec or encoder, or the format of a message; None for anything else.

    >>> codec_of('libx264'), codec_of('hevc;yuv420p;bgr8;bgr8'), codec_of('bgr8; jpeg compressed bgr8')
    ('h264', 'hevc', None)
    """
    name = text.partition(';')[0].strip().lower()
    if '264' in name or name in ('avc', 'avc1'):
        return H264
    return H265 if '265' in name or 'hevc' in name else None


def unit_starts(data: bytes) -> list[int]:
    """Where the NAL units of a packet start, after their start codes. Raises ImageError if there are none."""
    starts = [match.end() for match in _START.finditer(data) if match.end() + 1 < len(data)]
    if not starts:
        first = data[:4].hex(' ') or 'nothing'
        raise ImageError(f'video packet without start code (Annex B): its {len(data)} bytes start with {first}')
    return starts
