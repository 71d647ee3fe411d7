"""Export of a model file as an ONNX graph whose weights stay in the model file."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import vis_ros
from vis_ros.export.graph_file import PACKAGED_PRECISION, Target, graph_path, sha256_of
from vis_ros.export.quantization import OPSET as QUANTIZED_OPSET
from vis_ros.export.quantization import Kernels, quantize
from vis_ros.export.static_detector import StaticDetector
from vis_ros.networks.model_file import load_model
from vis_ros.networks.model_header import CONFIG_KEY
from vis_ros.networks.preprocessing import fit, fitted_size, padded

_OPSET = 17
_DIVISOR = 32

_log = logging.getLogger(__name__)

_PREFIX = 'network.'
_OUTPUTS = {
    'cpu': ('boxes', 'scores', 'labels', 'masks', 'embeddings', 'image_index', 'settled'),
    'gpu': ('boxes', 'scores', 'labels', 'masks', 'embeddings', 'settled'),
}
_DATA_TYPES = {
    'F32': onnx.TensorProto.FLOAT,
    'F16': onnx.TensorProto.FLOAT16,
    'BF16': onnx.TensorProto.BFLOAT16,
    'I64': onnx.TensorProto.INT64,
}
_PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
_BESIDE_INT8: dict[Target, torch.dtype] = {'cpu': torch.float32, 'gpu': torch.float16}
"""What layers compute in that are not quantised."""
_WEIGHT_STEPS: dict[Target, int] = {'cpu': 63, 'gpu': 127}
"""As of `quantize`; so a graph gives the same on every processor."""


def export(
    weights: Path,
    target: Target,
    *,
    architecture: str = 'auto',
    precision: str | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    out: Path | None = None,
    images: Sequence[NDArray[np.uint8]] = (),
) -> Path:
    """Write the graph of a model file and return its path, which `graph_path` gives.

    Args:
        weights: the model file.
        target: 'cpu' for OpenVINO, 'gpu' for TensorRT.
        precision: 'fp32', 'fp16' or 'bf16' of the layers, or 'int8' of those that are worth it
            (`networks.quantization`); None is that of the packaged graphs.
        size: (height, width) of the input of a 'gpu' graph; None is the model's own. Rounded up to multiples of 32.
        batch: images at once, of a 'gpu' graph.
        out: the folder, which gets a copy of the weights too; None is that of the weights.
        images: for 'int8', (height, width, 3) uint8 BGR such as the network is to see; some dozens, not all alike.

    Raises:
        ValueError: what was asked for does not fit together, or the graph does not give what the network gives.
    """
    weights = weights.resolve()
    precision = precision or PACKAGED_PRECISION[target]
    if precision not in (*_PRECISIONS, 'int8'):
        raise ValueError(f'there is no graph of precision {precision!r}, only of {", ".join(_PRECISIONS)} and int8')
    quantized = precision == 'int8'
    if quantized and not images:
        raise ValueError(
            f'an int8 graph is made from images such as the network is to see, and there are none: vis-ros export '
            f'{weights} --precision int8 --calibrate RECORDING'
        )
    network = load_model(weights, architecture)
    if size is not None:
        network.config = network.config.with_fields(input_height=size[0], input_width=size[1])
    config = network.config
    detector = StaticDetector(network, target, _BESIDE_INT8[target] if quantized else _PRECISIONS[precision]).eval()
    canvas = (_rounded(config.input_height), _rounded(config.input_width))
    inputs = example_inputs(detector, canvas, batch)
    model = _trace(detector, inputs, QUANTIZED_OPSET if quantized else _OPSET)
    placed = weights if out is None else _beside(weights, out)
    _refer_to(model, placed)
    properties = {
        CONFIG_KEY: config.to_json(),
        'vis_ros.target': target,
        'vis_ros.precision': precision,
        'vis_ros.weights_sha256': sha256_of(weights),
        'vis_ros.version': vis_ros.__version__,
    }
    onnx.helper.set_model_props(model, properties)
    path = graph_path(placed, config.architecture, target, precision, size, batch)
    if quantized:
        inputs = _quantize(model, path, detector, list(_seen(detector, canvas, batch, images)))
    if precision == 'bf16':  # onnxruntime has no such layers
        exact = StaticDetector(load_model(weights, architecture), target).eval()
        exact.network.config = exact.config = config
        _write(model, path, exact, inputs, _TOLERANCES[torch.float32], played=_in_fp32(model))
    else:
        _write(model, path, detector, inputs, _INT8_TOLERANCE if quantized else _TOLERANCES[detector.precision])
    return path


def _quantize(
    model: onnx.ModelProto, path: Path, detector: StaticDetector, examples: list[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Quantise a graph that is to lie at `path`; returns an example to compare it with the network on."""
    state = {name: tensor.float().numpy() for name, tensor in detector.network.state_dict().items()}
    kernels: Kernels = state | {f'{_PREFIX}{name}': values for name, values in state.items()}
    arrays = ({name: tensor.numpy() for name, tensor in inputs.items()} for inputs in examples)
    with _scratch_file(model, path) as unquantized:
        share = quantize(model, unquantized, kernels, arrays, _WEIGHT_STEPS[detector.target])
    _log.info('%s: %.0f %% of the operations in int8, scales from %d images', path.name, 100 * share, len(examples))
    return examples[0]


