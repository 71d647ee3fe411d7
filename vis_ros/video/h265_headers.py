"""H265Headers: what the packets of an H.265 stream are. Section numbers are those of ITU-T H.265."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from vis_ros.video.payload_bits import PayloadBits
from vis_ros.video.video_packet import HEADER_BYTES, PacketHeader, unit_starts

_SLICES, _KEYS, _CLEAN, _SEQUENCE, _PICTURE = range(32), range(16, 24), range(16, 21), 33, 34
_SUBLAYER_NON_REFERENCE = range(0, 15, 2)
_REMEMBERED = 32
"""Pictures whose places are remembered: more than are ever reordered."""


class H265Headers:
    """See `PacketHeaders`. A picture has its place in the order of display since a key frame. A decoder misses the
    pictures that are lost, but after a lost key frame it takes those of the same places before it for the ones that it
    needs. Then places come twice.
    """

    def __init__(self) -> None:
        self._sequence: _H265Sequence | None = None
        self._picture: _H265Picture | None = None
        self._places: deque[int] = deque(maxlen=_REMEMBERED)

    def read(self, data: bytes) -> PacketHeader:
        kinds, slice_header = [], b''
        for start in unit_starts(data):
            kind, payload = data[start] >> 1 & 0x3F, data[start + 2 : start + 2 + HEADER_BYTES]
            if kind == _SEQUENCE:
                self._sequence = _sequence(payload)
            elif kind == _PICTURE:
                self._picture = _picture(payload)
            elif kind in _SLICES:
                kinds.append(kind)
                slice_header = slice_header or payload
        is_key = any(kind in _KEYS for kind in kinds)
        is_clean = any(kind in _CLEAN for kind in kinds)
        if is_key:
            self._places.clear()
        place = 0 if is_clean or not kinds else self._place(slice_header, is_key=is_key)
        lacks = bool(kinds) and place is not None and place in self._places
        if kinds and place is not None:
            self._places.append(place)
        is_reference = any(kind not in _SUBLAYER_NON_REFERENCE for kind in kinds)
        return PacketHeader(bool(kinds), is_key, is_clean, False, is_reference, lacks)

    def forget(self) -> None:
        self._places.clear()

    def _place(self, slice_header: bytes, *, is_key: bool) -> int | None:
        """slice_pic_order_cnt_lsb (7.3.6.1), which starts again after `places` pictures; None if it cannot be read, or
        starts again too soon to tell by.
        """
        if self._sequence is None or self._picture is None or self._sequence.places < 2 * _REMEMBERED:
            return None
        bits = PayloadBits(slice_header)
        try:
            if not bits.take(1):
                return None
            bits.take(1 if is_key else 0)
            bits.code()  # picture parameters
            bits.take(self._picture.extra_bits)
            bits.code()  # type of slice
            bits.take(self._picture.has_output_flag)
            bits.take(2 if self._sequence.has_color_planes else 0)
            return bits.take(self._sequence.places.bit_length() - 1)
        except IndexError:
            return None


@dataclass(frozen=True)
class _H265Sequence:
    """How pictures are numbered: places from 0 to `places` - 1."""

    places: int
    has_color_planes: bool


@dataclass(frozen=True)
class _H265Picture:
    """What slice headers have: 1 for a flag or 0, and a number of bits."""

    has_output_flag: int
    extra_bits: int


def _sequence(payload: bytes) -> _H265Sequence | None:
    """The parameters of a sequence (7.3.2.2.1); None if they are damaged."""
    bits = PayloadBits(payload)
    try:
        bits.take(4)
        layers = bits.take(3)
        bits.take(1 + 96)  # profile and level (7.3.3)
        present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
        bits.take(2 * (8 - layers) if layers else 0)
        for has_profile, has_level in present:
            bits.take(88 * has_profile + 8 * has_level)
        bits.code()  # number of the parameter set
        has_color_planes = bits.code() == 3 and bool(bits.take(1))
        bits.codes(2)  # width, height
        bits.codes(4 * bits.take(1))  # conformance window
        bits.codes(2)  # bits of luma and chroma
        place_bits = bits.code() + 4
        return _H265Sequence(1 << place_bits, has_color_planes) if place_bits <= 16 else None
    except IndexError:
        return None


def _picture(payload: bytes) -> _H265Picture | None:
    """The parameters of pictures (7.3.2.3.1); None if they are damaged."""
    bits = PayloadBits(payload)
    try:
        bits.codes(2)  # numbers of the parameter sets
        bits.take(1)
        return _H265Picture(has_output_flag=bits.take(1), extra_bits=bits.take(3))
    except IndexError:
        return None
