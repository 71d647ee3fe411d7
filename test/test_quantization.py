"""Int8 quantization: the choice of scales, and the quantized graph compared with independent arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from test_export import model  # noqa: F401  # a fixture
from typer.testing import CliRunner

from vis_ros.cli import export as export_command
from vis_ros.cli.main import app
from vis_ros.engines.loading import load_engine
from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.export import quantization
from vis_ros.export.graph_export import export
from vis_ros.export.graph_file import graph_path
from vis_ros.export.quantization import ActivationSamples, layers_of, quantize
from vis_ros.synthetic.scene import Scene

EXACT = onnxruntime.SessionOptions()
EXACT.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


# --- scales -----------------------------------------------------------------------------------------------------------


def seen(*arrays: NDArray[Any]) -> ActivationSamples:
    samples = ActivationSamples()
    for array in arrays:
        samples.add(array)
    return samples


def error_of(values: NDArray[Any], scale: float) -> float:
    return float(((values - np.clip(np.round(values / scale), -127, 127) * scale) ** 2).mean())


def test_the_scale_minimizes_the_squared_error() -> None:
    values = np.random.default_rng(0).laplace(size=6000)
    scale = seen(values, values[::-1]).best_scale()
    tried = np.linspace(0.1, 1.2, 500) * np.abs(values).max() / 127
    least = min(error_of(values, each) for each in tried)
    assert error_of(values, scale) < 1.2 * least


def test_uniform_values_use_the_whole_range() -> None:
    assert seen(np.linspace(-3, 3, 5000)).best_scale() == pytest.approx(3 / 127, rel=0.03)


@pytest.mark.parametrize('values', [np.zeros((2, 3)), np.zeros(0)])
def test_a_tensor_that_is_zero_or_empty(values: NDArray[Any]) -> None:
    assert seen(values).best_scale() == 1.0


# --- graphs -----------------------------------------------------------------------------------------------------------


def small_graph(folder: Path) -> tuple[onnx.ModelProto, Path, dict[str, NDArray[np.float32]]]:
    """Two convolutions of x with cast weights, one with a computed kernel, and a transposed one."""
    random = np.random.default_rng(1)
    kernels = {
        'a': (random.normal(size=(4, 4, 3, 3)) * np.array([1, 10, 0.1, 3])[:, None, None, None]).astype(np.float32),
        'b': random.normal(size=(4, 6, 2, 2)).astype(np.float32),
        'c': random.normal(size=(4, 4, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node('Cast', ['a'], ['a32'], to=TensorProto.FLOAT),
        helper.make_node('Conv', ['x', 'a32'], ['y'], pads=[1, 1, 1, 1]),
        helper.make_node('Conv', ['x', 'a32'], ['z'], pads=[1, 1, 1, 1]),
        helper.make_node('Add', ['y', 'z'], ['sum']),
        helper.make_node('Neg', ['c'], ['negative']),
        helper.make_node('Conv', ['sum', 'negative'], ['w']),
        helper.make_node('ConvTranspose', ['w', 'b'], ['out'], strides=[2, 2]),
    ]
    stored = [numpy_helper.from_array(kernels['a'].astype(np.float16), 'a')]
    stored += [numpy_helper.from_array(kernels[name], name) for name in 'bc']
    kernels['a'] = kernels['a'].astype(np.float16).astype(np.float32)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, h, h]) for name, c, h in SIDES]
    graph = helper.make_graph(nodes, 'small', values[:1], values[1:], stored)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid('', quantization.OPSET)], ir_version=9)
    path = folder / 'small.onnx'
    path.write_bytes(whole.SerializeToString())
    return whole, path, kernels


SIDES = (('x', 4, 8), ('out', 6, 16))


def rounded(values: torch.Tensor, scale: Any) -> torch.Tensor:
    return torch.round(values / scale).clamp(-127, 127) * scale


def test_a_quantized_graph_equals_manual_rounding(tmp_path: Path) -> None:
    whole, path, kernels = small_graph(tmp_path)
    assert [layer.kernel for layer in layers_of(whole)] == ['a', 'a', 'b']
    examples = [{'x': np.random.default_rng(i).normal(size=(1, 4, 8, 8)).astype(np.float32)} for i in range(4)]
    share = quantize(whole, path, kernels, examples)
    assert share == pytest.approx(1)
    onnx.checker.check_model(whole)
    scales = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer if '/scale' in each.name}
    assert set(scales) == {'x/scale', 'a32/scale', 'w/scale', 'b/scale'}
    np.testing.assert_allclose(scales['a32/scale'], np.abs(kernels['a']).max((1, 2, 3)) / 127, rtol=1e-6)
    np.testing.assert_allclose(scales['b/scale'], np.abs(kernels['b']).max((0, 2, 3)) / 127, rtol=1e-6)

    session = onnxruntime.InferenceSession(whole.SerializeToString(), EXACT, providers=['CPUExecutionProvider'])
    (found,) = session.run(None, examples[0])
    tensors = {name: torch.from_numpy(values) for name, values in kernels.items()}
    a = rounded(tensors['a'], torch.from_numpy(scales['a32/scale'])[:, None, None, None])
    b = rounded(tensors['b'], torch.from_numpy(scales['b/scale'])[None, :, None, None])
    x = rounded(torch.from_numpy(examples[0]['x']), float(scales['x/scale']))
    once = torch.nn.functional.conv2d(x, a, padding=1)
    w = rounded(torch.nn.functional.conv2d(once + once, -tensors['c']), float(scales['w/scale']))
    expected = torch.nn.functional.conv_transpose2d(w, b, stride=2).numpy()
    # A value that lies between two steps may go to either: a step of w is as large as this.
    largest_step = float(scales['w/scale']) * np.abs(kernels['b']).max()
    assert np.abs(found - expected).max() <= 1.01 * largest_step * 4
    assert np.mean(np.abs(found - expected) < 1e-3) > 0.95


@pytest.fixture
def examples() -> list[dict[str, NDArray[np.float32]]]:
    return [{'x': np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)}]


def test_layers_with_few_operations_are_not_quantized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: Any
) -> None:
    whole, path, kernels = small_graph(tmp_path)
    # By hand: 256 values of 36 products, twice; 1,536 values of 4 products in the transposed convolution.
    share = 1536 * 4 / (2 * 256 * 36 + 1536 * 4)
    monkeypatch.setattr(quantization, 'MIN_SHARE', share * 1.01)
    assert quantize(whole, path, kernels, examples) == pytest.approx(1 - share)
    assert [node.op_type for node in whole.graph.node].count('QuantizeLinear') == 2


def residual_body(folder: Path, groups: int) -> tuple[onnx.ModelProto, Path, dict[str, NDArray[np.float32]]]:
    """A block of a backbone, sum = second(first(x)) + x, and a layer that reads it. groups: of the second layer."""
    random = np.random.default_rng(1)
    shapes = {'body.first': (4, 4, 1, 1), 'body.second': (4, 4 // groups, 1, 1), 'fpn': (4, 4, 5, 5)}
    kernels = {f'network.backbone.{name}': random.normal(size=shape) for name, shape in shapes.items()}
    kernels = {name: values.astype(np.float32) for name, values in kernels.items()}
    first, second, pyramid = kernels
    nodes = [
        helper.make_node('Conv', ['x', first], ['a']),
        helper.make_node('Conv', ['a', second], ['b'], group=groups),
        helper.make_node('Add', ['b', 'x'], ['sum']),
        helper.make_node('Conv', ['sum', pyramid], ['out'], pads=[2, 2, 2, 2]),
    ]
    stored = [numpy_helper.from_array(values, name) for name, values in kernels.items()]
    x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in ('x', 'out'))
    graph = helper.make_graph(nodes, 'residual', [x], [out], stored)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid('', quantization.OPSET)], ir_version=9)
    path = folder / 'residual.onnx'
    path.write_bytes(whole.SerializeToString())
    return whole, path, kernels


def test_a_body_with_depthwise_convolutions_is_not_quantized(tmp_path: Path, examples: Any) -> None:
    whole, path, kernels = residual_body(tmp_path, groups=4)
    quantize(whole, path, kernels, examples)
    inputs = {node.output[0]: list(node.input) for node in whole.graph.node}
    assert (inputs['a'], inputs['b']) == (['x', 'network.backbone.body.first'], ['a', 'network.backbone.body.second'])
    assert inputs['sum'] == ['b', 'x']
    assert inputs['out'] == ['sum/int8', 'network.backbone.fpn/int8']


def test_a_dense_body_is_quantized_as_a_whole_with_its_residual_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: Any
) -> None:
    whole, path, kernels = residual_body(tmp_path, groups=1)
    monkeypatch.setattr(quantization, 'MIN_SHARE', 0.5)  # each layer of the body has 1/27 of the operations
    assert quantize(whole, path, kernels, examples) == pytest.approx(1)
    assert next(node for node in whole.graph.node if node.op_type == 'Add').input == ['b', 'x/int8']
    onnx.checker.check_model(whole)

    session = onnxruntime.InferenceSession(whole.SerializeToString(), EXACT, providers=['CPUExecutionProvider'])
    (found,) = session.run(None, examples[0])
    scales = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in whole.graph.initializer}

    def layer(values: torch.Tensor, name: str, kernel: str) -> torch.Tensor:
        weights = rounded(torch.from_numpy(kernels[kernel]), scales[f'{kernel}/scale'][:, None, None, None])
        return torch.nn.functional.conv2d(rounded(values, scales[f'{name}/scale']), weights, padding='same')

    first, second, pyramid = kernels
    x = torch.from_numpy(examples[0]['x'])
    block = layer(layer(x, 'x', first), 'a', second) + rounded(x, scales['x/scale'])
    expected = layer(block, 'sum', pyramid).numpy()
    # A value that lies between two steps may go to either.
    assert np.mean(np.abs(found - expected) < 1e-3) > 0.9


def test_weight_steps(tmp_path: Path, examples: Any) -> None:
    whole, path, kernels = small_graph(tmp_path)
    quantize(whole, path, kernels, examples, weight_steps=63)
    (scale,) = (numpy_helper.to_array(each) for each in whole.graph.initializer if each.name == 'b/scale')
    np.testing.assert_allclose(scale, np.abs(kernels['b']).max((0, 2, 3)) / 63, rtol=1e-6)


def test_activations_that_are_never_negative_become_uint8_if_wanted(tmp_path: Path) -> None:
    (never := np.random.default_rng(0).uniform(size=(1, 4, 8, 8)).astype(np.float32)).flat[0] = 1
    for unsigned, kind, steps in ((False, np.int8, 127), (True, np.uint8, 255)):
        whole, path, kernels = residual_body(tmp_path, groups=1)
        quantize(whole, path, kernels, [{'x': never}], unsigned=unsigned)
        constants = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
        assert constants['x/zero'].dtype == kind and constants['a/zero'].dtype == np.int8
        assert constants['x/scale'] == pytest.approx(1 / steps, rel=0.03)
        assert all(constants[f'{kernel}/zero'].dtype == np.int8 for kernel in kernels)
        onnx.checker.check_model(whole, full_check=True)
        found = rerun(whole, {'x': never}, 'x/int8')
        assert np.abs(found - never).max() <= 0.51 / steps


def rerun(whole: onnx.ModelProto, inputs: dict[str, NDArray[np.float32]], tensor: str) -> NDArray[np.float32]:
    """A tensor of a graph."""
    whole.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(whole.SerializeToString(), EXACT, providers=['CPUExecutionProvider'])
    return session.run([tensor], inputs)[0]


def test_quantize_needs_examples(tmp_path: Path) -> None:
    whole, path, kernels = small_graph(tmp_path)
    with pytest.raises(ValueError, match='needs images'):
        quantize(whole, path, kernels, [])
    assert list(tmp_path.iterdir()) == [path]


# --- model files ------------------------------------------------------------------------------------------------------


def test_int8_needs_images(model: Path) -> None:  # noqa: F811
    with pytest.raises(ValueError, match='--precision int8 --calibrate RECORDING'):
        export(model, 'cpu', precision='int8')
    with pytest.raises(ValueError, match='--precision int8 --calibrate RECORDING'):
        load_engine(model, engine='openvino', precision='int8')


FRAMES = [Scene(seed, (96, 160)).frame(30).image for seed in range(4)]


def test_openvino_runs_int8(model: Path, tmp_path: Path) -> None:  # noqa: F811
    weights = tmp_path / model.name
    weights.write_bytes(model.read_bytes())
    graph = export(weights, 'cpu', precision='int8', images=FRAMES)
    assert graph == graph_path(weights, 'masktrack_rcnn', 'cpu', 'int8') and list(tmp_path.glob('*.part')) == []
    # the detections of random weights are so alike that rounding changes which of them are kept
    engine = load_engine(weights, engine='openvino', precision='int8', accuracy_check=False)
    assert engine.describe().precision == 'int8'
    (found,) = engine.infer([FRAMES[0]])
    assert found.image_size == (96, 160)


@pytest.mark.slow
def test_tensorrt_builds_int8(model: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip('tensorrt_rtx_bindings')
    graph = export(model, 'gpu', precision='int8', batch=2, images=FRAMES, out=tmp_path)
    assert any(node.op_type == 'QuantizeLinear' for node in onnx.load(graph, load_external_data=False).graph.node)
    assert build_plan(graph, tmp_path / 'plan', BuildTarget('tensorrt_rtx', (8, 6)))
    assert (tmp_path / 'plan').stat().st_size > 10_000


def test_calibration_images_are_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbered:
        def __init__(self, image: int) -> None:
            self.image = image

    for length in (1, 31, 64, 500):
        monkeypatch.setattr('vis_ros.recordings.opening.open_recording', lambda *_, n=length: map(Numbered, range(n)))
        kept: Any = export_command._calibration_images(Path('recording'), None)
        assert min(length, 32) <= len(kept) < 64
        steps = set(np.diff(kept))
        assert len(steps) <= 1 and kept[0] == 0 and length - 1 - kept[-1] < max(steps, default=1)


@pytest.mark.parametrize(
    'arguments', [['--precision', 'int8'], ['--calibrate', 'x'], ['--precision', 'fp16', '--calibrate', 'x']]
)
def test_the_command_needs_int8_and_calibrate_together(model: Path, arguments: list[str]) -> None:  # noqa: F811
    with pytest.raises(ValueError, match='must be given together'):
        CliRunner().invoke(app, ['export', str(model), *arguments], catch_exceptions=False)


def test_the_command_exports_an_int8_graph(model: Path, tmp_path: Path) -> None:  # noqa: F811
    import cv2

    folder = tmp_path / 'images'
    folder.mkdir()
    for number, frame in enumerate(FRAMES):
        cv2.imwrite(str(folder / f'{number}.png'), frame)
    arguments = ['export', str(model), '--precision', 'int8', '--engine', 'openvino', '--model', 'mask_rcnn']
    arguments += ['--calibrate', str(folder), '--out', str(tmp_path / 'out')]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert (tmp_path / 'out' / f'{model.stem}.mask_rcnn.cpu.int8.onnx').is_file()
