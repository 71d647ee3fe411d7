"""Makes an ONNX graph read its weights from the .safetensors model file, so that they are stored only once."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import onnx

PARAMETER_PREFIX = 'network.'
"""What a graph puts before the name that a parameter has in the model file."""

_DATA_TYPES = {
    'F32': onnx.TensorProto.FLOAT,
    'F16': onnx.TensorProto.FLOAT16,
    'BF16': onnx.TensorProto.BFLOAT16,
    'I64': onnx.TensorProto.INT64,
}


def refer_to_weights(model: onnx.ModelProto, weights: Path) -> None:
    """Replace the values of all initializers by references into a model file, in place.

    Where the graph computes in another type than the file stores, a Cast is inserted.

    Args:
        model: the graph.
        weights: the model file; the graph must be stored in the same folder.

    Raises:
        ValueError: the model file has no tensor with the name and shape of an initializer.
    """
    tensors = _tensors_in(weights)
    casts = []
    for initializer in model.graph.initializer:
        name = initializer.name.removeprefix(PARAMETER_PREFIX)
        stored = tensors.get(name)
        if stored is None or list(stored.shape) != list(initializer.dims):
            raise ValueError(f'the graph needs {name}, which {weights} does not contain in this shape')
        computed_type = initializer.data_type
        initializer.ClearField('raw_data')
        initializer.data_type = stored.data_type
        initializer.data_location = onnx.TensorProto.EXTERNAL
        place = {'location': weights.name, 'offset': stored.offset, 'length': stored.length}
        for key, value in place.items():
            initializer.external_data.add(key=key, value=str(value))
        if computed_type != stored.data_type:
            output = initializer.name
            initializer.name = name
            casts.append(onnx.helper.make_node('Cast', [name], [output], f'{name}/Cast', to=computed_type))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField('node')
    model.graph.node.extend(nodes)


@dataclass(frozen=True)
class _StoredTensor:
    """A tensor in a .safetensors file. data_type: of `onnx.TensorProto`; offset, length: in bytes."""

    data_type: int
    shape: tuple[int, ...]
    offset: int
    length: int


def _tensors_in(weights: Path) -> dict[str, _StoredTensor]:
    """All tensors of a .safetensors file, which is: 8 bytes with the length of the header, the header in JSON, data."""
    with weights.open('rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(length))
    return {
        name: _StoredTensor(
            data_type=_DATA_TYPES[entry['dtype']],
            shape=tuple(entry['shape']),
            offset=8 + length + entry['data_offsets'][0],
            length=entry['data_offsets'][1] - entry['data_offsets'][0],
        )
        for name, entry in header.items()
        if name != '__metadata__'
    }
