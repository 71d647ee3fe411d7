"""What the bytes of a video packet say before anything is decoded: H.264 and H.265 in Annex B, one image a packet."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vis_ros.image_headers import ImageError

H264, H265 = 'h264', 'hevc'
"""The codecs that are read, by the names that FFmpeg has for them."""

_START = re.compile(rb'\x00\x00\x01')
_H264_SLICES, _H264_IDR, _H264_SEI, _H264_SPS = range(1, 6), 5, 6, 7
_RECOVERY_POINT = 6
_H265_SLICES, _H265_KEYS, _H265_IDR = range(32), range(16, 24), range(16, 21)
_HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles of H.264 whose sequence parameters say how colors are sampled."""
_HEADER_BYTES = 512
"""More than a slice header up to its frame number, or the sequence parameters, ever have."""


def codec_of(text: str) -> str | None:
    """H264 or H265 by the name of a codec or encoder, or the format of a message; None for anything else.

    >>> codec_of('libx264'), codec_of('hevc;yuv420p;bgr8;bgr8'), codec_of('bgr8; jpeg compressed bgr8')
    ('h264', 'hevc', None)
    """
    name = text.partition(';')[0].strip().lower()
    if '264' in name or name in ('avc', 'avc1'):
        return H264
    return H265 if '265' in name or 'hevc' in name else None


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
    is_clean: no packet before this one is needed by a later one.
    is_reference: later packets may need this one.
    """

    has_picture: bool
    is_key: bool
    is_clean: bool
    is_reference: bool


class PacketHeaders:
    """Reads the headers of the packets of one stream, in order.

    H.264 numbers its pictures, so that a lost one is noticed even where a decoder hides it: `lacks` tells whether the
    last packet lacks one before it. In H.265 the decoder knows which pictures are missing.
    """

    def __init__(self, codec: str) -> None:
        self.lacks = False
        self._codec = codec
        self._sequence: _Sequence | None = None
        self._number: int | None = None  # of the last picture that others refer to

    def read(self, data: bytes) -> PacketHeader:
        """The header of the next packet.

        Raises:
            ImageError: it is no Annex B.
        """
        units = [match.end() for match in _START.finditer(data) if match.end() < len(data)]
        if not units:
            start = data[:4].hex(' ') or 'nothing'
            raise ImageError(f'video packet without start code (Annex B): its {len(data)} bytes start with {start}')
        self.lacks = False
        return self._h265(data, units) if self._codec == H265 else self._h264(data, units)

    def forget(self) -> None:
        """Expect any picture next."""
        self._number = None

    def _h265(self, data: bytes, units: list[int]) -> PacketHeader:
        kinds = [data[unit] >> 1 & 0x3F for unit in units]
        slices = [kind for kind in kinds if kind in _H265_SLICES]
        return PacketHeader(
            has_picture=bool(slices),
            is_key=any(kind in _H265_KEYS for kind in slices),
            is_clean=any(kind in _H265_IDR for kind in slices),
            is_reference=any(kind > 15 or kind % 2 for kind in slices),
        )

    def _h264(self, data: bytes, units: list[int]) -> PacketHeader:
        is_key = is_clean = is_reference = False
        first_slice: int | None = None
        for unit in units:
            kind, is_referred = data[unit] & 0x1F, bool(data[unit] & 0x60)
            if kind == _H264_SPS:
                self._sequence = _sequence(data[unit + 1 : unit + 1 + _HEADER_BYTES])
            elif kind in _H264_SLICES:
                is_clean |= kind == _H264_IDR
                is_reference |= is_referred
                first_slice = unit if first_slice is None else first_slice
            elif kind == _H264_SEI:
                is_key |= data[unit + 1 : unit + 2] == bytes([_RECOVERY_POINT])
        if first_slice is not None:
            slice_header = data[first_slice + 1 : first_slice + 1 + _HEADER_BYTES]
            self._follow(slice_header, is_clean=is_clean, is_reference=is_reference)
        return PacketHeader(first_slice is not None, is_key or is_clean, is_clean, is_reference)

    def _follow(self, slice_header: bytes, *, is_clean: bool, is_reference: bool) -> None:
        """Compare the number of a picture with that of the last one that others refer to."""
        if self._sequence is None:
            return
        number = 0 if is_clean else self._sequence.number(slice_header)
        if number is None:
            return
        last, modulus = self._number, 1 << self._sequence.number_bits
        if not is_clean and last is not None and not self._sequence.may_skip:
            self.lacks = number not in (last, (last + 1) % modulus)
        if is_reference:
            self._number = number


@dataclass(frozen=True)
class _Sequence:
    """What the sequence parameters of H.264 say about the numbers of pictures."""

    number_bits: int
    has_color_planes: bool
    may_skip: bool

    def number(self, slice_header: bytes) -> int | None:
        """frame_num of a slice; None if its header is damaged."""
        bits = _Bits(slice_header)
        try:
            for _ in range(3):  # first macroblock, type of slice, picture parameters
                bits.code()
            bits.take(2 if self.has_color_planes else 0)
            return bits.take(self.number_bits)
        except IndexError:
            return None


def _sequence(data: bytes) -> _Sequence | None:
    """The sequence parameters of H.264; None if they are damaged. See ITU-T H.264, 7.3.2.1.1."""
    bits = _Bits(data)
    try:
        profile = bits.take(8)
        bits.take(16)  # constraints, level
        bits.code()  # number of the parameter set
        has_color_planes = False
        if profile in _HIGH_PROFILES:
            chroma = bits.code()
            has_color_planes = chroma == 3 and bool(bits.take(1))
            bits.code()  # bits of luma
            bits.code()  # bits of chroma
            bits.take(1)
            if bits.take(1):
                for place in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        bits.skip_scaling_list(16 if place < 6 else 64)
        number_bits = bits.code() + 4
        order = bits.code()
        if order == 0:
            bits.code()
        elif order == 1:
            bits.take(1)
            bits.code()
            bits.code()
            for _ in range(bits.code()):
                bits.code()
        bits.code()  # number of reference frames
        return _Sequence(number_bits, has_color_planes, bool(bits.take(1))) if number_bits <= 16 else None
    except IndexError:
        return None


class _Bits:
    """Reads numbers from the payload of a NAL unit. Raises IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b'\0\0\3', b'\0\0')  # the 3 keeps a start code from arising in the payload
        self._left = 8 * len(plain)
        self._value = int.from_bytes(plain, 'big')

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise IndexError('the payload ends')
        return self._value >> self._left & (1 << count) - 1

    def code(self) -> int:
        """The next number in Exp-Golomb code. One with a sign is read as its code, of which only the length matters."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_scaling_list(self, length: int) -> None:
        last = scale = 8
        for _ in range(length):
            if scale:
                code = self.code()
                scale = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
            last = scale or last