def _seen(
    detector: StaticDetector, canvas: tuple[int, int], batch: int, images: Sequence[NDArray[np.uint8]]
) -> Iterator[dict[str, Tensor]]:
    """Inputs of a detector with each of the images (in all slots of a batch)."""
    config, fixed = detector.config, detector.target == 'gpu'
    for image in images:
        size = canvas if fixed else padded(fitted_size((image.shape[0], image.shape[1]), config))
        pixels = np.zeros((batch, *size, 3), np.float32 if config.resize == 'float' else np.uint8)
        for slot in pixels:
            fitted = fit(image, config, canvas if fixed else None, out=slot)
        inputs = {
            'images': torch.from_numpy(pixels),
            'sizes': torch.tensor([fitted.image.shape[:2]] * batch, dtype=torch.float32),
            'scales': torch.tensor([fitted.scale] * batch, dtype=torch.float32),
            'score_threshold': torch.tensor([config.score_threshold]),
        }
        if detector.target == 'cpu':
            inputs['max_detections'] = torch.tensor([config.max_detections])
        yield inputs


def example_inputs(detector: StaticDetector, canvas: tuple[int, int], batch: int) -> dict[str, Tensor]:
    """Inputs of a detector by name: noise that is the same each time, the first image smaller than the canvas."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, canvas[0] // 16, canvas[1] // 16, generator=generator) * 255
    images = functional.interpolate(coarse, canvas, mode='bilinear').permute(0, 2, 3, 1).contiguous()
    sizes = torch.tensor([canvas] * batch, dtype=torch.float32)
    sizes[0] -= 5
    inputs = {
        'images': images if detector.config.resize == 'float' else images.byte(),
        'sizes': sizes,
        'scales': torch.full((batch, 2), 0.5),
        'score_threshold': torch.zeros(1),
    }
    if detector.target == 'cpu':
        inputs['max_detections'] = torch.tensor([detector.config.max_detections])
    return inputs


def _trace(detector: StaticDetector, inputs: dict[str, Tensor], opset: int) -> onnx.ModelProto:
    """The graph of a detector, with its weights, under their names in the model file."""
    axes = {}
    if detector.target == 'cpu':
        axes = {'images': {0: 'batch', 1: 'height', 2: 'width'}, 'sizes': {0: 'batch'}, 'scales': {0: 'batch'}}
        axes |= {name: {0: 'detections'} for name in _OUTPUTS['cpu'][:-1]}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'traced.onnx'
        # The exporter by tracing: the other one cannot follow sizes that are known only when the graph is used.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            detector,
            tuple(inputs.values()),
            file,
            dynamo=False,
            opset_version=opset,
            do_constant_folding=False,  # it would put weights into the graph that are not those of the model file
            training=torch.onnx.TrainingMode.PRESERVE,  # the same for the batch norm of a timm network
            input_names=list(inputs),
            output_names=list(_OUTPUTS[detector.target]),
            dynamic_axes=axes,
        )
        model = onnx.load(file)
    for node in model.graph.node:
        node.ClearField('doc_string')
    return model


def _refer_to(model: onnx.ModelProto, weights: Path) -> None:
    """Let the initializers of a graph lie in the model file, each with a cast where the graph computes otherwise."""
    tensors = _tensors(weights)
    casts = []
    for initializer in model.graph.initializer:
        name = initializer.name.removeprefix(_PREFIX)
        stored = tensors.get(name)
        if stored is None or list(stored.shape) != list(initializer.dims):
            raise ValueError(f'the graph needs {name}, which {weights} does not hold in this shape')
        used = initializer.data_type
        initializer.ClearField('raw_data')
        initializer.data_type = stored.data_type
        initializer.data_location = onnx.TensorProto.EXTERNAL
        place = {'location': weights.name, 'offset': stored.offset, 'length': stored.length}
        for key, value in place.items():
            initializer.external_data.add(key=key, value=str(value))
        if used != stored.data_type:
            output = initializer.name
            initializer.name = name
            casts.append(onnx.helper.make_node('Cast', [name], [output], f'{name}/Cast', to=used))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField('node')
    model.graph.node.extend(nodes)


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies in a .safetensors file, in bytes from its start. data_type: of `onnx.TensorProto`."""

    data_type: int
    shape: tuple[int, ...]
    offset: int
    length: int


def _tensors(weights: Path) -> dict[str, _Stored]:
    """All tensors of a .safetensors file: eight bytes with the length of the header, the header as JSON, the data."""
    with weights.open('rb') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(length))
    return {
        name: _Stored(
            data_type=_DATA_TYPES[entry['dtype']],
            shape=tuple(entry['shape']),
            offset=8 + length + entry['data_offsets'][0],
            length=entry['data_offsets'][1] - entry['data_offsets'][0],
        )
        for name, entry in header.items()
        if name != '__metadata__'
    }


