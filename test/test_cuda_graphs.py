"""CudaGraphs on a CPU: what a graph may contain, its buffers, and what happens without a graph.

A replay is simulated by running the network again and copying the results into the tensors of the first run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engines import torch_engine
from test_openvino_engine import assert_same
from test_static_detector import KINDS, network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vis_ros.engines.torch import cuda_graphs
from vis_ros.engines.torch.cuda_graphs import CudaGraph, CudaGraphs
from vis_ros.engines.torch.torch_engine import TorchEngine
from vis_ros.export.graph_export import example_inputs
from vis_ros.export.static_detector import StaticDetector
from vis_ros.networks.model_file import save_model
from vis_ros.synthetic.scene import Scene

torch.set_num_threads(1)
CPU = torch.device('cpu')
SIZES = [(360, 640), (480, 640), (640, 360), (333, 517)]


def run_again(run, device):
    assert device == CPU
    outputs = run()

    def replay():
        for output, new in zip(outputs, run(), strict=True):
            output.copy_(new)

    return replay, outputs


def fail(run, device):
    raise RuntimeError('CUDA error: operation not permitted when stream is capturing\nmore lines')


def engine_with(capture, note=''):
    engine = torch_engine('demo', score_threshold=0.3)
    engine._note = note
    engine._graphs = CudaGraphs(engine.network, torch.float32, CPU, capture)
    return engine


def picture(size, index=4):
    return Scene(seed=sum(size), size=size, frames=60).frame(index).image


@pytest.fixture(scope='module')
def eager():
    return torch_engine('demo', score_threshold=0.3)


@pytest.fixture(scope='module')
def replayed():
    return engine_with(run_again)


# --- what a graph may contain -----------------------------------------------------------------------------------------


class HostData(TorchDispatchMode):
    """Collects operations that copy values from or to the CPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        tensors = [leaf for leaf in tree_leaves((arguments, keywords, result)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type != 'meta' for tensor in tensors) or 'lift_fresh' in str(operation):
            self.found.append(str(operation))
        return result


@pytest.mark.parametrize('precision', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('kind', ['demo', 'classes', 'legacy', 'torchvision', 'resnet50'])
def test_after_its_first_run_the_network_copies_nothing_from_the_cpu(kind, precision):
    """On the device 'meta', which has shapes but no values, so a shape that depends on values is an error."""
    built = network(**KINDS[kind]).requires_grad_(False).to('meta')
    detector = StaticDetector(built, 'gpu', precision).eval()
    inputs = [tensor.to('meta') for tensor in example_inputs(detector, (96, 160), 1).values()]
    with torch.inference_mode():
        with HostData() as first:
            detector(*inputs)
        with HostData() as second:
            detector(*inputs)
    assert first.found, 'constants are created in the first run'
    assert second.found == []


# --- what a replay finds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('size', SIZES)
def test_a_replay_gives_the_same_detections_as_the_network(eager, replayed, size):
    for index in (0, 8):
        image = picture(size, index)
        (expected,), (found,) = eager.infer([image]), replayed.infer([image])
        assert len(expected) > 2
        assert_same(found, expected)


def test_other_graphs_are_dropped_when_memory_runs_out():
    """Each graph has its own memory."""
    faults = []

    def capture(run, device):
        if faults:
            raise faults.pop()
        return run_again(run, device)

    engine = engine_with(capture)
    engine.infer([picture(SIZES[0])])
    faults.append(torch.OutOfMemoryError('CUDA out of memory'))
    found = engine.infer([picture(SIZES[1])])
    assert not engine.describe().note and len(found[0]) and len(engine._graphs._graphs) == 1
    engine = engine_with(capture)
    faults += [torch.OutOfMemoryError('CUDA out of memory')]
    engine.infer([picture(SIZES[1])])
    assert engine.describe().note == 'torch runs without a CUDA graph: CUDA out of memory'


def test_no_pixel_of_the_previous_image_remains(eager, replayed):
    """Two images that share a graph and fill different parts of it; the smaller one is last."""
    image = picture((330, 640))
    first, small = replayed.infer([np.full((360, 640, 3), 255, np.uint8), image])
    assert_same(small, eager.infer([image])[0])
    boxes = small.boxes.copy()
    replayed.infer([picture((360, 640))])
    np.testing.assert_array_equal(small.boxes, boxes)
    assert first.image_size == (360, 640)


@pytest.mark.parametrize('kind', ['torchvision', 'legacy'])
def test_models_converted_from_other_code_bases(kind, tmp_path: Path):
    path = tmp_path / f'{kind}.safetensors'
    save_model(network(**KINDS[kind], input_height=96, input_width=160), path, torch.float32)
    plain, graphed = (torch_engine(path) for _ in range(2))
    graphed._graphs = CudaGraphs(graphed.network, torch.float32, CPU, run_again)
    image = picture((150, 220))
    (expected,) = plain.infer([image])
    assert len(expected) >= 5
    assert_same(graphed.infer([image])[0], expected)


def test_the_network_of_the_engine_keeps_its_precision(replayed):
    half = CudaGraphs(replayed.network, torch.float16, CPU, run_again)
    assert {parameter.dtype for parameter in half._detector.parameters()} == {torch.float16}
    assert {parameter.dtype for parameter in replayed.network.parameters()} == {torch.float32}


def test_the_least_recently_used_graph_is_dropped(monkeypatch):
    captured = []
    monkeypatch.setattr(cuda_graphs, 'CudaGraph', lambda detector, size, *_: captured.append(size) or size)
    monkeypatch.setattr(cuda_graphs, 'MAX_GRAPHS_IN_MEMORY', 2)
    graphs = CudaGraphs(network(), torch.float32, CPU, run_again)
    for size in [(32, 32), (32, 64), (32, 32), (64, 64), (32, 32), (32, 64)]:
        assert graphs.of_size(size) == size
    assert captured == [(32, 32), (32, 64), (64, 64), (32, 64)]


# --- where there is none ----------------------------------------------------------------------------------------------


def test_without_a_graph_the_network_runs_eagerly_and_a_note_says_why(eager, caplog):
    engine = engine_with(fail, note='no TensorRT')
    images = [picture(size) for size in SIZES[:2]]
    for found, expected in zip(engine.infer(images), eager.infer(images), strict=True):
        assert_same(found, expected)
    said = 'torch runs without a CUDA graph: CUDA error: operation not permitted when stream is capturing'
    assert engine.describe().note == f'no TensorRT; {said}'
    assert [record.message for record in caplog.records] == [said]
    assert engine._graphs is None, 'not tried again for every image'


def test_an_image_that_did_not_converge_runs_eagerly(eager, monkeypatch):
    image = picture((360, 640))
    engine = engine_with(run_again)
    run = CudaGraph.run

    def unconverged(graph, *arguments):
        found = run(graph, *arguments)
        return type(found)(found.boxes + 9, found.scores, found.labels, found.masks, found.embeddings, converged=False)

    monkeypatch.setattr(CudaGraph, 'run', unconverged)
    assert_same(engine.infer([image])[0], eager.infer([image])[0])
    assert engine.describe().note == ''


def test_an_image_without_objects_is_not_run_twice(replayed, monkeypatch):
    monkeypatch.setattr(
        TorchEngine, '_infer_eagerly', lambda *_: pytest.fail('the empty result of the replay is valid')
    )
    (found,) = replayed.infer([np.zeros((360, 640, 3), np.uint8)])
    assert len(found) == 0


def test_there_is_no_graph_on_a_cpu(eager):
    assert eager._graphs is None
