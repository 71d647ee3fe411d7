"""Explicit int8 quantization: inserts QuantizeLinear and DequantizeLinear nodes in front of selected layers of a graph.

A tensor x becomes round(x / s) in -127 to 127. The scale s is one number for an activation, and one for each output
channel of a kernel; both are symmetric, as TensorRT requires (Jacob et al. 2018; Wu et al. 2020, "Integer Quantization
for Deep Learning Inference"). On a CPU, an activation that is never negative is in 0 to 255 instead: twice as precise,
and the form that VNNI multiplies. The scale of an activation is the one with the least squared error on sample images.

Two kinds of layers stay in the precision of the graph. Layers with few operations gain nothing. A ConvNet with
depthwise convolutions loses too much accuracy: with it in int8, 87 % of the demo network's confident detections were
found again at an IoU of 0.9, without it 96 %. A dense ConvNet such as a ResNet is quantized as a whole, with its
residual connections: a layer between two quantized ones would cost two conversions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from vis_ros.scratch import scratch_file

Inputs = Mapping[str, NDArray[Any]]
"""Inputs of a graph by name."""

_Byte = np.int8 | np.uint8

Kernels = Mapping[str, NDArray[np.float32]]
"""Weights of layers by the name of their initializer."""

OPSET = 19
"""The first ONNX operator set that allows fp16 scales."""

MIN_SHARE = 0.0025
"""Minimum share of the operations of all layers for a layer outside of the ConvNet to be quantized."""

_BODY = 'backbone.body.'
"""Part of the names of all weights in the ConvNet before the feature pyramid."""

_STEPS, _UNSIGNED_STEPS = 127, 255
_CHANNEL_AXIS = {'Conv': 0, 'ConvTranspose': 1, 'Gemm': 0}
"""Type of layer -> the axis of its kernel that counts output channels (for Gemm, as torch exports it)."""

_SAMPLES = 8192
"""Number of values of a tensor that are sampled from each image."""


class ActivationSamples:
    """Absolute values of one tensor, sampled from several images.

    size: its largest number of values per image; is_negative: whether any value is.
    """

    def __init__(self) -> None:
        self.size = 0
        self.is_negative = False
        self._samples: list[NDArray[np.float32]] = []
        self._random = np.random.default_rng(0)

    def add(self, values: NDArray[Any]) -> None:
        """Sample the values of the tensor for one more image."""
        flat = values.ravel()
        self.size = max(self.size, flat.size)
        self.is_negative |= bool((flat < 0).any())
        if flat.size:
            chosen = flat[self._random.integers(0, flat.size, min(_SAMPLES, flat.size))].astype(np.float32)
            # The largest value determines the range of scales to try, so it is always included.
            self._samples.append(np.append(np.abs(chosen), np.abs(flat).max().astype(np.float32)))

    def best_scale(self, steps: int = _STEPS) -> float:
        """The scale with the least squared error of the samples when they are rounded to at most `steps` scales."""
        values = np.concatenate(self._samples) if self._samples else np.zeros(1, np.float32)
        scales = values.max() / steps * np.linspace(0.2, 1, 41)
        if not scales.all():
            return 1.0
        errors = [np.mean((values - np.minimum(np.rint(values / s), steps) * s) ** 2) for s in scales]
        return float(scales[int(np.argmin(errors))])


@dataclass(frozen=True)
class Layer:
    """A layer with weights. kernel: name of its initializer; input, output: names of tensors."""

    node: onnx.NodeProto
    kernel: str

    @property
    def input(self) -> str:
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        return str(self.node.output[0])


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """The layers of a graph whose weights are initializers, with or without a Cast in between."""
    initializers = {initializer.name for initializer in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    layers = []
    for node in model.graph.node:
        if node.op_type in _CHANNEL_AXIS:
            name = node.input[1]
            while name in makers and makers[name].op_type == 'Cast':
                name = makers[name].input[0]
            if name in initializers:
                layers.append(Layer(node, name))
    return layers


def sample_activations(graph: Path, names: Iterable[str], examples: Iterable[Inputs]) -> dict[str, ActivationSamples]:
    """Run a graph on examples and sample the values of some of its tensors.

    Args:
        graph: the graph, beside its weights. A temporary copy is written to the same folder.
        names: names of the tensors.
        examples: inputs of the graph.
    """
    model = onnx.load(graph, load_external_data=False)
    wanted = list(dict.fromkeys(names))
    model.graph.ClearField('output')
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    with scratch_file(graph.parent) as sampled:
        sampled.write_bytes(model.SerializeToString())
        session = onnxruntime.InferenceSession(str(sampled), providers=['CPUExecutionProvider'])
    samples = {name: ActivationSamples() for name in wanted}
    for inputs in examples:
        for name, values in zip(wanted, session.run(wanted, dict(inputs)), strict=True):
            samples[name].add(values)
    return samples


def quantize(
    model: onnx.ModelProto,
    graph: Path,
    kernels: Kernels,
    examples: Iterable[Inputs],
    weight_steps: int = _STEPS,
    unsigned: bool = False,
) -> float:
    """Quantize the layers of a graph for which it pays off, in place.

    Args:
        model: the graph, of operator set OPSET.
        graph: a file with the same graph, beside its weights.
        kernels: the weights of its layers.
        examples: inputs of the graph, for images like those that the network will see.
        weight_steps: weights are rounded to -weight_steps ... weight_steps. Processors without VNNI add the products of
            two neighbors in 16 bits: with 127 such a sum may saturate, with 63 it cannot.
        unsigned: whether activations that are never negative become uint8.

    Returns:
        The share of the operations of all layers that is quantized.

    Raises:
        ValueError: there are no examples.
    """
    layers = layers_of(model)
    samples = sample_activations(graph, [name for layer in layers for name in (layer.input, layer.output)], examples)
    if not any(each.size for each in samples.values()):
        raise ValueError('int8 needs images to choose its scales, but there are none')
    operations = np.array([_operations(kernels[layer.kernel], layer, samples[layer.output]) for layer in layers])
    shares = operations / operations.sum()
    is_dense = not any(_in_body(layer) and _is_grouped(layer) for layer in layers)
    is_chosen = [
        is_dense if _in_body(layer) else share >= MIN_SHARE for layer, share in zip(layers, shares, strict=True)
    ]
    chosen = [layer for layer, is_one in zip(layers, is_chosen, strict=True) if is_one]
    activations = {}
    for name in dict.fromkeys(layer.input for layer in chosen):
        fits = unsigned and not samples[name].is_negative
        scale = samples[name].best_scale(_UNSIGNED_STEPS if fits else _STEPS)
        activations[name] = scale, np.uint8 if fits else np.int8
    _insert_quantization(model, chosen, activations, kernels, weight_steps)
    return float(shares[is_chosen].sum())


def _in_body(layer: Layer) -> bool:
    return _BODY in layer.kernel


def _is_grouped(layer: Layer) -> bool:
    """Whether each of its outputs sums over some of the input channels only, as in a depthwise convolution."""
    return any(attribute.name == 'group' and attribute.i > 1 for attribute in layer.node.attribute)


def _operations(kernel: NDArray[np.float32], layer: Layer, output: ActivationSamples) -> float:
    """Number of multiplications of a layer for one image."""
    channels = kernel.shape[_CHANNEL_AXIS[layer.node.op_type]]
    each = kernel.size / channels
    if layer.node.op_type == 'ConvTranspose':  # only a part of the kernel falls on each output pixel
        strides = next(attribute.ints for attribute in layer.node.attribute if attribute.name == 'strides')
        each /= float(np.prod(strides))
    return float(output.size * each)


def _insert_quantization(
    model: onnx.ModelProto,
    layers: list[Layer],
    activations: Mapping[str, tuple[float, type[_Byte]]],
    kernels: Kernels,
    weight_steps: int,
) -> None:
    """Quantize the inputs and kernels of layers. A tensor or kernel that several layers read is quantized once.

    activations: input of a layer -> its scale and type.
    """
    graph = model.graph
    floating = _floating_type(model)
    nodes: list[onnx.NodeProto] = []
    for tensor, (scale, byte) in activations.items():
        nodes += _quantize_nodes(graph, tensor, np.array(scale), floating, byte=byte)
    done: set[str] = set()
    for layer in layers:
        kernel = str(layer.node.input[1])
        if kernel not in done:
            done.add(kernel)
            axis = _CHANNEL_AXIS[layer.node.op_type]
            values = kernels[layer.kernel]
            largest = np.abs(values).max(tuple(i for i in range(values.ndim) if i != axis))
            nodes += _quantize_nodes(graph, kernel, largest / weight_steps, floating, axis)
        layer.node.input[0], layer.node.input[1] = f'{layer.input}/int8', f'{kernel}/int8'
    for node in graph.node:
        if node.op_type == 'Add':  # a residual connection, which then needs no second copy of its input
            node.input[:] = [f'{name}/int8' if name in activations else name for name in node.input]
    _add_nodes(graph, nodes)


def _quantize_nodes(
    graph: onnx.GraphProto,
    tensor: str,
    scale: NDArray[Any],
    floating: type[np.floating[Any]],
    axis: int | None = None,
    byte: type[_Byte] = np.int8,
) -> list[onnx.NodeProto]:
    """The two nodes that compute `tensor`/int8 from a tensor. Their constants are added to the graph."""
    scale = np.maximum(scale, np.finfo(floating).tiny).astype(floating)
    zero = np.zeros(scale.shape, byte)
    graph.initializer.append(onnx.numpy_helper.from_array(scale, f'{tensor}/scale'))
    graph.initializer.append(onnx.numpy_helper.from_array(zero, f'{tensor}/zero'))
    constants = [f'{tensor}/scale', f'{tensor}/zero']
    attributes: dict[str, Any] = {} if axis is None else {'axis': axis}
    return [
        onnx.helper.make_node('QuantizeLinear', [tensor, *constants], [f'{tensor}/bytes'], **attributes),
        onnx.helper.make_node('DequantizeLinear', [f'{tensor}/bytes', *constants], [f'{tensor}/int8'], **attributes),
    ]


def _floating_type(model: onnx.ModelProto) -> type[np.floating[Any]]:
    """The type that the layers of a graph compute in."""
    makers = {name: node for node in model.graph.node for name in node.output}
    kernel = layers_of(model)[0].node.input[1]
    if kernel in makers:
        kind = next(attribute.i for attribute in makers[kernel].attribute if attribute.name == 'to')
    else:
        kind = next(each.data_type for each in model.graph.initializer if each.name == kernel)
    return np.float16 if kind == onnx.TensorProto.FLOAT16 else np.float32


def _add_nodes(graph: onnx.GraphProto, added: list[onnx.NodeProto]) -> None:
    """Insert each node right after the one that computes its input: the nodes of a graph are sorted topologically."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in added:
        readers.setdefault(node.input[0], []).append(node)

    def following(names: Iterable[str]) -> Iterator[onnx.NodeProto]:
        for name in names:
            for node in readers.get(name, ()):
                yield node
                yield from following(node.output)

    given = [*(each.name for each in graph.initializer), *(each.name for each in graph.input)]
    ordered = list(following(given))
    for node in list(graph.node):
        ordered += [node, *following(node.output)]
    graph.ClearField('node')
    graph.node.extend(ordered)
