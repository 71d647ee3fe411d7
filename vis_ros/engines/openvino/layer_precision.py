"""What stays in fp32 where OpenVINO computes the layers of a network in bf16."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset
from openvino.passes import ConstantFolding, Manager

_COMPARISONS = ('Less', 'LessEqual', 'Greater', 'GreaterEqual')
_CONVOLUTIONS = {'Convolution': opset.convolution, 'GroupConvolution': opset.group_convolution}

_BODY = '/backbone/body/'
_PREDICTORS = ('/head/cls_logits', '/head/bbox_pred')
"""How the names of operations begin: of the ConvNet, and of the layers that score and shape the proposals."""

_MARKED = """
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
"""A network of which one operation is marked to be computed in its own precision: Python cannot make that mark, but it
can read one and put it elsewhere."""


def keep_coordinates_precise(model: ov.Model) -> None:
    """Keep in fp32 what is computed of coordinates and overlaps, where layers compute in bf16.

    A coordinate of bf16 has 8 bits: a box of 1,000 pixels would move by 4. OpenVINO keeps fp32 from each output back to
    the next layer with weights; what lies between two layers (the boxes of RoIAlign, the overlaps of the suppression)
    it would compute in bf16. So these become outputs too, each as one number that costs nothing.
    """
    probes = {}
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
        probes[source.get_node().get_friendly_name()] = source
    model.add_results([opset.result(_largest(source)) for source in probes.values()])


def keep_sensitive_layers_precise(core: ov.Core, model: ov.Model) -> None:
    """Keep in fp32 the layers whose rounding to bf16 moves the results most. To be called before compiling to bf16.

    They are those of a ConvNet of depthwise convolutions, and with it those that score and shape the proposals. Each
    sum of a depthwise convolution has 9 or 25 products, over which errors do not average out, and every layer after it
    sees the error: more than nine tenths of what bf16 changes in the results of the demo network comes from there, and
    two fifths of the time that it saves.

    A dense ConvNet such as a ResNet stays in bf16: it is most of the work of its network, and next to its own rounding
    that of the predictors does not count.
    """
    _merge_padding(model)
    body = [node for node in model.get_ops() if node.get_friendly_name().startswith(_BODY)]
    if not any(node.get_type_name() == 'GroupConvolution' for node in body):
        return
    precise = body + [node for node in model.get_ops() if node.get_friendly_name().startswith(_PREDICTORS)]
    marked = core.read_model(_MARKED.encode(), ov.Tensor(np.zeros(0, np.uint8))).get_parameters()[0].get_rt_info()
    for node in precise:
        if node.get_type_name() != 'Constant':
            for key in marked:
                node.set_rt_info(marked[key], key)


def _merge_padding(model: ov.Model) -> None:
    """Let convolutions do the padding of zeros in front of them, as OpenVINO would do, which then loses their mark."""
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        source = node.input_value(0).get_node() if kind in _CONVOLUTIONS else None
        if source is None or source.get_type_name() != 'Pad' or source.get_attributes()['pad_mode'] != 'constant':
            continue
        begin, end, *value = (_constant(each) for each in source.input_values()[1:])
        if begin is None or end is None or begin[:2].any() or end[:2].any() or any(v is None or v.any() for v in value):
            continue
        attributes = node.get_attributes()
        merged = _CONVOLUTIONS[kind](
            source.input_value(0),
            node.input_value(1),
            attributes['strides'],
            (begin[2:] + attributes['pads_begin']).tolist(),
            (end[2:] + attributes['pads_end']).tolist(),
            attributes['dilations'],
        )
        merged.set_friendly_name(node.get_friendly_name())
        for reader in node.output(0).get_target_inputs():
            reader.replace_source_output(merged.output(0))
    model.validate_nodes_and_infer_types()


def _constant(value: ov.Output) -> NDArray[np.int64] | None:
    node = value.get_node()
    return node.get_data() if node.get_type_name() == 'Constant' else None


def _has_weights(matmul: ov.Node) -> bool:
    node = matmul.input_value(1).get_node()
    while node.get_type_name() in ('Convert', 'Reshape', 'Transpose'):
        node = node.input_value(0).get_node()
    return node.get_type_name() == 'Constant'


def _largest(source: ov.Output) -> ov.Node:
    return opset.reduce_max(source, np.arange(source.get_partial_shape().rank.get_length()), False)
