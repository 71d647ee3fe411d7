"""Which parts of a network stay in fp32 when OpenVINO computes its layers in bf16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset
from openvino.passes import ConstantFolding, Manager

_COMPARISONS = ('Less', 'LessEqual', 'Greater', 'GreaterEqual')
_CONVOLUTIONS = {'Convolution': opset.convolution, 'GroupConvolution': opset.group_convolution}

_BODY = '/backbone/body/'
"""Prefix of the names of operations in the ConvNet before the feature pyramid."""
_PREDICTORS = ('/head/cls_logits', '/head/bbox_pred')
"""Prefixes of the names of the layers that score and shape the proposals."""

_MARKED_NETWORK = """
<net name="marked" version="11">
  <layers>
    <layer id="0" name="input" type="Parameter" version="opset1">
      <data shape="1" element_type="f32"/>
      <rt_info><attribute name="precise" version="0"/></rt_info>
      <output><port id="0" precision="FP32"><dim>1</dim></port></output>
    </layer>
    <layer id="1" name="output" type="Result" version="opset1">
      <input><port id="0" precision="FP32"><dim>1</dim></port></input>
    </layer>
  </layers>
  <edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>
</net>
"""
"""A network with one operation that carries OpenVINO's mark 'precise' ("do not compute in a lower precision"). The
Python API cannot create this mark, but it can read one from a file and copy it to other operations."""


def keep_coordinates_precise(model: ov.Model) -> None:
    """Keep all computation on coordinates and overlaps in fp32, while layers compute in bf16.

    A bf16 number has a mantissa of 8 bits, so a coordinate near 1000 pixels would be rounded to a multiple of 4.
    OpenVINO keeps everything in fp32 between an output of the network and the last layers with weights before it, but
    computes what lies between two layers in bf16: the boxes for RoIAlign, and the overlaps for non-maximum suppression.
    This function therefore makes those tensors outputs of the network as well, each reduced to its maximum, which takes
    no measurable time.
    """
    sources = {}
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == 'ROIAlign':
            source = node.input_value(1)
        elif kind == 'MatMul' and not _has_weights(node):
            source = node.input_value(0)
        elif kind in _COMPARISONS and node.input_value(0).get_node().get_type_name() != 'MatMul':
            source = opset.convert(node.output(0), np.float32).output(0)
        else:
            continue
        sources[source.get_node().get_friendly_name()] = source
    model.add_results([opset.result(_maximum(source)) for source in sources.values()])


def keep_sensitive_layers_precise(core: ov.Core, model: ov.Model) -> None:
    """Keep the layers in fp32 whose rounding to bf16 changes the results most. Call it before compiling for bf16.

    These are the ConvNet, if it has depthwise convolutions, and then also the layers that score and shape the
    proposals. Each output of a depthwise convolution sums only 9 or 25 products, over which rounding errors do not
    average out, and every later layer sees the error. With the demo network this removes more than nine tenths of the
    effect that bf16 has on the results, for two fifths of the time that bf16 saves.

    A dense ConvNet such as a ResNet stays in bf16: it takes most of the time of its network, and its own rounding
    outweighs that of the predictors.
    """
    _merge_padding(model)
    body = [node for node in model.get_ops() if node.get_friendly_name().startswith(_BODY)]
    if not any(node.get_type_name() == 'GroupConvolution' for node in body):
        return
    predictors = [node for node in model.get_ops() if node.get_friendly_name().startswith(_PREDICTORS)]
    marked = core.read_model(_MARKED_NETWORK.encode(), ov.Tensor(np.zeros(0, np.uint8)))
    marks = marked.get_parameters()[0].get_rt_info()
    for node in body + predictors:
        if node.get_type_name() != 'Constant':
            for key in marks:
                node.set_rt_info(marks[key], key)


# --- padding ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ZeroPadding:
    """A border of zeros that a Pad operation adds to the height and width of `source` (N, C, H, W).

    begin, end: (2,) rows and columns above and left, and below and right.
    """

    source: ov.Output
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


def _merge_padding(model: ov.Model) -> None:
    """Let each convolution do the zero padding of the Pad operation in front of it.

    OpenVINO would do the same while it compiles, but then the new convolution loses the mark 'precise'.
    """
    _fold_constants(model)  # so that the widths of the borders are constants
    for convolution in model.get_ordered_ops():
        if convolution.get_type_name() not in _CONVOLUTIONS:
            continue
        padding = _zero_padding_before(convolution)
        if padding is None:
            continue
        merged = _with_padding(convolution, padding)
        for reader in convolution.output(0).get_target_inputs():
            reader.replace_source_output(merged.output(0))
    model.validate_nodes_and_infer_types()


def _fold_constants(model: ov.Model) -> None:
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)


def _zero_padding_before(convolution: ov.Node) -> _ZeroPadding | None:
    """The padding in front of a convolution; None if there is none, or none that the convolution could do itself.

    A convolution pads only height and width, and only with zeros.
    """
    pad = convolution.input_value(0).get_node()
    if pad.get_type_name() != 'Pad' or pad.get_attributes()['pad_mode'] != 'constant':
        return None
    source, *arguments = pad.input_values()
    begin, end, *values = (_constant_data(argument) for argument in arguments)  # `values` is empty if it is zero
    if begin is None or end is None or begin[:2].any() or end[:2].any():
        return None
    if any(value is None or value.any() for value in values):
        return None
    return _ZeroPadding(source, begin[2:], end[2:])


def _with_padding(convolution: ov.Node, padding: _ZeroPadding) -> ov.Node:
    """A convolution of the unpadded input that adds the padding to its own. It keeps the name."""
    attributes = convolution.get_attributes()
    merged = _CONVOLUTIONS[convolution.get_type_name()](
        padding.source,
        convolution.input_value(1),
        attributes['strides'],
        (padding.begin + attributes['pads_begin']).tolist(),
        (padding.end + attributes['pads_end']).tolist(),
        attributes['dilations'],
    )
    merged.set_friendly_name(convolution.get_friendly_name())
    return merged


# --- operations -------------------------------------------------------------------------------------------------------


def _constant_data(value: ov.Output) -> NDArray[np.int64] | None:
    node = value.get_node()
    return node.get_data() if node.get_type_name() == 'Constant' else None


def _has_weights(matmul: ov.Node) -> bool:
    node = matmul.input_value(1).get_node()
    while node.get_type_name() in ('Convert', 'Reshape', 'Transpose'):
        node = node.input_value(0).get_node()
    return node.get_type_name() == 'Constant'


def _maximum(source: ov.Output) -> ov.Node:
    return opset.reduce_max(source, np.arange(source.get_partial_shape().rank.get_length()), False)
