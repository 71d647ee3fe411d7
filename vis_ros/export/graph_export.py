"""export: writes a model file as an ONNX graph, whose weights stay in the model file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import vis_ros
from vis_ros.export.external_weights import PARAMETER_PREFIX, refer_to_weights
from vis_ros.export.graph_check import INT8_TOLERANCE, TOLERANCES, Tolerance, bf16_as_fp32, check_graph
from vis_ros.export.graph_file import (
    CONVERGED_OUTPUT,
    PACKAGED_PRECISION,
    GraphMetadata,
    Target,
    graph_path,
)
from vis_ros.export.graph_writing import check_replaceable, copy_weights, scratch_graph, trace
from vis_ros.export.quantization import OPSET as QUANTIZED_OPSET
from vis_ros.export.quantization import Kernels, quantize
from vis_ros.export.static_detector import StaticDetector
from vis_ros.file_digest import sha256_of
from vis_ros.networks.model_file import load_model
from vis_ros.networks.preprocessing import fit, fitted_size, padded

_OPSET = 17

_log = logging.getLogger(__name__)

_OUTPUTS = {
    'cpu': ('boxes', 'scores', 'labels', 'masks', 'embeddings', 'image_index', CONVERGED_OUTPUT),
    'gpu': ('boxes', 'scores', 'labels', 'masks', 'embeddings', CONVERGED_OUTPUT),
}
_PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
_UNQUANTIZED_TYPE: dict[Target, torch.dtype] = {'cpu': torch.float32, 'gpu': torch.float16}
"""What the layers of an int8 graph compute in that are not quantized."""
_WEIGHT_STEPS: dict[Target, int] = {'cpu': 63, 'gpu': 127}
"""`weight_steps` of `quantize`. With 63, a 'cpu' graph gives the same result on every processor."""


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
    """Write the graph of a model file, check it against the network, and return its path (see `graph_path`).

    Args:
        weights: the model file.
        target: 'cpu' for OpenVINO, 'gpu' for TensorRT.
        architecture: 'auto' (that of the file), 'masktrack_rcnn' or 'mask_rcnn'.
        precision: precision of the layers: 'fp32', 'fp16', 'bf16' or 'int8' (see `vis_ros.export.quantization`); None
            is that of the packaged graphs.
        size: (height, width) of the input of a 'gpu' graph, rounded up to multiples of 32; None is the model's own.
        batch: number of images at once, for a 'gpu' graph.
        out: folder to write to, which also gets a copy of the weights; None is the folder of the weights.
        images: for 'int8', a few dozen varied images (height, width, 3) uint8 BGR like those that the network will see.

    Raises:
        ValueError: the arguments contradict each other, or the graph does not give the same detections as the network.
    """
    weights = weights.resolve()
    precision = precision or PACKAGED_PRECISION[target]
    if precision not in (*_PRECISIONS, 'int8'):
        raise ValueError(f'precision {precision!r} is not one of {", ".join(_PRECISIONS)} and int8')
    is_int8 = precision == 'int8'
    if is_int8 and not images:
        raise ValueError(
            'an int8 graph needs images like those that the network will see, to choose its scales: vis-ros export '
            f'{weights} --precision int8 --calibrate RECORDING'
        )
    network = load_model(weights, architecture)
    if size is not None:
        network.config = network.config.with_fields(input_height=size[0], input_width=size[1])
    config = network.config
    detector = StaticDetector(network, target, _UNQUANTIZED_TYPE[target] if is_int8 else _PRECISIONS[precision]).eval()
    input_size = padded((config.input_height, config.input_width))
    inputs = example_inputs(detector, input_size, batch)
    model = _trace(detector, inputs, QUANTIZED_OPSET if is_int8 else _OPSET)
    placed = weights if out is None else copy_weights(weights, out)
    refer_to_weights(model, placed)
    metadata = GraphMetadata(config, target, precision, sha256_of(weights), vis_ros.__version__)
    onnx.helper.set_model_props(model, metadata.to_properties())
    path = graph_path(placed, config.architecture, target, precision, size, batch)
    check_replaceable(path)
    if is_int8:
        inputs = _quantize(model, path, detector, list(_image_inputs(detector, input_size, batch, images)))
    if precision == 'bf16':
        exact = StaticDetector(load_model(weights, architecture), target).eval()
        exact.network.config = exact.config = config
        _write(model, path, exact, inputs, TOLERANCES[torch.float32], checked=bf16_as_fp32(model))
    else:
        _write(model, path, detector, inputs, INT8_TOLERANCE if is_int8 else TOLERANCES[detector.precision])
    return path


def example_inputs(detector: StaticDetector, size: tuple[int, int], batch: int) -> dict[str, Tensor]:
    """Inputs of a detector by name: images of noise, the same each time, the first one smaller than `size`."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, size[0] // 16, size[1] // 16, generator=generator) * 255
    images = functional.interpolate(coarse, size, mode='bilinear').permute(0, 2, 3, 1).contiguous()
    sizes = torch.tensor([size] * batch, dtype=torch.float32)
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


