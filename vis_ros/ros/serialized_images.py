"""Read serialized image messages where they lie: without a copy of the pixels, which `rclpy.serialization` makes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.image_headers import ImageError


@dataclass
class RawHeader:
    """A std_msgs/Header as it was sent, valid or not: sec may be negative, nanosec may be more than a second."""

    sec: int
    nanosec: int
    frame_id: str


@dataclass(eq=False)
class RawImage:
    """A sensor_msgs/Image. data: a view of the message."""

    header: RawHeader
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: NDArray[np.uint8]


@dataclass(eq=False)
class RawCompressedImage:
    """A sensor_msgs/CompressedImage. data: a view of the message."""

    header: RawHeader
    format: str
    data: NDArray[np.uint8]


def read_header(data: bytes) -> RawHeader:
    """The header of a message that starts with one. Raises ImageError if it is not whole."""
    return FieldReader(data).header()


def read_image(data: bytes) -> RawImage:
    """A serialized sensor_msgs/Image. Raises ImageError if it is not whole."""
    reader = FieldReader(data)
    return RawImage(
        reader.header(),
        reader.number(),
        reader.number(),
        reader.text(),
        reader.byte(),
        reader.number(),
        reader.bytes(),
    )


def read_compressed_image(data: bytes) -> RawCompressedImage:
    """A serialized sensor_msgs/CompressedImage. Raises ImageError if it is not whole."""
    reader = FieldReader(data)
    return RawCompressedImage(reader.header(), reader.text(), reader.bytes())


class FieldReader:
    """Reads the fields of a message one after another.

    Encoding: CDR with XCDR1 alignment, as DDS and ROS 2 have it: four bytes that tell the byte order, then the fields,
    each number aligned to its size, strings with a length and a zero at the end.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 4
        self._order = '<' if len(data) > 1 and data[1] & 1 else '>'

    def header(self) -> RawHeader:
        return RawHeader(self._unpack('i'), self._unpack('I'), self.text())

    def number(self) -> int:
        return self._unpack('I')

    def long(self) -> int:
        return self._unpack('Q')

    def byte(self) -> int:
        return self._unpack('B')

    def text(self) -> str:
        length = self.number()
        try:
            return bytes(self._take(length))[: length - 1 if length else 0].decode()
        except UnicodeDecodeError as error:
            raise ImageError(f'a text in the message is not UTF-8: {error}') from error

    def bytes(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._take(self.number()), np.uint8)

    def _take(self, length: int) -> memoryview:
        start, self._place = self._place, self._place + length
        if self._place > len(self._data):
            raise ImageError(f'the message has {len(self._data)} bytes, and should have {self._place} or more')
        return memoryview(self._data)[start : self._place]

    def _unpack(self, kind: str) -> int:
        size = struct.calcsize(kind)
        self._place += -(self._place - 4) % size
        (value,) = struct.unpack(f'{self._order}{kind}', self._take(size))
        return int(value)
