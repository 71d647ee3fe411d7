"""TensorRtSession and BatchDetector with a simulated CUDA runtime that has separate device memory."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from helpers.fake_cuda import Arrays, FakeCuda, FakeRuntimeCache, add_runtime_cache, fake_tensorrt
from helpers.fake_cuda import CudaError as CudaStatus

from vis_ros.engines.engine import DeviceLostError
from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.engines.tensorrt.batch_detector import BatchDetector
from vis_ros.engines.tensorrt.library import Gpu, TensorRt
from vis_ros.engines.tensorrt.session import CudaError, DeviceMemoryError, TensorRtSession
from vis_ros.networks.model_config import DEMO

GPU = Gpu(0, 'Fake GPU', (8, 7), 1 << 33)
CONFIG = DEMO.with_fields(input_height=40, input_width=64, max_detections=3, score_threshold=0.5, mask_scores=False)
BATCH, ROWS = 2, 5
CANVAS = (64, 64)


def network(inputs: Arrays) -> Arrays:
    """Detects a box as large as the image, with a score from its brightest pixel, and `ROWS` - 1 weaker ones."""
    sizes = inputs['sizes']
    mean = inputs['images'].reshape(BATCH, -1).max(1) / 255
    corners = np.stack([0 * sizes[:, 0], 0 * sizes[:, 0], sizes[:, 1], sizes[:, 0]], 1)
    weaker = np.array([1, 0.9, 0.8, 0.7, 0], np.float32)
    return {
        'boxes': np.repeat(corners[:, None], ROWS, 1).astype(np.float32),
        'scores': (mean[:, None] * weaker).astype(np.float32),
        'labels': np.tile(np.arange(1, ROWS + 1, dtype=np.int32), (BATCH, 1)),
        'masks': np.ones((BATCH, ROWS, 28, 28), np.float32),
        'embeddings': np.tile(inputs['scales'][:, None], (1, ROWS, 4)).astype(np.float32),
        'settled': np.ones(BATCH, bool),
    }


def make_library(cuda: FakeCuda, information: str = '{}') -> TensorRt:
    inputs: dict[str, Any] = {
        'images': np.zeros((BATCH, *CANVAS, 3), np.uint8),
        'sizes': np.zeros((BATCH, 2), np.float32),
        'scales': np.ones((BATCH, 2), np.float32),
        'score_threshold': np.zeros(1, np.float32),
    }
    return TensorRt(fake_tensorrt(cuda, inputs, network, information), 'tensorrt')


def make_session(cuda: FakeCuda, plan: bytes = b'plan', information: str = '{}') -> TensorRtSession:
    return TensorRtSession(make_library(cuda, information), GPU, plan, cuda)


RUN = ['in'] * 4 + ['network'] + ['out'] * 6


def test_a_run_is_a_single_launch() -> None:
    cuda = FakeCuda()
    session = make_session(cuda)
    assert session.note == ''
    cuda.events.clear()
    session.inputs['images'][1] = 255
    session.inputs['sizes'][:] = 10, 20
    session.run()
    assert cuda.events == ['launch', *RUN, 'wait']
    assert session.outputs['scores'][:, 0].tolist() == [0.0, 1.0]
    assert session.outputs['boxes'][1, 0].tolist() == [0, 0, 20, 10]


def test_without_a_cuda_graph_it_runs_with_a_note() -> None:
    cuda = FakeCuda(can_capture=False)
    session = make_session(cuda)
    assert 'no CUDA graph' in session.note
    assert 'cudaErrorStreamCaptureUnsupported' in session.note
    cuda.events.clear()
    session.inputs['images'][0] = 255
    session.run()
    assert cuda.events == [*RUN, 'wait']
    assert session.outputs['scores'][0, 0] == 1


def test_a_network_that_cannot_be_recorded_is_not() -> None:
    cuda = FakeCuda()
    library = make_library(cuda)
    library.module.Context.is_stream_capturable = lambda context, stream: False
    session = TensorRtSession(library, GPU, b'plan', cuda)
    assert 'cannot record' in session.note
    assert cuda.graphs == {}


@pytest.mark.skipif(bool(nvidia_gpus()), reason='these calls would have an effect on this machine')
def test_the_real_cuda_runtime_accepts_the_same_calls_as_the_fake_one() -> None:
    """Without a driver each call returns an error, provided that its arguments are valid."""
    real = pytest.importorskip('cuda.bindings.runtime')
    stream, graph, executable = real.cudaStream_t(0), real.cudaGraph_t(0), real.cudaGraphExec_t(0)
    kind, mode = real.cudaMemcpyKind.cudaMemcpyHostToDevice, real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    calls = {
        'cudaSetDevice': (0,),
        'cudaMemGetInfo': (),
        'cudaMallocHost': (16,),
        'cudaMalloc': (16,),
        'cudaFreeHost': (64,),
        'cudaFree': (64,),
        'cudaStreamCreate': (),
        'cudaStreamDestroy': (stream,),
        'cudaStreamSynchronize': (stream,),
        'cudaMemcpyAsync': (64, 64, 4, kind, stream),
        'cudaStreamBeginCapture': (stream, mode),
        'cudaStreamEndCapture': (stream,),
        'cudaGraphInstantiate': (graph, 0),
        'cudaGraphLaunch': (executable, stream),
        'cudaGraphDestroy': (graph,),
        'cudaGraphExecDestroy': (executable,),
        'cudaGetLastError': (),
    }
    assert {name for name in dir(FakeCuda) if re.match('cuda[A-Z]', name) and callable(getattr(FakeCuda, name))} - {
        'cudaError_t'
    } == calls.keys()
    for name, arguments in calls.items():
        error, *_ = getattr(real, name)(*arguments)
        assert error != real.cudaError_t.cudaSuccess, name


def test_all_memory_is_freed() -> None:
    cuda = FakeCuda()
    session = make_session(cuda)
    assert cuda.host
    assert cuda.device
    del session
    gc.collect()
    assert (cuda.host, cuda.device, cuda.streams, cuda.graphs) == ({}, {}, set(), {})


def test_too_little_memory_is_reported_with_sizes_and_everything_freed() -> None:
    cuda = FakeCuda(device_bytes=30_000)
    with pytest.raises(DeviceMemoryError, match=r'cannot allocate .* MiB: 0\.0 MiB of 0\.0 MiB are free on Fake GPU'):
        make_session(cuda)
    assert (cuda.host, cuda.device) == ({}, {})
    with pytest.raises(DeviceMemoryError, match='the engine needs'):
        make_session(FakeCuda(), b'large')


def test_a_failing_gpu_does_not_invalidate_the_plan(tmp_path: Path) -> None:
    """Otherwise the cache would delete an engine that takes minutes to build."""
    cuda = FakeCuda()
    cuda.cudaStreamSynchronize = lambda stream: (CudaStatus.cudaErrorInvalidSource,)  # type: ignore[method-assign]
    with pytest.raises(OSError, match='Fake GPU cannot run the network: cudaErrorInvalidSource') as caught:
        make_session(cuda)
    assert type(caught.value) is CudaError
    assert (cuda.host, cuda.device, cuda.streams) == ({}, {}, set())


def test_a_plan_that_tensorrt_rejects() -> None:
    with pytest.raises(ValueError, match=r'TensorRT 10\.3\.0 on Fake GPU rejects it: magic tag does not match'):
        make_session(FakeCuda(), b'broken')


def test_the_precision_comes_from_the_inspector() -> None:
    layer = '{"LayerType": "CaskConvolution", "Weights": {"Type": "Half"}}'
    assert make_session(FakeCuda(), information=f'{{"Layers": [{layer}]}}').precision == 'fp16'


def test_compiled_kernels_are_stored_for_the_next_start(tmp_path: Path) -> None:
    cuda = FakeCuda()
    library = make_library(cuda)
    caches: list[FakeRuntimeCache] = []
    add_runtime_cache(library.module, caches)
    for folder in (tmp_path, tmp_path, tmp_path / 'nowhere'):  # the last cannot be written, which is no fault
        TensorRtSession(library, GPU, b'plan', cuda, folder / 'kernels.compiled')
    assert [cache.given for cache in caches] == [b'', b'kernels', b'']
    assert [path.name for path in tmp_path.iterdir()] == ['kernels.compiled']


def test_kernels_that_cannot_be_loaded_are_stored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of another driver, even if the file has the same size."""
    monkeypatch.setattr(FakeRuntimeCache, 'deserialize', lambda self, blob: blob == b'kernels')
    cuda = FakeCuda()
    library = make_library(cuda)
    add_runtime_cache(library.module, [])
    path = tmp_path / 'kernels.compiled'
    path.write_bytes(b'another')
    TensorRtSession(library, GPU, b'plan', cuda, path)
    assert path.read_bytes() == b'kernels'
    folder = tmp_path / 'folder.compiled'
    folder.mkdir()  # cannot be read, and not be written
    TensorRtSession(library, GPU, b'plan', cuda, folder)
    assert sorted(each.name for each in tmp_path.iterdir()) == ['folder.compiled', 'kernels.compiled']


