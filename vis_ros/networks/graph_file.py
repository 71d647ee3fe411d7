"""Where the ONNX graph of a model file lies, and what it says of itself. Needs neither torch nor onnx.

A graph has the weights of its model file without a copy of them: its initializers are external data that lie inside
the .safetensors file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vis_ros.networks.config import ModelConfig

PACKAGED_PRECISION = {'cpu': 'fp32', 'gpu': 'fp16'}
"""Of the graphs whose file name does not say it."""

_METADATA_FIELD = 14  # ModelProto.metadata_props of onnx.proto


@dataclass(frozen=True)
class GraphMetadata:
    """config: of the network as it was exported; weights_sha256: of the model file that the graph refers to."""

    config: ModelConfig
    target: str
    precision: str
    weights_sha256: str
    version: str


def graph_path(
    weights: Path,
    architecture: str,
    target: str,
    precision: str | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 1,
) -> Path:
    """The graph of a model file, beside it.

    Args:
        target: 'cpu' (any size and batch) or 'gpu' (fixed ones).
        precision: None is that of `PACKAGED_PRECISION`.
        size: (height, width) of the input of a 'gpu' graph; None is the model's own.
    """
    default = precision in (None, PACKAGED_PRECISION[target])
    name = f'{weights.stem}.{architecture}.{target}'
    if not default or size is not None or batch != 1:
        name += f'.{precision or PACKAGED_PRECISION[target]}'
        if size is not None:
            name += f'.{size[0]}x{size[1]}'
        if batch != 1:
            name += f'.b{batch}'
    return weights.with_name(f'{name}.onnx')


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_graph(graph: Path, weights: Path) -> GraphMetadata:
    """What a graph says of itself.

    Raises:
        ValueError: it is no graph of this program, or was exported from other weights.
        OSError: it cannot be read.
    """
    metadata = read_metadata(graph)
    if metadata.weights_sha256 != sha256_of(weights):
        raise ValueError(
            f'{graph} does not belong to the weights {weights}, which have changed since: '
            f'export it again with: vis-ros export {weights}'
        )
    return metadata


def read_metadata(graph: Path) -> GraphMetadata:
    """What a graph says of itself; ValueError if it is none of this program's."""
    try:
        pairs = dict(_pair(value) for number, value in _fields(graph.read_bytes()) if number == _METADATA_FIELD)
        return GraphMetadata(
            config=ModelConfig.from_json(pairs['vis_ros.model']),
            target=pairs['vis_ros.target'],
            precision=pairs['vis_ros.precision'],
            weights_sha256=pairs['vis_ros.weights_sha256'],
            version=pairs['vis_ros.version'],
        )
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f'{graph} is not a graph that vis-ros export has made, or is damaged ({error!r})') from error


def _pair(message: bytes) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    fields = dict(_fields(message))
    return fields[1].decode(), fields[2].decode()


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the length-delimited fields of a protobuf message; the others are passed over.

    IndexError if the message is cut off.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            _, position = _varint(message, position)
            continue
        if kind not in _FIXED_LENGTHS:
            raise IndexError(f'no field of kind {kind} in a protobuf message')
        length = _FIXED_LENGTHS[kind]
        if length == 0:
            length, position = _varint(message, position)
            if position + length <= len(message):
                yield key >> 3, message[position : position + length]
        position += length
    if position > len(message):
        raise IndexError('the file is cut off')


_FIXED_LENGTHS = {1: 8, 2: 0, 5: 4}
"""Bytes of a field of each kind of protobuf, 0 where the field says it."""


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number and the position behind it."""
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
