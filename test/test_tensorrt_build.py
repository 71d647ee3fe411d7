"""Builds engines with TensorRT-RTX for GPUs that this machine does not have. No engine is run."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.tiny_graph import write_tiny_graph

from vis_ros.engines.tensorrt import build as tensorrt_build
from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.export.graph_file import graph_path
from vis_ros.networks.named_weights import resolve

pytest.importorskip('tensorrt_rtx_bindings')

AMPERE = BuildTarget('tensorrt_rtx', (8, 6))
ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize('capability', [(7, 5), (8, 0), (8, 9), (12, 1), (9, 0), None])
def test_a_tiny_graph_is_built_for_each_kind_of_gpu(tmp_path: Path, capability: tuple[int, int] | None) -> None:
    """TensorRT-RTX does not list (9, 0)."""
    graph = write_tiny_graph(tmp_path)
    assert build_plan(graph, tmp_path / 'plan', BuildTarget('tensorrt_rtx', capability)) == 'fp16'
    assert (tmp_path / 'plan').stat().st_size > 10_000


def test_progress_is_logged_during_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tensorrt_build, 'PROGRESS_PERIOD_S', 0.1)
    with caplog.at_level(logging.INFO):
        build_plan(write_tiny_graph(tmp_path), tmp_path / 'plan', AMPERE)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert lines[0] == 'building the TensorRT engine of tiny.masktrack_rcnn.gpu.b1.onnx'
    assert lines[-1].startswith('built the TensorRT engine of')
    assert any(line.startswith('building the TensorRT engine: ') for line in lines[1:-1])


def test_a_graph_that_tensorrt_rejects(tmp_path: Path) -> None:
    graph = write_tiny_graph(tmp_path, unknown_node=True)
    with pytest.raises(ChildProcessError, match=r'could not build tiny.*does not accept the graph: NoSuchLayer'):
        build_plan(graph, tmp_path / 'plan', AMPERE)
    assert not (tmp_path / 'plan').exists()


def test_a_graph_without_its_weights(tmp_path: Path) -> None:
    graph = write_tiny_graph(tmp_path)
    (tmp_path / 'tiny.safetensors').unlink()
    with pytest.raises(ChildProcessError, match='does not accept the graph'):
        build_plan(graph, tmp_path / 'plan', AMPERE)


def test_a_plan_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r'exited with status 1; .*No such file or directory'):
        build_plan(write_tiny_graph(tmp_path), tmp_path / 'nowhere' / 'plan', AMPERE)


# --- build processes that do not finish -------------------------------------------------------------------------------

SLEEPER = 'import time; print("the library says something", flush=True); time.sleep(600)'


@pytest.fixture
def sleeping_builder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A build process that would never end."""
    monkeypatch.setattr(tensorrt_build, '_command', lambda *_: [sys.executable, '-c', SLEEPER])
    yield


@pytest.mark.usefixtures('sleeping_builder')
def test_a_killed_build_process_is_reported(tmp_path: Path) -> None:
    killer = threading.Thread(target=kill_child_of_this_process)
    killer.start()
    with pytest.raises(ChildProcessError, match=r'killed by signal 9.*last output: the library says something'):
        build_plan(tmp_path / 'graph.onnx', tmp_path / 'plan', AMPERE)
    killer.join()


def kill_child_of_this_process() -> None:
    for _ in range(100):
        time.sleep(0.1)
        for child in children_of(os.getpid()):
            if 'the library says' in command_of(child):
                time.sleep(0.5)  # until it has printed its line
                os.kill(child, signal.SIGKILL)
                return


def children_of(pid: int) -> list[int]:
    paths = Path(f'/proc/{pid}/task').glob('*/children')
    return [int(child) for path in paths for child in path.read_text().split()]


def command_of(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/cmdline').read_text()
    except OSError:
        return ''


PARENT = """
import sys
from pathlib import Path
from vis_ros.engines.tensorrt import build_process

sys.argv = ['builder', 'graph', 'plan', 'tensorrt_rtx', '8.6', 'none']
build_process._build = lambda *_: __import__('time').sleep(600)
build_process.main()
"""


def test_the_build_process_ends_with_its_parent() -> None:
    child = subprocess.Popen([sys.executable, '-c', PARENT], stdin=subprocess.PIPE, cwd=ROOT)
    assert child.stdin is not None
    try:
        time.sleep(1)
        assert child.poll() is None
        child.stdin.close()  # as the system does when a parent is killed
        assert child.wait(timeout=20) == 1
    finally:
        child.kill()


# --- the graphs of this package ---------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network like the packaged one for smaller images, so that its export takes only seconds."""
    from vis_ros.networks.model_config import DEMO
    from vis_ros.networks.random_model import save_random_model

    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    size = {'input_height': 64, 'input_width': 96}
    fewer = {'proposals_before_nms': 40, 'proposals': 30, 'max_detections': 5}
    save_random_model(DEMO.with_fields(name='small', **size, **fewer), path)
    return path


@pytest.mark.slow
def test_the_packaged_graph_is_built(tmp_path: Path) -> None:
    graph = graph_path(resolve('demo'), 'masktrack_rcnn', 'gpu')
    assert build_plan(graph, tmp_path / 'plan', AMPERE) == 'fp16'
    weights = resolve('demo').stat().st_size
    assert weights < (tmp_path / 'plan').stat().st_size < 3 * weights


@pytest.mark.slow
@pytest.mark.parametrize(('precision', 'batch'), [('fp16', 4), ('fp32', 1), ('bf16', 1)])
def test_other_precisions_and_batches(tmp_path: Path, small_weights: Path, precision: str, batch: int) -> None:
    from vis_ros.export.graph_export import export

    graph = export(small_weights, 'gpu', precision=precision, batch=batch)
    assert build_plan(graph, tmp_path / 'plan', AMPERE) == precision


@pytest.mark.slow
def test_a_graph_of_a_model_from_another_code_base(tmp_path: Path) -> None:
    """Boxes and masks per class, inclusive boxes, and images resized as float."""
    from vis_ros.export.graph_export import export
    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.networks.random_model import save_random_model

    config = ModelConfig(
        name='other',
        class_names=('cat', 'dog'),
        backbone='resnet18',
        input_height=64,
        input_width=96,
        resize='float',
        legacy_boxes=True,
        roi_align_samples=2,
        proposals_before_nms=40,
        proposals=30,
        max_detections=5,
    )
    weights = tmp_path / 'other.safetensors'
    save_random_model(config, weights)
    assert build_plan(export(weights, 'gpu'), tmp_path / 'plan', AMPERE) == 'fp16'
