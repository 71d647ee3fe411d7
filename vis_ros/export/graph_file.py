"""Where the ONNX graph of a model file lies, and what it says of itself. Needs neither torch nor onnx.

A graph has the weights of its model file without a copy of them: its initializers are external data that lie inside
the .safetensors file.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vis_ros.extras import missing
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import CONFIG_KEY, read_config

Target = Literal['cpu', 'gpu']
"""'cpu': for OpenVINO, any size and batch; 'gpu': for TensorRT, everything fixed."""

PACKAGED_PRECISION = {'cpu': 'fp32', 'gpu': 'fp16'}
"""Of the graphs whose file name does not say it."""

_log = logging.getLogger(__name__)

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
    target: Target,
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


def find_graph(
    weights: Path,
    architecture: str,
    target: Target,
    precision: str | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 1,
) -> Path:
    """The graph of a model file, from beside it or from the cache; exported into the cache where there is none.

    Arguments as of `graph_path`; architecture may be 'auto'.

    Raises:
        FileNotFoundError: there is none, and what could export it is not installed.
        ValueError: it cannot be exported.
    """
    weights = weights.resolve()  # libraries refuse weights that are a symbolic link
    config = read_config(weights, architecture)
    if size == (config.input_height, config.input_width):
        size = None
    beside = graph_path(weights, config.architecture, target, precision, size, batch)
    digest = sha256_of(weights)
    if _belongs(beside, digest):
        return beside
    folder = cache_folder(digest)
    cached = folder / beside.name
    if _belongs(cached, digest):
        return cached
    absent = missing('export')
    if absent:
        raise FileNotFoundError(
            f'{weights} has no graph {beside.name} beside it, and {", ".join(absent)} to export one is not installed '
            f'here; where it is: vis-ros export {weights}'
        )
    _log.info('exporting %s once, into %s', beside.name, folder)
    from vis_ros.export.graph_export import export

    return export(
        weights,
        target,
        architecture=config.architecture,
        precision=precision,
        size=size,
        batch=batch,
        out=folder,
    )


def cache_folder(weights_sha256: str) -> Path:
    """Where graphs of weights with this digest are kept that did not lie beside them."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return cache / 'vis_ros' / 'graphs' / weights_sha256[:16]


def _belongs(graph: Path, weights_sha256: str) -> bool:
    """Whether a graph is there and of these weights; one of others is named in the log."""
    if not graph.is_file():
        return False
    try:
        if read_metadata(graph).weights_sha256 == weights_sha256:
            return True
        reason = 'it was exported from other weights'
    except ValueError as error:
        reason = str(error)
    _log.warning('%s is not used: %s', graph, reason)
    return False


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
            config=ModelConfig.from_json(pairs[CONFIG_KEY]),
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
