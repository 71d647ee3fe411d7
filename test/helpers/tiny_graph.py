"""A graph with the inputs and outputs of a 'gpu' graph that TensorRT builds in a second. It detects nothing."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

HEIGHT, WIDTH, ROWS, EMBEDDING = 32, 64, 4, 8

_SHAPES = {'boxes': (ROWS, 4), 'masks': (ROWS, 28, 28), 'embeddings': (ROWS, EMBEDDING)}


def write_tiny_graph(folder: Path, batch: int = 1, unknown_node: bool = False) -> Path:
    """Write the graph and its model file, which has the weights of the convolution; returns the path of the graph."""
    weights = folder / 'tiny.safetensors'
    kernel = np.random.default_rng(0).normal(size=(ROWS, 3, 3, 3)).astype(np.float16)
    save_file({'kernel': kernel}, weights)
    constants: dict[str, NDArray[np.int64]] = {'rows': np.array([ROWS])}
    nodes = [
        helper.make_node('Cast', ['images'], ['half'], to=TensorProto.FLOAT16),
        helper.make_node('Transpose', ['half'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node('Conv', ['planes', 'kernel'], ['features'], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node('GlobalAveragePool', ['features'], ['mean']),
        helper.make_node('Cast', ['mean'], ['mean32'], to=TensorProto.FLOAT),
        helper.make_node('Flatten', ['mean32'], ['flat']),
        helper.make_node('Sigmoid', ['flat'], ['raw']),
        helper.make_node('TopK', ['raw', 'rows'], ['scores', 'index']),
        helper.make_node('Cast', ['index'], ['labels'], to=TensorProto.INT32),
        helper.make_node('ReduceMax', ['sizes'], ['largest'], axes=[1], keepdims=0),
        helper.make_node('Cast', ['largest'], ['settled'], to=TensorProto.BOOL),
    ]
    if unknown_node:
        nodes.append(helper.make_node('NoSuchLayer', ['sizes'], ['nowhere']))
    for name, shape in _SHAPES.items():
        constants[f'{name}_column'] = np.array([batch, ROWS, *[1] * (len(shape) - 1)])
        constants[f'{name}_shape'] = np.array([batch, *shape])
        nodes.append(helper.make_node('Reshape', ['scores', f'{name}_column'], [f'{name}_scores']))
        nodes.append(helper.make_node('Expand', [f'{name}_scores', f'{name}_shape'], [name]))
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, 'tiny', _inputs(batch), _outputs(batch), [*initializers, _external(weights)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    path = folder / f'tiny.masktrack_rcnn.gpu.b{batch}.onnx'
    path.write_bytes(model.SerializeToString())
    return path


def _inputs(batch: int) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info('images', TensorProto.UINT8, [batch, HEIGHT, WIDTH, 3]),
        helper.make_tensor_value_info('sizes', TensorProto.FLOAT, [batch, 2]),
        helper.make_tensor_value_info('scales', TensorProto.FLOAT, [batch, 2]),
        helper.make_tensor_value_info('score_threshold', TensorProto.FLOAT, [1]),
    ]


def _outputs(batch: int) -> list[onnx.ValueInfoProto]:
    large = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *_SHAPES[name]]) for name in _SHAPES]
    return [
        *large,
        helper.make_tensor_value_info('scores', TensorProto.FLOAT, [batch, ROWS]),
        helper.make_tensor_value_info('labels', TensorProto.INT32, [batch, ROWS]),
        helper.make_tensor_value_info('settled', TensorProto.BOOL, [batch]),
    ]


def _external(weights: Path) -> onnx.TensorProto:
    """A reference to the tensor `kernel` in the model file."""
    data = weights.read_bytes()
    (length,) = struct.unpack('<Q', data[:8])
    entry = json.loads(data[8 : 8 + length])['kernel']
    begin, end = entry['data_offsets']
    tensor = onnx.TensorProto(
        name='kernel', data_type=TensorProto.FLOAT16, dims=entry['shape'], data_location=TensorProto.EXTERNAL
    )
    for key, value in (('location', weights.name), ('offset', 8 + length + begin), ('length', end - begin)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
