"""TensorRtEngine without a GPU, and as a whole with a simulated GPU, whose network runs in ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
from helpers.engines import openvino_engine, tensorrt_engine
from helpers.fake_cuda import Arrays, FakeCuda, FakeDriver, fake_tensorrt
from test_cuda_resize import kernel  # noqa: F401  # a fixture

from vis_ros.engines import loading
from vis_ros.engines.accuracy_check import count_matches
from vis_ros.engines.loading import load_engine
from vis_ros.engines.tensorrt import library as tensorrt_library
from vis_ros.engines.tensorrt import tensorrt_engine as tensorrt_module
from vis_ros.engines.tensorrt.library import Gpu, TensorRt, find_gpu, find_tensorrt
from vis_ros.export.find_graph import find_graph
from vis_ros.networks.named_weights import resolve
from vis_ros.synthetic.scene import Scene

ROOT = Path(__file__).resolve().parents[1]
GPU = Gpu(0, 'Fake GPU', (8, 7), 1 << 33)
HALF_LAYER = '{"Layers": [{"LayerType": "CaskConvolution", "Weights": {"Type": "Half"}}]}'


@pytest.fixture(scope='module', autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


# --- without a GPU ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loading, tensorrt_library):
        monkeypatch.setattr(module, 'nvidia_gpus', lambda: ())


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (loading, tensorrt_library):
        monkeypatch.setattr(module, 'nvidia_gpus', lambda: ('Fake GPU',))


@pytest.mark.usefixtures('no_gpu')
def test_without_a_gpu_the_engine_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r'needs an NVIDIA GPU.*nvidia-smi.*engine openvino'):
        load_engine('demo', engine='tensorrt')


@pytest.mark.usefixtures('no_gpu')
def test_without_a_gpu_auto_uses_openvino_without_a_note() -> None:
    info = load_engine('demo').describe()
    assert info.engine.startswith('OpenVINO')
    assert info.note == ''


@pytest.mark.usefixtures('one_gpu')
@pytest.mark.parametrize(
    ('device', 'message'),
    [('cpu', "not on device 'cpu'"), ('cuda:1', r'this machine has 1 GPUs, counted from 0 \(Fake GPU\)')],
)
def test_devices_that_do_not_exist(device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_gpu(device)


@pytest.mark.usefixtures('one_gpu')
def test_a_gpu_that_does_not_respond() -> None:
    """As on this machine: cuda-python is installed, but finds no driver."""
    pytest.importorskip('cuda.bindings.runtime')
    with pytest.raises(ValueError, match=r'Fake GPU does not respond: cudaError'):
        find_gpu()


@pytest.mark.usefixtures('one_gpu')
def test_auto_notes_why_a_gpu_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_module, 'find_gpu', lambda _: GPU)
    monkeypatch.setitem(tensorrt_library.FLAVOURS, 'tensorrt', ('TensorRT', ('no_such_module',)))
    monkeypatch.setitem(tensorrt_library.FLAVOURS, 'tensorrt_rtx', ('TensorRT-RTX', ('nor_this',)))
    info = load_engine('demo').describe()
    assert info.engine.startswith('OpenVINO')
    assert 'tensorrt: TensorRT is not installed' in info.note
    assert "No module named 'no_such_module'" in info.note


def test_a_library_that_cannot_be_imported_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like `import tensorrt` without its shared libraries."""
    (tmp_path / 'tensorrt.py').write_text('raise ImportError("libnvinfer.so.10: cannot open shared object file")')
    (tmp_path / 'tensorrt_rtx.py').write_text('__version__ = "1.7"')
    monkeypatch.syspath_prepend(tmp_path)
    assert str(find_tensorrt()) == 'TensorRT-RTX 1.7'
    with pytest.raises(ValueError, match='libnvinfer'):
        find_tensorrt(('tensorrt',))


# --- with a simulated GPU ---------------------------------------------------------------------------------------------


class SimulatedGpu:
    """Replaces the CUDA runtime and TensorRT; a plan is the path of a graph, which runs in ONNX Runtime."""

    def __init__(self) -> None:
        self._modules: dict[bytes, Any] = {}
        self.gives_wrong_masks = False
        self.builds = 0

    def library(self, cuda: FakeCuda) -> TensorRt:
        module = self._module(cuda, find_graph(resolve('demo'), 'masktrack_rcnn', 'gpu'))
        simulated = self

        class Runtime:
            def __init__(self, logger: Any) -> None:
                self._logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                engine = simulated._module(cuda, Path(plan.decode())).Runtime(self._logger)
                return engine.deserialize_cuda_engine(plan)

        return TensorRt(cast(ModuleType, SimpleNamespace(**{**vars(module), 'Runtime': Runtime})), 'tensorrt')

    def _module(self, cuda: FakeCuda, graph: Path) -> ModuleType:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(graph), options, providers=['CPUExecutionProvider'])
        names = [output.name for output in session.get_outputs()]
        types = {'tensor(uint8)': np.uint8, 'tensor(float)': np.float32}
        inputs: dict[str, Any] = {
            value.name: np.zeros(value.shape, types[value.type]) for value in session.get_inputs()
        }

        def network(given: Arrays) -> Arrays:
            outputs = dict(zip(names, session.run(names, given), strict=True))
            if self.gives_wrong_masks:
                outputs['masks'] = outputs['masks'][..., ::-1].copy()
            return outputs

        return fake_tensorrt(cuda, inputs, network, HALF_LAYER)

    def build(self, graph: Path, plan: Path, target: object) -> str:
        self.builds += 1
        plan.write_bytes(str(graph).encode())
        return 'fp16'


@pytest.fixture(scope='module')
def simulated() -> SimulatedGpu:
    return SimulatedGpu()


