"""Reads the metadata of an ONNX file, and seals it, without the onnx package, which a robot does not need otherwise.

An ONNX file is one ModelProto message in the wire format of Protocol Buffers
(https://protobuf.dev/programming-guides/encoding). Its field 14, `metadata_props`, repeats the message
StringStringEntryProto: field 1 is a key, field 2 its value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

SEAL_KEY = 'vis_ros.sha256'
"""Key of the last entry in the metadata: the SHA-256 of all bytes before it."""

_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2

_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
"""Wire type -> number of bytes, for the types of fixed length."""


def read_metadata_props(path: Path) -> dict[str, str]:
    """All keys and values in the metadata of an ONNX file.

    Raises:
        ValueError: the file is not a Protocol Buffers message, is truncated, or differs from what was sealed.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        found = dict(_entry(content) for number, content in _fields(data) if number == _METADATA_PROPS)
    except (IndexError, KeyError) as error:
        raise ValueError(f'not an ONNX file, or truncated ({error!r})') from error
    end = len(data) - len(_seal_of(b''))
    if SEAL_KEY in found and data[end:] != _seal_of(data[:end]):
        raise ValueError('its content differs from the SHA-256 in it: copy or export it again')
    return found


def seal(data: bytes) -> bytes:
    """An ONNX file with the digest of its bytes at the end, so that `read_metadata_props` finds every damaged byte."""
    return data + _seal_of(data)


def _seal_of(data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return _field(_METADATA_PROPS, _field(_KEY, SEAL_KEY.encode()) + _field(_VALUE, digest.encode()))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of at most 127 bytes."""
    return bytes([number << 3 | _LENGTH_DELIMITED, len(content)]) + content


def _entry(message: bytes) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    fields = dict(_fields(message))
    return fields[_KEY].decode(), fields[_VALUE].decode()


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each length-delimited field of a message; fields of other types are skipped.

    Raises:
        IndexError: the message is truncated, or has a field of an unknown type.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            _, position = _varint(message, position)
        elif wire_type in _FIXED_BYTES:
            position += _FIXED_BYTES[wire_type]
        elif wire_type == _LENGTH_DELIMITED:
            length, position = _varint(message, position)
            if position + length <= len(message):
                yield number, message[position : position + length]
            position += length
        else:
            raise IndexError(f'unknown wire type {wire_type}')
    if position > len(message):
        raise IndexError('the message is truncated')


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The variable-length integer at a position, and the position after it."""
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
