"""H264Headers: what the packets of an H.264 stream are. Section numbers are those of ITU-T H.264."""

from __future__ import annotations

from dataclasses import dataclass

from vis_ros.video.payload_bits import PayloadBits
from vis_ros.video.video_packet import HEADER_BYTES, PacketHeader, unit_starts

_SLICES, _CLEAN, _EXTRA, _SEQUENCE = range(1, 6), 5, 6, 7
_RECOVERY_POINT = 6
_COLOR_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
"""Profiles whose parameters say how colors are sampled."""


class H264Headers:
    """See `PacketHeaders`. A picture has the number of the reference picture before it, plus 1."""

    def __init__(self) -> None:
        self._sequence: _H264Sequence | None = None
        self._last: int | None = None  # of the last reference picture

    def read(self, data: bytes) -> PacketHeader:
        is_key = is_clean = is_gradual = is_reference = False
        slice_header: bytes | None = None
        for start in unit_starts(data):
            kind, payload = data[start] & 0x1F, data[start + 1 : start + 1 + HEADER_BYTES]
            if kind == _SEQUENCE:
                self._sequence = _sequence(payload)
            elif kind in _SLICES:
                is_clean |= kind == _CLEAN
                is_reference |= bool(data[start] & 0x60)
                slice_header = slice_header or payload
            elif kind == _EXTRA and payload[:1] == bytes([_RECOVERY_POINT]):
                is_key, is_gradual = True, payload[2:3] < b'\x80'  # recovery_frame_cnt is not 0 (D.1.8)
        number = None if slice_header is None or self._sequence is None else self._sequence.number(slice_header)
        lacks = False
        if number is not None and self._sequence is not None:
            expected = None if self._last is None else (self._last, (self._last + 1) % self._sequence.numbers)
            lacks = not (is_clean or expected is None or self._sequence.may_skip or number in expected)
            self._last = number if is_reference else self._last
        return PacketHeader(slice_header is not None, is_key or is_clean, is_clean, is_gradual, is_reference, lacks)

    def forget(self) -> None:
        self._last = None


@dataclass(frozen=True)
class _H264Sequence:
    """How pictures are numbered, from 0 to `numbers` - 1; whether numbers may be skipped without a loss."""

    numbers: int
    has_color_planes: bool
    may_skip: bool

    def number(self, slice_header: bytes) -> int | None:
        """frame_num of a slice (7.3.3); None if its header is damaged."""
        bits = PayloadBits(slice_header)
        try:
            bits.codes(3)  # first macroblock, type of slice, picture parameters
            bits.take(2 if self.has_color_planes else 0)
            return bits.take(self.numbers.bit_length() - 1)
        except IndexError:
            return None


def _sequence(payload: bytes) -> _H264Sequence | None:
    """The parameters of a sequence (7.3.2.1.1); None if they are damaged."""
    bits = PayloadBits(payload)
    try:
        profile = bits.take(8)
        bits.take(16)  # constraints, level
        bits.code()  # number of the parameter set
        has_color_planes = False
        if profile in _COLOR_PROFILES:
            chroma = bits.code()
            has_color_planes = chroma == 3 and bool(bits.take(1))
            bits.codes(2)  # bits of luma and chroma
            bits.take(1)
            if bits.take(1):
                for place in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if place < 6 else 64)
        number_bits = bits.code() + 4
        order = bits.code()
        if order == 0:
            bits.code()
        elif order == 1:
            bits.take(1)
            bits.codes(2)
            bits.codes(bits.code())
        bits.code()  # number of reference pictures
        return _H264Sequence(1 << number_bits, has_color_planes, bool(bits.take(1))) if number_bits <= 16 else None
    except IndexError:
        return None


def _skip_scaling_list(bits: PayloadBits, length: int) -> None:
    """See 7.3.2.1.1.1."""
    last = scale = 8
    for _ in range(length):
        if scale:
            code = bits.code()
            scale = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = scale or last