def _beside(weights: Path, folder: Path) -> Path:
    """A copy of the model file in another folder, since graph and weights share one. Not a link: onnx refuses those."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = folder / weights.name
    if placed.exists() and placed.samefile(weights):
        return placed
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        partial = Path(scratch) / weights.name
        shutil.copyfile(weights, partial)
        os.replace(partial, placed)
    return placed


def _write(
    model: onnx.ModelProto,
    path: Path,
    detector: StaticDetector,
    inputs: dict[str, Tensor],
    tolerance: _Tolerance,
    played: onnx.ModelProto | None = None,
) -> None:
    """Write a graph; it gets its name once it (or what is `played` for it) gives what the network gives."""
    with _scratch_file(model, path) as partial:
        if played is None:
            _compare(partial, detector, inputs, tolerance)
        else:
            with _scratch_file(played, path) as other:
                _compare(other, detector, inputs, tolerance)
        os.chmod(partial, 0o644)
        os.replace(partial, path)


@contextmanager
def _scratch_file(model: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """A graph in a file beside `path`, where its weights are; removed at the end if it is still there."""
    descriptor, name = tempfile.mkstemp(prefix=f'{path.stem}.', suffix='.part', dir=path.parent)
    with os.fdopen(descriptor, 'wb') as file:
        file.write(model.SerializeToString(deterministic=True))
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _in_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A bf16 graph with float32 in place of bf16, which onnxruntime can run."""
    low, single = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    played = onnx.ModelProto()
    played.CopyFrom(model)
    for initializer in [each for each in played.graph.initializer if each.data_type == low]:
        used, initializer.name = initializer.name, f'{initializer.name}/bf16'
        cast = onnx.helper.make_node('Cast', [initializer.name], [used], to=single)
        played.graph.node.insert(0, cast)
    for node in played.graph.node:
        for attribute in node.attribute:
            if attribute.name == 'to' and attribute.i == low:
                attribute.i = single
            elif attribute.HasField('t') and attribute.t.data_type == low:
                values = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(values))
    return played


def _compare(graph: Path, detector: StaticDetector, inputs: dict[str, Tensor], tolerance: _Tolerance) -> None:
    """ValueError unless onnxruntime finds with a graph what torch finds with the network."""
    session = onnxruntime.InferenceSession(str(graph), providers=['CPUExecutionProvider'])
    outputs = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    got = _objects(detector.target, outputs)
    wanted = _objects(detector.target, [tensor.numpy() for tensor in detector(*inputs.values())])
    found = sum(_is_among(row, got, tolerance) for row in wanted)
    if found < tolerance.share * max(len(got), len(wanted)):
        raise ValueError(
            f'{graph.name}: onnxruntime finds {len(got)} objects with the graph, torch {len(wanted)} with the network, '
            f'and {found} of them are the same'
        )


_Object = tuple[int, NDArray[np.float32], float, int, NDArray[np.float32], NDArray[np.float32]]
"""Image, box, score, label, mask and embedding."""


def _objects(target: Target, outputs: list[NDArray[Any]]) -> list[_Object]:
    boxes, scores, labels, masks, embeddings = outputs[:5]
    if target == 'cpu':
        return list(zip(outputs[5].tolist(), boxes, scores, labels, masks, embeddings, strict=True))
    used = np.argwhere(scores > 0)
    return [(i, boxes[i, k], scores[i, k], labels[i, k], masks[i, k], embeddings[i, k]) for i, k in used]


@dataclass(frozen=True)
class _Tolerance:
    """Largest difference of boxes in pixels, of scores, and of masks on average; share of objects that must agree.

    Not all must, even in single precision: of two objects whose scores differ by rounding, either may be the last."""

    box: float
    score: float
    mask: float
    share: float


_TOLERANCES = {
    torch.float32: _Tolerance(box=0.05, score=1e-3, mask=1e-3, share=0.95),
    torch.float16: _Tolerance(box=2.0, score=0.02, mask=0.02, share=0.8),
}
_INT8_TOLERANCE = _Tolerance(box=16.0, score=0.2, mask=0.1, share=0.5)
"""On an image that the scales were chosen by, where noise would be no measure."""


def _is_among(wanted: _Object, found: list[_Object], tolerance: _Tolerance) -> bool:
    return any(
        one[0] == wanted[0]
        and one[3] == wanted[3]
        and np.abs(one[1] - wanted[1]).max() <= tolerance.box
        and abs(one[2] - wanted[2]) <= tolerance.score
        and np.abs(one[4] - wanted[4]).mean() <= tolerance.mask
        and np.abs(one[5] - wanted[5]).max() <= tolerance.mask * max(1.0, np.abs(wanted[5]).max())
        for one in found
    )


def _rounded(side: int) -> int:
    return -(-side // _DIVISOR) * _DIVISOR
