"""The exported ONNX graph of a model file: its name and its metadata. Needs neither torch nor onnx.

A graph contains no weights. Its initializers are external data that lie inside the .safetensors model file, so a graph
stays in the folder of its model file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vis_ros.export.onnx_metadata import read_metadata_props
from vis_ros.file_digest import sha256_of
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import CONFIG_KEY

Target = Literal['cpu', 'gpu']
"""'cpu': for OpenVINO, with any size and batch; 'gpu': for TensorRT, with a fixed size and batch."""

PACKAGED_PRECISION = {'cpu': 'fp32', 'gpu': 'fp16'}
"""Precision of the graphs whose file name does not contain one."""

CONVERGED_OUTPUT = 'settled'
"""Name of the output of every graph that is true if non-maximum suppression converged."""

VERSION_KEY = 'vis_ros.version'
_KEYS = (CONFIG_KEY, 'vis_ros.target', 'vis_ros.precision', 'vis_ros.weights_sha256', VERSION_KEY)
"""Keys in the metadata of the ONNX file, in the order of the fields of `GraphMetadata`."""


@dataclass(frozen=True)
class GraphMetadata:
    """What the metadata of a graph says about it.

    Attributes:
        config: of the network when it was exported.
        target: 'cpu' or 'gpu', see `Target`.
        precision: of the layers.
        weights_sha256: digest of the model file that the graph refers to.
        version: of vis_ros.
    """

    config: ModelConfig
    target: str
    precision: str
    weights_sha256: str
    version: str

    def to_properties(self) -> dict[str, str]:
        """Keys and values of the metadata in the ONNX file."""
        values = (self.config.to_json(), self.target, self.precision, self.weights_sha256, self.version)
        return dict(zip(_KEYS, values, strict=True))


def graph_path(
    weights: Path,
    architecture: str,
    target: Target,
    precision: str | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 1,
) -> Path:
    """The path of the graph beside a model file.

    Args:
        weights: the model file.
        architecture: 'mask_rcnn' or 'masktrack_rcnn'.
        target: 'cpu' or 'gpu'.
        precision: None is the one of `PACKAGED_PRECISION`.
        size: (height, width) of the input of a 'gpu' graph; None is the model's own.
        batch: number of images at once, for a 'gpu' graph.
    """
    has_default_precision = precision in (None, PACKAGED_PRECISION[target])
    name = f'{weights.stem}.{architecture}.{target}'
    if not has_default_precision or size is not None or batch != 1:
        name += f'.{precision or PACKAGED_PRECISION[target]}'
        if size is not None:
            name += f'.{size[0]}x{size[1]}'
        if batch != 1:
            name += f'.b{batch}'
    return weights.with_name(f'{name}.onnx')


def read_metadata(graph: Path) -> GraphMetadata:
    """The metadata of a graph. Raises ValueError if the file was not made by `vis-ros export` or is damaged."""
    try:
        properties = read_metadata_props(graph)
        config, target, precision, digest, version = (properties[key] for key in _KEYS)
    except KeyError as error:
        raise ValueError(f'{graph} was not made by vis-ros export: its metadata has no {error}') from error
    except ValueError as error:
        raise ValueError(f'{graph} was not made by vis-ros export, or is damaged: {error}') from error
    return GraphMetadata(ModelConfig.from_json(config), target, precision, digest, version)


def read_graph(graph: Path, weights: Path) -> GraphMetadata:
    """The metadata of a graph that belongs to a model file.

    Raises:
        ValueError: the graph was not made by `vis-ros export`, or was exported from other weights.
        OSError: a file cannot be read.
    """
    metadata = read_metadata(graph)
    if metadata.weights_sha256 != sha256_of(weights):
        raise ValueError(
            f'{graph} does not belong to the weights {weights}, which have changed since: '
            f'export it again with: vis-ros export {weights}'
        )
    return metadata
