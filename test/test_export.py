"""Exported graphs: the packaged ones, their use by OpenVINO and TensorRT, how they are found, and the command."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_static_detector import KINDS, assert_same, images, network, reference
from typer.testing import CliRunner

from vis_ros.cli.main import app
from vis_ros.engines.openvino.compiler import openvino_core
from vis_ros.export.find_graph import find_graph
from vis_ros.export.graph_export import export
from vis_ros.export.graph_file import graph_path, read_graph, read_metadata
from vis_ros.export.graph_writing import check_replaceable, copy_weights
from vis_ros.export.onnx_metadata import SEAL_KEY, read_metadata_props, seal
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import load_model, save_model
from vis_ros.networks.named_weights import path_of

DEMO = path_of('demo')
PACKAGED = [(kind, target) for kind in ('masktrack_rcnn', 'mask_rcnn') for target in ('cpu', 'gpu')]
_SEAL_BYTES = len(seal(b''))
SMALL_SIZE = {'input_height': 96, 'input_width': 160}


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file."""
    path = tmp_path_factory.mktemp('model') / 'small.safetensors'
    save_model(network(**KINDS['demo'], **SMALL_SIZE), path)
    return path


@pytest.fixture(scope='module')
def cpu_graph(model: Path) -> Path:
    return export(model, 'cpu')


def copy_of(model: Path, folder: Path) -> Path:
    copy = folder / model.name
    copy.write_bytes(model.read_bytes())
    return copy


# --- packaged graphs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('architecture', 'target'), PACKAGED)
def test_packaged_graphs_belong_to_the_packaged_weights(architecture: str, target: Any) -> None:
    graph = graph_path(DEMO, architecture, target)
    metadata = read_graph(graph, DEMO)
    assert metadata.config == load_model(DEMO, architecture).config
    assert metadata.target == target
    assert metadata.precision == {'cpu': 'fp32', 'gpu': 'fp16'}[target]
    assert graph.stat().st_size < 1_000_000


@pytest.mark.parametrize(('architecture', 'target'), PACKAGED)
def test_packaged_graphs_contain_no_weights(architecture: str, target: Any) -> None:
    """Each initializer refers to its value in the model file; constants are small."""
    graph = graph_path(DEMO, architecture, target)
    stored = load_file(DEMO)
    bare = onnx.load(graph, load_external_data=False)
    assert all(initializer.data_location == onnx.TensorProto.EXTERNAL for initializer in bare.graph.initializer)
    assert all(node.ByteSize() < 2500 for node in bare.graph.node)  # the columns of the picture: 512 numbers
    filled = onnx.load(graph)
    values = {one.name.removeprefix('network.'): onnx.numpy_helper.to_array(one) for one in filled.graph.initializer}
    wanted = {name for name in stored if architecture != 'mask_rcnn' or not name.startswith('track_head.')}
    assert values.keys() == wanted
    assert all(np.array_equal(value, stored[name].numpy()) for name, value in values.items())


@pytest.mark.slow
@pytest.mark.parametrize('target', ['cpu', 'gpu'])
def test_packaged_graphs_equal_a_new_export(target: Any, tmp_path: Path) -> None:
    """If this fails after a change to the network, run: vis-ros export demo."""
    packaged = onnx.load(graph_path(DEMO, 'masktrack_rcnn', target), load_external_data=False)
    made = onnx.load(
        export(DEMO, target, architecture='masktrack_rcnn', out=tmp_path),
        load_external_data=False,
    )
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in packaged.graph.node]
    assert made.graph.initializer == packaged.graph.initializer
    assert (made.graph.input, made.graph.output) == (packaged.graph.input, packaged.graph.output)


# --- export -----------------------------------------------------------------------------------------------------------


def test_a_cpu_graph_accepts_any_size_and_batch(model: Path, cpu_graph: Path) -> None:
    """In onnxruntime, although it was exported with one image of another size."""
    session = onnxruntime.InferenceSession(str(cpu_graph))
    for batch, height, width in ((1, 160, 256), (3, 192, 96)):
        assert_equals_network(session, model, batch, height, width)