@pytest.fixture
def gpu(
    simulated: SimulatedGpu,
    kernel: Callable[..., None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SimulatedGpu]:
    cuda = FakeCuda(1 << 28)
    library = simulated.library(cuda)
    for name, value in {
        'find_gpu': lambda device: GPU,
        'find_tensorrt': lambda: library,
        'cuda_runtime': lambda: cuda,
        'cuda_driver': lambda: FakeDriver(cuda, kernel),
        'build_plan': simulated.build,
    }.items():
        monkeypatch.setattr(tensorrt_module, name, value)
    simulated.gives_wrong_masks, simulated.builds = False, 0
    yield simulated


def test_it_gives_the_same_detections_as_the_reference(gpu: SimulatedGpu) -> None:
    tensorrt = tensorrt_engine('demo')
    info = tensorrt.describe()
    assert (info.engine, info.device, info.precision) == ('TensorRT 10.3.0', 'Fake GPU (SM 8.7)', 'fp16')
    assert info.note == ''
    assert tensorrt._main._session.resize is not None
    frames = [Scene(seed, (360, 640)).frame(seed * 40).image for seed in range(5, 8)]
    reference = openvino_engine('demo', precision='fp32')
    total, matched = count_matches(tensorrt.infer(frames), reference.infer(frames), 0.55)
    assert total > 20
    assert matched == total


@pytest.mark.parametrize('size', [(480, 640), (640, 640), (640, 360)])
def test_images_of_other_shapes_are_not_padded_more_than_by_other_engines(
    gpu: SimulatedGpu, size: tuple[int, int]
) -> None:
    tensorrt = tensorrt_engine('demo')
    frames = [Scene(seed, size).frame(seed * 40).image for seed in range(5, 8)]
    reference = openvino_engine('demo', precision='fp32')
    total, matched = count_matches(tensorrt.infer(frames), reference.infer(frames), 0.55)
    assert total > 20
    assert matched == total
    assert tensorrt.describe().note == ''


def test_without_a_graph_for_a_shape_images_are_padded_and_that_is_noted(
    gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorrt = tensorrt_engine('demo')
    monkeypatch.setattr(tensorrt_module, 'find_graph', Mock(side_effect=FileNotFoundError('export it with SIZE')))
    (found,) = tensorrt.infer([Scene(5, (480, 640)).frame(200).image])
    assert len(found) > 3
    assert 'images that are 384x288 after the resize are padded to 512x288' in tensorrt.describe().note
    assert 'export it with SIZE' in tensorrt.describe().note


def test_in_the_background_the_main_network_takes_images_of_other_shapes(gpu: SimulatedGpu) -> None:
    tensorrt = tensorrt_engine('demo')
    tensorrt.compile_in_background()
    image = Scene(5, (640, 360)).frame(200).image
    assert len(tensorrt.infer([image])) == 1
    (future,) = tensorrt._by_size._being_made.values()
    future.result(120)
    (expected,) = openvino_engine('demo', precision='fp32').infer([image])
    (found,) = tensorrt.infer([image])
    assert found.class_ids.tolist() == expected.class_ids.tolist()


def test_the_second_start_builds_nothing(gpu: SimulatedGpu) -> None:
    tensorrt_engine('demo')
    tensorrt_engine('demo')
    assert gpu.builds <= 1


def test_wrong_results_are_rejected_unless_the_check_is_off(gpu: SimulatedGpu) -> None:
    gpu.gives_wrong_masks = True
    with pytest.raises(ValueError, match=r'only \d+ of \d+ confident detections'):
        tensorrt_engine('demo')
    assert tensorrt_engine('demo', accuracy_check=False).describe().note == 'the accuracy check is turned off'


def test_threshold_and_maximum_detections_need_no_other_graph(gpu: SimulatedGpu) -> None:
    frame = Scene(5, (360, 640)).frame(200).image
    counts = []
    for threshold in (0.05, 0.5, 0.9):
        (found,) = tensorrt_engine('demo', score_threshold=threshold, accuracy_check=False).infer([frame])
        assert (found.scores > threshold).all()
        counts.append(len(found))
    assert counts[0] > counts[1] >= counts[2]
    (one,) = tensorrt_engine('demo', max_detections=1, accuracy_check=False).infer([frame])
    assert len(one) == 1


def test_a_precision_other_than_the_requested_one_is_noted(gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tensorrt_module.TensorRtSession
    monkeypatch.setattr(session, 'precision', 'fp32')
    info = tensorrt_engine('demo', accuracy_check=False).describe()
    assert info.precision == 'fp32'
    assert 'fp16 was requested, but most layers of the engine compute in fp32' in info.note


def test_torch_is_not_imported() -> None:
    code = (
        'import sys, vis_ros.engines.tensorrt.tensorrt_engine; '
        'print(*({"torch", "onnx", "openvino", "cuda", "tensorrt", "tensorrt_rtx_bindings"} & set(sys.modules)))'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert (result.stdout.split(), result.returncode) == ([], 0), result.stderr


def test_without_nvrtc_images_are_resized_on_the_cpu(gpu: SimulatedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_nothing(capability: tuple[int, int]) -> bytes:
        raise ValueError('NVRTC does not load')

    monkeypatch.setattr(tensorrt_module, 'compile_resize', compile_nothing)
    tensorrt = tensorrt_engine('demo')
    assert tensorrt.describe().note == 'images are resized on the CPU: NVRTC does not load'
    frame = Scene(5, (360, 640)).frame(40).image
    (expected,) = tensorrt.infer([frame])
    monkeypatch.setattr(tensorrt_module, 'compile_resize', lambda capability: b'code')
    (found,) = tensorrt_engine('demo').infer([frame])
    assert len(found) > 5
    np.testing.assert_array_equal(found.boxes, expected.boxes)
