"""Which layers of a bf16 network stay in fp32, compared with fp32 and with numpy, on processors that support bf16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from helpers.engines import openvino_engine
from openvino import opset13 as opset
from test_openvino_engine import HAS_BF16, matched
from test_static_detector import network

from vis_ros.engines.openvino.compiler import openvino_core
from vis_ros.engines.openvino.layer_precision import keep_sensitive_layers_precise
from vis_ros.networks.model_file import save_model
from vis_ros.synthetic.scene import Scene

torch = pytest.importorskip('torch')

FP32, BF16 = ({'INFERENCE_PRECISION_HINT': kind} for kind in (ov.Type.f32, ov.Type.bf16))
needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason='this processor does not compute in bf16')


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def padded_convolutions(value=0.0, channels=0, mode='constant'):
    """A network with padding before a dense and a depthwise convolution. Its width is computed from the input shape."""
    parameter = opset.parameter([1, 8, 21, 30], np.float32)
    sizes = opset.multiply(opset.shape_of(parameter), opset.constant(np.array([0, 0, 1, 1])))
    few = opset.divide(sizes, opset.constant(np.array([21, 21, 21, 21])))  # (0, 0, 1, 1)
    begin = opset.add(few, opset.constant(np.array([0, channels, 0, 1])))
    border = opset.pad(parameter, begin, few, mode, opset.constant(np.float32(value)))
    dense = opset.convolution(
        border, opset.constant(random(16, 8 + channels, 3, 3)), [2, 2], [0, 0], [0, 0], [1, 1], name='/backbone/body/a'
    )
    again = opset.pad(dense, few, few, mode, opset.constant(np.float32(value)))
    depthwise = opset.group_convolution(
        again, opset.constant(random(16, 1, 1, 3, 3)), [1, 1], [1, 0], [0, 1], [1, 1], name='/backbone/body/b'
    )
    return ov.Model([opset.relu(depthwise)], [parameter])


def run(model, images, precision):
    return openvino_core().compile_model(model, 'CPU', precision)(images)[0]


def kinds_of(model):
    return [node.get_type_name() for node in model.get_ops()]


def test_padding_is_merged_into_the_convolution():
    images = random(1, 8, 21, 30)
    expected = run(padded_convolutions(), images, FP32)
    model = padded_convolutions()
    keep_sensitive_layers_precise(openvino_core(), model)
    assert 'Pad' not in kinds_of(model)
    assert sorted(kind for kind in kinds_of(model) if 'Convolution' in kind) == ['Convolution', 'GroupConvolution']
    found = run(model, images, FP32)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize('other', [{'value': 1.0}, {'channels': 2}, {'mode': 'reflect'}], ids=str)
def test_padding_that_a_convolution_cannot_do_is_kept(other):
    images = random(1, 8, 21, 30)
    model = padded_convolutions(**other)
    before = kinds_of(model).count('Pad')
    keep_sensitive_layers_precise(openvino_core(), model)
    assert kinds_of(model).count('Pad') >= before - ('channels' in other)
    np.testing.assert_allclose(run(model, images, FP32), run(padded_convolutions(**other), images, FP32), atol=1e-4)


@needs_bf16
@pytest.mark.parametrize(
    ('name', 'precise'),
    [
        ('/backbone/body/x/Conv', True),
        ('/head/cls_logits_2/Conv', True),
        ('/head/bbox_pred/Conv', True),
        ('/backbone/fpn/x/Conv', False),
    ],
)
@pytest.mark.parametrize('depthwise', [True, False])
def test_sensitive_layers_stay_in_fp32(name, precise, depthwise):
    """Outputs are sums of 64 products, 8 on average. Without a depthwise convolution no layer is kept in fp32."""
    images, weights = random(1, 64, 20, 20), random(32, 64, 1, 1)
    parameter = opset.parameter(images.shape, np.float32)
    ones = [[1, 1], [0, 0], [0, 0], [1, 1]]
    layer = opset.convolution(parameter, opset.constant(weights), *ones, name=name)
    outputs = [opset.relu(layer)]
    if depthwise:
        factors = opset.constant(random(64, 1, 1, 1, 1))
        outputs.append(opset.group_convolution(parameter, factors, *ones, name='/backbone/body/depthwise'))
    model = ov.Model(outputs, [parameter])
    keep_sensitive_layers_precise(openvino_core(), model)
    found = run(model, images, BF16)
    expected = np.einsum('oi,bihw->bohw', weights[:, :, 0, 0].astype(float), images).clip(0)
    error = np.abs(found - expected).max()
    assert error < 1e-4 if precise and depthwise else 1e-2 < error < 1


def precisions(engine, size):
    """The precisions of the layers of a compiled network, by the first parts of their names."""
    found = {}
    for node in engine._networks.by_size.of_size(size).compiled.get_runtime_model().get_ops():
        if node.get_rt_info()['layerType'].value in ('Convolution', 'Deconvolution'):
            start = '/'.join(node.get_friendly_name().split('/')[1:3])
            found.setdefault(start, set()).add(node.get_rt_info()['runtimePrecision'].value)
    return found


@needs_bf16
def test_the_convnet_and_predictors_of_the_demo_network_stay_in_fp32():
    engine = openvino_engine('demo', precision='bf16', threads=1)
    found = precisions(engine, (96, 160))
    assert found['backbone/body'] == {'f32'}
    predictors = {name for name in found if name.startswith(('head/cls_logits', 'head/bbox_pred'))}
    assert len(predictors) == 10  # two on each of five levels
    assert all(found[name] == {'f32'} for name in predictors)
    assert found['head/conv'] == found['mask_head/mask_head.0'] == {'bf16'}
    assert engine.describe().precision == 'bf16'


@needs_bf16
def test_a_dense_convnet_runs_in_bf16(tmp_path: Path):
    path = tmp_path / 'small.safetensors'
    save_model(network(input_height=96, input_width=160), path, torch.float32)
    engine = openvino_engine(path, precision='bf16', threads=1, accuracy_check=False)  # random weights
    found = precisions(engine, (96, 160))
    assert found['backbone/body'] == found['head/cls_logits'] == {'bf16'}
    assert len(engine.infer([Scene(seed=1, size=(96, 160), frames=2).frame(0).image])[0]) >= 5


@needs_bf16
def test_bf16_finds_almost_all_objects_that_fp32_finds():
    """It finds 89 % of them with a box of the same place; AP on real images is that of fp32."""
    low, high = (openvino_engine('demo', precision=name, score_threshold=0.25, threads=1) for name in ('bf16', 'fp32'))
    scene = Scene(seed=13, size=(640, 360), frames=60)
    total = same = 0
    for index in range(20):
        image = scene.frame(index).image
        (expected,), (found,) = high.infer([image]), low.infer([image])
        expected = expected[expected.scores > 0.3]
        total, same = total + len(expected), same + matched(found, expected)
    assert total > 150
    assert same >= 0.85 * total