def test_a_cpu_graph_with_torchvision_conventions(tmp_path: Path) -> None:
    """Scores, boxes and masks per class, and RoIAlign without the half-pixel correction."""
    path = tmp_path / 'small.safetensors'
    save_model(network(**KINDS['torchvision'], **SMALL_SIZE), path)
    session = onnxruntime.InferenceSession(str(export(path, 'cpu')))
    assert [one.name for one in session.get_inputs()][:3] == ['images', 'sizes', 'scales']
    assert_equals_network(session, path, 2, 160, 256)


def assert_equals_network(session: Any, model: Path, batch: int, height: int, width: int) -> None:
    built = load_model(model)
    inputs = images(batch, height, width, built.config)
    assert_same(reference(built, inputs), run_cpu(session, inputs, built.config))


def run_cpu(session: Any, inputs: tuple[torch.Tensor, ...], config: ModelConfig) -> list[tuple[torch.Tensor, ...]]:
    names = ('images', 'sizes', 'scales')
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    feed |= {
        'score_threshold': np.array([config.score_threshold], np.float32),
        'max_detections': np.array([config.max_detections]),
    }
    *rows, image, settled = (torch.from_numpy(value) for value in session.run(None, feed))
    assert settled.all()
    return [tuple(row[image == i] for row in rows) for i in range(len(inputs[0]))]


class OpenVino:
    """With the interface of an onnxruntime session."""

    def __init__(self, graph: Path, batch: int, height: int, width: int) -> None:
        core = openvino_core()
        read = core.read_model(graph)
        read.reshape({'images': [batch, height, width, 3], 'sizes': [batch, 2], 'scales': [batch, 2]})
        options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
        self._compiled = core.compile_model(read, 'CPU', options)

    def run(self, _: None, feed: dict[str, Any]) -> list[Any]:
        return [value.copy() for value in self._compiled(feed).to_tuple()]


@pytest.mark.parametrize(('batch', 'height', 'width'), [(1, 96, 160), (2, 160, 96)])
def test_openvino_runs_the_cpu_graph(model: Path, cpu_graph: Path, batch: int, height: int, width: int) -> None:
    assert_equals_network(OpenVino(cpu_graph, batch, height, width), model, batch, height, width)


def test_a_gpu_graph_with_another_size_and_batch(model: Path, tmp_path: Path) -> None:
    graph = export(model, 'gpu', precision='fp32', size=(100, 130), batch=2, out=tmp_path)
    assert graph.name == 'small.masktrack_rcnn.gpu.fp32.100x130.b2.onnx'
    shape = onnx.load(graph, load_external_data=False).graph.input[0].type.tensor_type.shape
    assert [side.dim_value for side in shape.dim] == [2, 128, 160, 3]
    config = read_graph(graph, tmp_path / model.name).config
    assert (config.input_height, config.input_width) == (100, 130)


def test_a_bf16_graph_computes_in_bf16(model: Path, tmp_path: Path) -> None:
    graph = onnx.load(export(model, 'gpu', precision='bf16', out=tmp_path), load_external_data=False)
    produced = {name: node for node in graph.graph.node for name in node.output}
    kernels = [node.input[1] for node in graph.graph.node if node.op_type == 'Conv']
    types = {produced[name].attribute[0].i for name in kernels}
    assert types == {onnx.TensorProto.BFLOAT16}
    assert len(kernels) > 20
    assert {each.type.tensor_type.elem_type for each in graph.graph.output[:2]} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize(('target', 'precision'), [('cpu', 'fp32'), ('gpu', 'bf16')])
def test_a_graph_that_differs_from_the_network_is_not_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, precision: str
) -> None:
    weights = copy_of(model, tmp_path)
    from vis_ros.export import graph_export as module

    refer = module.refer_to_weights

    def spoiled(graph: onnx.ModelProto, path: Path) -> None:
        refer(graph, path)
        convolutions = [node for node in graph.graph.node if node.op_type == 'Relu']
        convolutions[3].op_type = 'Neg'

    monkeypatch.setattr(module, 'refer_to_weights', spoiled)
    with pytest.raises(ValueError, match='of them agree'):
        export(weights, target, precision=precision)
    assert list(tmp_path.iterdir()) == [weights]


def test_unknown_precisions_are_rejected(model: Path) -> None:
    with pytest.raises(ValueError, match=r"precision 'int4' is not one of fp32, fp16, bf16 and int8"):
        export(model, 'gpu', precision='int4')


# --- finding ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'vis_ros' / 'graphs'


