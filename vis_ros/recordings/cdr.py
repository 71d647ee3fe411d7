"""Messages as their serialized bytes (CDR, XCDR1), without DDS: serialize, deserialize, read the header or an image."""

from __future__ import annotations

import array
import struct
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vis_ros.images import Scale16, decode_compressed, decode_image
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.topics import COMPRESSED_TYPE
from vis_ros.ros.image_annotations import DEFINITIONS
from vis_ros.ros.share import share_file
from vis_ros.ros.stamps import NS_PER_S


@cache
def typestore() -> Typestore:
    """The message types of ROS 2, of this package and of foxglove_msgs, for rosbags."""
    store = get_typestore(Stores.LATEST)
    for name in ('InstanceMask', 'InstanceMaskArray'):
        text = share_file(f'msg/{name}.msg').read_text(encoding='utf-8')
        store.register(get_types_from_msg(text, f'vis_ros/msg/{name}'))
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, f'foxglove_msgs/msg/{name}'))
    return store


def deserialize(data: bytes, type: str) -> Any:
    """The message of some serialized bytes, of rosbags' classes: arrays of numbers are ndarrays.

    Raises:
        BagError: the bytes are not a message of this type.
    """
    try:
        return typestore().deserialize_cdr(data, type)
    except Exception as error:  # damaged bytes fail in as many ways as a message has fields
        raise BagError(f'a message of {len(data)} bytes is no {type}: {error}') from error


def serialize(message: Any, type: str) -> bytes:
    """A message of ROS's or rosbags' classes or a plain one, as the same bytes as `rclpy.serialization` gives."""
    return bytes(typestore().serialize_cdr(_with_ndarrays(message), type))


def _with_ndarrays(value: Any) -> Any:
    """A message with ndarrays in place of arrays, as rosbags serializes them."""
    if isinstance(value, array.array):
        return np.frombuffer(value, value.typecode)
    if isinstance(value, list):
        return [_with_ndarrays(item) for item in value]
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**{name: _with_ndarrays(field) for name, field in vars(value).items()})
    if hasattr(value, 'get_fields_and_field_types'):
        return SimpleNamespace(
            **{name: _with_ndarrays(getattr(value, name)) for name in value.get_fields_and_field_types()}
        )
    return value


def read_image(data: bytes, type: str, scale: Scale16 | None = None) -> NDArray[np.uint8]:
    """The pixels of a serialized message of IMAGE_TYPES, (H, W, 3) uint8 BGR. `scale`: how 16 bits become 8.

    Raises:
        BagError: the bytes are not such a message.
        ImageError: the image cannot be decoded; names the encoding or what is wrong.
    """
    message = deserialize(data, type)
    if type == COMPRESSED_TYPE:
        return decode_compressed(message.format, message.data, scale)
    return decode_image(message, scale)


def read_header(data: bytes) -> tuple[int, str]:
    """(stamp in nanoseconds, frame id) of a serialized message that starts with a std_msgs/Header.

    The stamp is 0 if it is invalid (zero, negative or malformed), see `vis_ros.ros.stamps.nanoseconds`.

    Raises:
        BagError: the bytes end before the header does.
    """
    try:
        order = '<' if data[1] & 1 else '>'
        seconds, nanoseconds, length = struct.unpack_from(f'{order}iII', data, 4)
        frame_id = bytes(data[16 : 16 + length - 1]).decode()
        if len(data) < 16 + length:
            raise IndexError(f'the frame id has {length} bytes')
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise BagError(f'a message of {len(data)} bytes has no whole header: {error}') from error
    is_valid = seconds >= 0 and nanoseconds < NS_PER_S
    return (seconds * NS_PER_S + nanoseconds if is_valid else 0), frame_id


def with_stamp(data: bytes, stamp_ns: int) -> bytes:
    """A serialized message that starts with a std_msgs/Header, with another stamp in nanoseconds."""
    changed = bytearray(data)
    struct.pack_into(f'{"<" if data[1] & 1 else ">"}iI', changed, 4, *divmod(stamp_ns, NS_PER_S))
    return bytes(changed)