# --- BatchDetector ----------------------------------------------------------------------------------------------------


def images(*values: int) -> list[np.ndarray]:
    return [np.full((20 + 10 * index, 80, 3), value, np.uint8) for index, value in enumerate(values)]


@pytest.mark.parametrize('count', [0, 1, 2, 3, 5])
def test_any_number_of_images_with_a_batch_of_two(count: int) -> None:
    cuda = FakeCuda()
    detector = BatchDetector(make_session(cuda), CONFIG)
    cuda.events.clear()
    given = images(255, 200, 150, 255, 100)[:count]
    found = detector.infer(given)
    assert cuda.events.count('launch') == (count + 1) // 2
    assert len(found) == count
    for image, one in zip(given, found, strict=True):
        value = image[0, 0, 0] / 255
        expected = [score for score in (value * np.array([1, 0.9, 0.8, 0.7])) if score > 0.5][:3]
        np.testing.assert_allclose(one.scores, expected, rtol=1e-6)
        height, width = image.shape[:2]
        scale = min(40 / height, 64 / width)
        assert one.image_size == (height, width)
        np.testing.assert_allclose(one.boxes, np.tile([0, 0, width, height], (len(expected), 1)), atol=0.7 / scale)
        assert one.class_ids.tolist() == list(range(len(expected)))
        assert one.embeddings is not None
        np.testing.assert_allclose(one.embeddings[:, :2], np.full((len(expected), 2), scale), rtol=0.05)


