"""The precision of an engine, from the reports of several versions of TensorRT's inspector."""

from __future__ import annotations

import json

import pytest

from vis_ros.engines.tensorrt.engine_precision import actual_precision


def layer(kind: str, datatype: str, weights: str = '') -> dict[str, object]:
    tensor = {'Name': 'x', 'Dimensions': [1, 8, 4, 4], 'Format/Datatype': datatype}
    weight_field = {'Weights': {'Type': weights, 'Count': 9}} if weights else {}
    return {'Name': 'x', 'LayerType': kind, 'Inputs': [tensor], 'Outputs': [tensor], **weight_field}


@pytest.mark.parametrize(
    ('layers', 'expected'),
    [
        ([layer('CaskConvolution', 'Row major linear FP16 format')], 'fp16'),
        ([layer('CaskConvolution', 'Channel major FP32 format where channel % 4 == 0')], 'fp32'),
        ([layer('CaskConvolution', 'Thirty-two wide channel vectorized row major Int8 format')], 'int8'),
        ([layer('CaskConvolution', 'Float')], 'fp32'),
        ([layer('gemm', 'Half')], 'fp16'),
        ([layer('gemm', 'BFloat16')], 'bf16'),
        ([layer('CaskConvolution', 'Row major linear FP32', 'Half')], 'fp16'),
        # the majority of the layers with weights decides
        ([layer('CaskConvolution', 'Half')] * 3 + [layer('CaskConvolution', 'Float')] * 2, 'fp16'),
        ([layer('CaskConvolution', 'Float')] + [layer('PointWiseV2', 'Half')] * 9, 'fp32'),
        ([layer('kgen', 'Half')] * 2 + [layer('kgen', 'Float')], 'fp16'),
        (['names only', 'as with less verbosity'], 'unknown'),
        ([layer('CaskConvolution', 'N/A due to dynamic shapes')], 'unknown'),
        ([], 'unknown'),
    ],
)
def test_precision_of_most_layers_with_weights(layers: list[object], expected: str) -> None:
    assert actual_precision(json.dumps({'Layers': layers, 'Bindings': []})) == expected


@pytest.mark.parametrize('text', ['', 'no JSON', '[]', '{}'])
def test_information_without_layers_is_unknown(text: str) -> None:
    assert actual_precision(text) == 'unknown'