@pytest.mark.parametrize(('architecture', 'target'), PACKAGED)
def test_packaged_graphs_are_found_beside_the_weights(architecture: str, target: Any, cache: Path) -> None:
    config = load_model(DEMO).config
    size = (config.input_height, config.input_width)
    for wanted in (None, size):
        assert find_graph(DEMO, architecture, target, size=wanted) == graph_path(DEMO, architecture, target)
    assert find_graph(DEMO, 'auto', target) == graph_path(DEMO, 'masktrack_rcnn', target)
    assert not cache.exists()


def test_a_missing_graph_is_exported_once(model: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    weights = copy_of(model, cache.parents[2])
    graph = find_graph(weights, 'auto', 'cpu')
    assert cache in graph.parents
    assert 'exporting small.masktrack_rcnn.cpu.onnx' in caplog.text
    assert read_graph(graph, graph.with_name(weights.name)).target == 'cpu'
    written = graph.stat().st_mtime_ns
    assert find_graph(weights, 'auto', 'cpu') == graph
    assert graph.stat().st_mtime_ns == written


def test_a_graph_of_other_weights_is_ignored(
    model: Path, cpu_graph: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = copy_of(model, cache.parents[2])
    graph = copy_of(cpu_graph, cache.parents[2])
    assert find_graph(weights, 'auto', 'cpu') == graph
    state = load_file(weights)
    state['rpn.head.cls_logits.bias'] += 1
    save_file(state, weights, metadata={'vis_ros.model': read_metadata(graph).config.to_json()})
    with pytest.raises(ValueError, match='export it again'):
        read_graph(graph, weights)
    monkeypatch.setattr('vis_ros.export.find_graph.missing', lambda extra: ('torch', 'onnx'))
    with pytest.raises(FileNotFoundError, match=r'torch, onnx is not installed.* vis-ros export'):
        find_graph(weights, 'auto', 'cpu')
    assert 'exported from other weights' in caplog.text


def test_a_symbolic_link_to_weights_finds_their_graph(cache: Path) -> None:
    cache.parents[2].joinpath('demo.safetensors').symlink_to(DEMO)
    link = cache.parents[2] / 'demo.safetensors'
    assert find_graph(link, 'auto', 'cpu') == graph_path(DEMO, 'masktrack_rcnn', 'cpu')


def test_graph_names() -> None:
    weights = Path('folder/x.safetensors')
    assert graph_path(weights, 'mask_rcnn', 'cpu') == Path('folder/x.mask_rcnn.cpu.onnx')
    assert graph_path(weights, 'mask_rcnn', 'gpu', 'fp16') == Path('folder/x.mask_rcnn.gpu.onnx')
    assert graph_path(weights, 'mask_rcnn', 'gpu', 'fp32').name == 'x.mask_rcnn.gpu.fp32.onnx'
    assert graph_path(weights, 'mask_rcnn', 'gpu', size=(96, 64), batch=4).name == 'x.mask_rcnn.gpu.fp16.96x64.b4.onnx'


@pytest.mark.parametrize('length', [0, 1, 1000, -1000])
def test_a_damaged_graph_is_reported(length: int, tmp_path: Path) -> None:
    graph = tmp_path / 'x.onnx'
    graph.write_bytes(graph_path(DEMO, 'mask_rcnn', 'cpu').read_bytes()[:length])
    with pytest.raises(ValueError, match=r'x\.onnx was not made by vis-ros export'):
        read_metadata(graph)


def test_metadata_equal_those_read_by_onnx() -> None:
    graph = graph_path(DEMO, 'masktrack_rcnn', 'gpu')
    theirs = {pair.key: pair.value for pair in onnx.load(graph, load_external_data=False).metadata_props}
    ours = read_metadata(graph)
    assert theirs == {
        'vis_ros.model': ours.config.to_json(),
        'vis_ros.target': ours.target,
        'vis_ros.precision': ours.precision,
        'vis_ros.weights_sha256': ours.weights_sha256,
        'vis_ros.version': ours.version,
        SEAL_KEY: hashlib.sha256(graph.read_bytes()[:-_SEAL_BYTES]).hexdigest(),
    }


@pytest.mark.parametrize('graph', sorted(DEMO.parent.glob('*.onnx')), ids=lambda graph: graph.name)
def test_every_damaged_byte_of_a_packaged_graph_is_found(graph: Path, tmp_path: Path) -> None:
    data = graph.read_bytes()
    assert SEAL_KEY in read_metadata_props(graph), f'run: vis-ros export {graph.stem.split(".")[0]}'
    for place in range(0, len(data), 1 + len(data) // 20):
        damaged = bytearray(data)
        damaged[place] ^= 16
        (tmp_path / 'x.onnx').write_bytes(damaged)
        with pytest.raises(ValueError, match=r'differs from the SHA-256 in it|not an ONNX file|codec'):
            read_metadata_props(tmp_path / 'x.onnx')


def test_a_graph_of_an_earlier_version_has_no_seal(tmp_path: Path) -> None:
    graph = graph_path(DEMO, 'mask_rcnn', 'cpu')
    (tmp_path / 'x.onnx').write_bytes(graph.read_bytes()[:-_SEAL_BYTES])
    assert SEAL_KEY not in read_metadata_props(tmp_path / 'x.onnx')
    assert read_metadata(tmp_path / 'x.onnx') == read_metadata(graph)


# --- command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arguments', 'written'),
    [
        ([], ['masktrack_rcnn cpu', 'masktrack_rcnn gpu', 'mask_rcnn cpu', 'mask_rcnn gpu']),
        (['--engine', 'openvino', '--model', 'mask_rcnn'], ['mask_rcnn cpu']),
        (['--engine', 'onnx', '--model', 'masktrack_rcnn'], ['masktrack_rcnn gpu']),
        (['--batch', '4'], ['masktrack_rcnn gpu 4', 'mask_rcnn gpu 4']),
        (['--size', '64x96', '--precision', 'fp32', '--model', 'mask_rcnn'], ['mask_rcnn gpu fp32 (64, 96)']),
    ],
)
def test_the_command_writes_the_requested_graphs(
    model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], written: list[str]
) -> None:
    calls = []

    def record(path: Path, target: str, *, architecture: str, out: Path | None, **options: Any) -> Path:
        given = [str(value) for value in options.values() if value not in (None, 1, [])]
        calls.append(' '.join([architecture, target, *given]))
        return path

    monkeypatch.setattr('vis_ros.export.graph_export.export', record)
    CliRunner().invoke(app, ['export', str(model), *arguments], catch_exceptions=False)
    assert calls == written


def test_the_command_writes_to_a_folder(model: Path, tmp_path: Path) -> None:
    arguments = ['export', str(model), '--engine', 'openvino', '--model', 'mask_rcnn', '--out', str(tmp_path / 'new')]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == ['small.mask_rcnn.cpu.onnx', model.name]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--size', '96'], "--size '96' is not height x width"),
        (['--engine', 'openvino', '--batch', '2'], '--size and --batch are for TensorRT'),
        (['--engine', 'openvino', '--precision', 'fp16'], '--precision fp32, fp16 and bf16, .* are for TensorRT'),
    ],
)
def test_the_command_rejects_invalid_options(model: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CliRunner().invoke(app, ['export', str(model), *arguments], catch_exceptions=False)


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    weights = tmp_path / 'own' / 'tiny.safetensors'
    weights.parent.mkdir()
    weights.write_bytes(b'weights')
    (tmp_path / 'out').mkdir()
    assert copy_weights(weights, tmp_path / 'out').read_bytes() == b'weights'
    assert copy_weights(weights, tmp_path / 'out').read_bytes() == b'weights', 'the same content'
    other = tmp_path / 'out' / 'tiny.safetensors'
    other.write_bytes(b'of mine')
    with pytest.raises(FileExistsError, match=r'tiny\.safetensors is another file than .* choose another --out'):
        copy_weights(weights, tmp_path / 'out')
    assert other.read_bytes() == b'of mine'
    graph = tmp_path / 'tiny.onnx'
    check_replaceable(graph)
    for content in (b'', b'of mine'):
        graph.write_bytes(content)
        with pytest.raises(FileExistsError, match='was not written by vis-ros export'):
            check_replaceable(graph)
    onnx_model = onnx.ModelProto()
    onnx.helper.set_model_props(onnx_model, {'vis_ros.version': '1'})
    graph.write_bytes(onnx_model.SerializeToString())
    check_replaceable(graph)