def test_results_are_not_overwritten_by_the_next_run() -> None:
    detector = BatchDetector(make_session(FakeCuda()), CONFIG)
    (first,) = detector.infer(images(255))
    before = [first.boxes.copy(), first.scores.copy(), first.embeddings]
    before[2] = None if first.embeddings is None else first.embeddings.copy()
    detector.infer([np.full((100, 20, 3), 180, np.uint8)])
    for value, now in zip(before, (first.boxes, first.scores, first.embeddings), strict=True):
        np.testing.assert_array_equal(value, now)


def test_no_pixel_of_the_previous_image_remains_in_a_slot() -> None:
    detector = BatchDetector(make_session(FakeCuda()), CONFIG)
    detector.infer(images(255, 255))
    (found,) = detector.infer([np.zeros((10, 10, 3), np.uint8)])
    assert len(found) == 0


def test_a_gpu_that_fails_holds_no_images_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    session = make_session(cuda)
    detector = BatchDetector(session, CONFIG)
    before = detector.infer(images(255))[0].scores
    held: list[Any] = []
    session.resize = Mock(enqueue=lambda *each: held.append(each), release_images=held.clear)
    session._errors.append('an older error')
    with monkeypatch.context() as patch:
        patch.setattr(cuda, 'cudaGraphLaunch', lambda *_: (CudaStatus.cudaErrorInvalidSource,))
        for _ in range(3):
            with pytest.raises(CudaError, match='cudaErrorInvalidSource') as caught:
                detector.infer(images(255))
            assert not held and not session._errors and 'older' not in str(caught.value)
    session.resize = None
    np.testing.assert_array_equal(detector.infer(images(255))[0].scores, before)


def test_a_gpu_that_goes_on_failing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    detector = BatchDetector(make_session(cuda), CONFIG)
    for call in ('cudaGraphLaunch', 'cudaStreamSynchronize'):
        monkeypatch.setattr(cuda, call, lambda *_: (CudaStatus.cudaErrorInvalidSource,))
    with pytest.raises(DeviceLostError, match='restart'):
        detector.infer(images(255))


def test_more_detections_than_the_graph_returns_are_rejected() -> None:
    with pytest.raises(ValueError, match='max_detections is 6, but the graph returns 5'):
        BatchDetector(make_session(FakeCuda()), CONFIG.with_fields(max_detections=6))