def _image_inputs(
    detector: StaticDetector, input_size: tuple[int, int], batch: int, images: Sequence[NDArray[np.uint8]]
) -> Iterator[dict[str, Tensor]]:
    """Inputs of a detector for each image, which is repeated in all slots of the batch."""
    config, is_fixed = detector.config, detector.target == 'gpu'
    for image in images:
        size = input_size if is_fixed else padded(fitted_size((image.shape[0], image.shape[1]), config))
        pixels = np.zeros((batch, *size, 3), np.float32 if config.resize == 'float' else np.uint8)
        for slot in pixels:
            fitted = fit(image, config, input_size if is_fixed else None, out=slot)
        inputs = {
            'images': torch.from_numpy(pixels),
            'sizes': torch.tensor([fitted.image.shape[:2]] * batch, dtype=torch.float32),
            'scales': torch.tensor([fitted.scale] * batch, dtype=torch.float32),
            'score_threshold': torch.tensor([config.score_threshold]),
        }
        if detector.target == 'cpu':
            inputs['max_detections'] = torch.tensor([config.max_detections])
        yield inputs


def _trace(detector: StaticDetector, inputs: dict[str, Tensor], opset: int) -> onnx.ModelProto:
    """The graph of a detector, with its weights under the names that they have in the model file."""
    axes = {}
    if detector.target == 'cpu':
        axes = {'images': {0: 'batch', 1: 'height', 2: 'width'}, 'sizes': {0: 'batch'}, 'scales': {0: 'batch'}}
        axes |= {name: {0: 'detections'} for name in _OUTPUTS['cpu'][:-1]}
    return trace(detector, inputs, _OUTPUTS[detector.target], axes, opset)


def _quantize(
    model: onnx.ModelProto, path: Path, detector: StaticDetector, examples: list[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Quantize a graph that will be stored at `path`; returns an example to check it with."""
    state = {name: tensor.float().numpy() for name, tensor in detector.network.state_dict().items()}
    kernels: Kernels = state | {f'{PARAMETER_PREFIX}{name}': values for name, values in state.items()}
    arrays = ({name: tensor.numpy() for name, tensor in inputs.items()} for inputs in examples)
    with scratch_graph(model, path) as unquantized:
        weight_steps, unsigned = _WEIGHT_STEPS[detector.target], detector.target == 'cpu'
        share = quantize(model, unquantized, kernels, arrays, weight_steps, unsigned)
    _log.info('%s: %.0f %% of the operations in int8, scales from %d images', path.name, 100 * share, len(examples))
    return examples[0]


def _write(
    model: onnx.ModelProto,
    path: Path,
    detector: StaticDetector,
    inputs: dict[str, Tensor],
    tolerance: Tolerance,
    checked: onnx.ModelProto | None = None,
) -> None:
    """Write a graph. It gets its final name only if it, or `checked` in its place, passes `check_graph`."""
    with scratch_graph(model, path) as partial:
        if checked is None:
            check_graph(partial, detector, inputs, tolerance)
        else:
            with scratch_graph(checked, path) as other:
                check_graph(other, detector, inputs, tolerance)
        os.replace(partial, path)
