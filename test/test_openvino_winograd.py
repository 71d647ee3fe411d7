"""Winograd convolutions in OpenVINO graphs, compared with torch."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as opset

from vis_ros.engines.loading import load_engine
from vis_ros.engines.openvino import compiled_networks
from vis_ros.engines.openvino.compiler import openvino_core
from vis_ros.engines.openvino.winograd import use_winograd
from vis_ros.networks.model_config import ModelConfig
from vis_ros.synthetic.scene import Scene

torch = pytest.importorskip('torch')

FP32 = {'INFERENCE_PRECISION_HINT': ov.Type.f32}
CHANNELS = 192


def convolution(features, weights, stride=1, border=1, dilation=1):
    both = [[value, value] for value in (stride, border, border, dilation)]
    return opset.convolution(features, weights, *both)


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def run(model, images):
    return openvino_core().compile_model(model, 'CPU', FP32)(images)[0]


@pytest.mark.parametrize('size', [(40, 40), (41, 43), (7, 400), (38, 45)])
def test_one_image(size):
    """Sizes that are and are not multiples of a tile, followed by bias and ReLU."""
    images, weights, bias = random(1, CHANNELS, *size), random(64, CHANNELS, 3, 3), random(1, 64, 1, 1)
    parameter = opset.parameter(images.shape, np.float32)
    features = convolution(parameter, opset.constant(weights))
    model = ov.Model([opset.relu(opset.add(features, opset.constant(bias)))], [parameter])
    assert use_winograd(model) == 1
    assert not any(node.get_type_name() == 'Convolution' for node in model.get_ops())
    found = run(model, images)
    double = torch.nn.functional.conv2d(torch.tensor(images).double(), torch.tensor(weights).double(), padding=1)
    expected = (double + torch.tensor(bias)).relu().numpy()
    assert found.shape == expected.shape
    # Values are sums of 1,728 products: 42 is their standard deviation, 1e-5 of it is what rounding may do.
    assert np.abs(found - expected).mean() < 42 * 1e-5 and np.abs(found - expected).max() < 42 * 2e-4


@pytest.mark.parametrize('count', [0, 1, 7])
def test_any_number_of_rois(count):
    images, weights = random(count, CHANNELS, 14, 14), random(256, CHANNELS, 3, 3)
    parameter = opset.parameter(ov.PartialShape([-1, CHANNELS, 14, 14]), np.float32)
    half = opset.convert(opset.constant(weights.astype(np.float16)), np.float32)
    model = ov.Model([convolution(parameter, half)], [parameter])
    assert use_winograd(model) == 1
    exact = torch.tensor(weights).half().double()
    expected = torch.nn.functional.conv2d(torch.tensor(images).double(), exact, padding=1).numpy()
    found = run(model, images)
    assert found.shape == expected.shape == (count, 256, 14, 14)
    assert np.abs(found - expected).max(initial=0) < 42 * 2e-4


def test_a_layer_with_two_inputs_keeps_one_kernel():
    weights = opset.constant(random(CHANNELS, CHANNELS, 3, 3))
    parameters = [opset.parameter([1, CHANNELS, side, side], np.float32) for side in (40, 44)]
    model = ov.Model([convolution(parameter, weights) for parameter in parameters], parameters)
    assert use_winograd(model) == 2
    constants = [node for node in model.get_ops() if node.get_type_name() == 'Constant']
    kernels = [node for node in constants if list(node.get_output_shape(0)) == [36, CHANNELS, CHANNELS]]
    assert len(kernels) == 1


@pytest.mark.parametrize(
    'shape, kernel, arguments',
    [
        ((1, 128, 64, 64), (128, 128, 3, 3), {}),
        ((1, CHANNELS, 20, 20), (CHANNELS, CHANNELS, 3, 3), {}),
        ((1, CHANNELS, 64, 64), (CHANNELS, CHANNELS, 3, 3), {'stride': 2}),
        ((1, CHANNELS, 64, 64), (CHANNELS, CHANNELS, 3, 3), {'border': 0}),
        ((1, CHANNELS, 64, 64), (CHANNELS, CHANNELS, 3, 3), {'dilation': 2}),
        ((1, CHANNELS, 64, 64), (CHANNELS, CHANNELS, 1, 1), {}),
        ((1, CHANNELS, 64, 64), (32, CHANNELS, 3, 3), {}),
        ((2, CHANNELS, 64, 64), (CHANNELS, CHANNELS, 3, 3), {}),
    ],
)
def test_unsuitable_convolutions_are_not_replaced(shape, kernel, arguments):
    """Few channels, few tiles, another stride, border, dilation or kernel, or a batch."""
    parameter = opset.parameter(shape, np.float32)
    model = ov.Model([convolution(parameter, opset.constant(random(*kernel)), **arguments)], [parameter])
    assert use_winograd(model) == 0


def test_a_whole_network_gives_the_same_detections_as_torch(tmp_path, monkeypatch):
    """Random weights; pyramid, proposals and mask head have 256 channels."""
    from vis_ros.networks.random_model import save_random_model

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    names = tuple(f'class {number}' for number in range(5))
    config = ModelConfig(name='random', class_names=names, backbone='resnet18', input_height=192, input_width=320)
    weights = tmp_path / 'random.safetensors'
    save_random_model(config, weights)
    replaced = []
    monkeypatch.setattr(compiled_networks, 'use_winograd', lambda model: replaced.append(use_winograd(model)))
    low = {'score_threshold': 0.0, 'max_detections': 10}
    ours = load_engine(weights, engine='openvino', precision='fp32', **low)
    theirs = load_engine(weights, engine='torch', device='cpu', **low)
    for seed in range(3):
        image = Scene(seed, (192, 320)).frame(30).image
        (found,), (expected,) = ours.infer([image]), theirs.infer([image])
        assert len(found) == len(expected) == 10
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    assert replaced == [6]  # the first level of pyramid and proposals, four layers of the mask head
