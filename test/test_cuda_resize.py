"""The resize on the GPU: its kernel, compiled for the CPU, compared with OpenCV, and the handling of memory."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import weakref
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.fake_cuda import FakeCuda, FakeDriver
from test_tensorrt_session import CANVAS, CONFIG, GPU, make_library

from vis_ros.engines.tensorrt import cuda_resize
from vis_ros.engines.tensorrt.batch_detector import BatchDetector
from vis_ros.engines.tensorrt.cuda_resize import BLOCK, KERNEL, CudaResize, axis_table, compile_resize
from vis_ros.engines.tensorrt.session import DeviceMemoryError, TensorRtSession

AS_CPP = """
#include <cstddef>
#define __global__
struct int4 { int x, y, z, w; };
struct Place { unsigned x, y; };
static Place blockIdx, blockDim, threadIdx;
%s
extern "C" void launch(unsigned grid_x, unsigned grid_y, unsigned, unsigned block_x, unsigned block_y, unsigned,
                       const unsigned char* source, int source_width, const int4* columns, const int4* rows,
                       int width, int height, unsigned char* canvas, int canvas_width, int canvas_height)
{
    blockDim = {block_x, block_y};
    for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block_y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block_x; ++threadIdx.x)
                    resize(source, source_width, columns, rows, width, height, canvas, canvas_width, canvas_height);
}
"""


@pytest.fixture(scope='module')
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """KERNEL compiled for the CPU. It is called with a grid, a block and the arguments of the kernel."""
    folder = tmp_path_factory.mktemp('kernel')
    (folder / 'kernel.cpp').write_text(AS_CPP % KERNEL)
    command = ['g++', '-O1', '-shared', '-fPIC', '-fsanitize=undefined', '-fno-sanitize-recover', 'kernel.cpp']
    subprocess.run([*command, '-o', 'kernel.so'], cwd=folder, check=True)
    function: Callable[..., None] = ctypes.CDLL(str(folder / 'kernel.so')).launch
    return function


SIZES = [
    ((720, 1280), (288, 512)),
    ((480, 640), (288, 384)),
    ((1080, 1920), (288, 512)),
    ((576, 1024), (288, 512)),  # by half, which OpenCV does in another way
    ((288, 512), (288, 512)),
    ((100, 130), (288, 374)),
    ((333, 517), (288, 447)),
    ((1, 1), (5, 9)),
    ((7, 3), (1, 1)),
    ((640, 360), (288, 162)),
    ((50, 70), (288, 403)),
    ((101, 77), (97, 299)),
    ((719, 1279), (287, 511)),
]


@pytest.mark.parametrize(('source', 'result'), SIZES)
def test_the_kernel_equals_opencv_to_the_bit(
    kernel: Callable[..., None], source: tuple[int, int], result: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), np.uint8)
    canvas = np.full((result[0] + 5, result[1] + 40, 3), 9, np.uint8)
    columns, rows = (
        axis_table(source[1], result[1], is_horizontal=True),
        axis_table(source[0], result[0], is_horizontal=False),
    )
    grid = -(-canvas.shape[1] // BLOCK[0]), -(-canvas.shape[0] // BLOCK[1]), 1
    pointers = [ctypes.c_void_p(each.ctypes.data) for each in (image, columns, rows, canvas)]
    sides = result[1], result[0]
    kernel(*grid, *BLOCK, 1, pointers[0], source[1], *pointers[1:3], *sides, pointers[3], *canvas.shape[1::-1])
    expected = np.zeros_like(canvas)
    expected[: result[0], : result[1]] = cv2.resize(image, result[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(canvas, expected)


# --- NVRTC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('capability', [(7, 5), (8, 7), (9, 0), (12, 1)])
def test_nvrtc_compiles_the_kernel_without_a_gpu(capability: tuple[int, int]) -> None:
    pytest.importorskip('cuda.bindings.nvrtc')
    assert compile_resize(capability).startswith(b'\x7fELF')


def test_a_gpu_that_nvrtc_does_not_support() -> None:
    pytest.importorskip('cuda.bindings.nvrtc')
    with pytest.raises(ValueError, match=r'NVRTC cannot compile for SM 1\.0'):
        compile_resize((1, 0))


def test_without_nvrtc_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str) -> Any:
        raise ImportError(f'no module {name}')

    monkeypatch.setattr(cuda_resize.importlib, 'import_module', no_module)
    with pytest.raises(ValueError, match=r'cannot be loaded \(no module .*pip install nvidia-cuda-nvrtc'):
        compile_resize((8, 7))


# --- in a session -----------------------------------------------------------------------------------------------------

BYTES = CONFIG.with_fields(input_height=CANVAS[0], input_width=CANVAS[1])
IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    for seed, size in enumerate([(90, 160), (120, 80), (90, 160)])
]


def session_with_resize(
    cuda: FakeCuda, kernel: Callable[..., None], loads: bool = True
) -> tuple[TensorRtSession, FakeDriver]:
    driver = FakeDriver(cuda, kernel, loads)
    resize = CudaResize(cuda, driver, b'code')
    return TensorRtSession(make_library(cuda), GPU, b'plan', cuda, resize=resize), driver


def test_the_network_gets_the_same_images_as_from_the_cpu(kernel: Callable[..., None]) -> None:
    cuda = FakeCuda()
    session, _ = session_with_resize(cuda, kernel)
    assert session.note == '' and session.resize is not None
    ours, theirs = (
        BatchDetector(session, BYTES),
        BatchDetector(TensorRtSession(make_library(cuda), GPU, b'plan', cuda), BYTES),
    )
    cuda.events.clear()
    for found, expected in zip(ours.infer(IMAGES), theirs.infer(IMAGES), strict=True):
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    # Image, two tables, kernel, twice; then one launch in which no image is copied; then the third image.
    first = ['pageable'] * 3 + ['resize']
    events = [event for event in cuda.events if event != 'wait']
    assert events[: 2 * 4 + 1 + 3] == [*first, *first, 'launch', 'in', 'in', 'in']
    canvas = np.zeros((2, *CANVAS, 3), np.uint8)
    size = (36, 64)
    canvas[0, : size[0]] = cv2.resize(IMAGES[2], size[::-1])
    images = next(room for room in cuda.device.values() if len(room) == canvas.nbytes)
    np.testing.assert_array_equal(np.frombuffer(images, np.uint8)[: canvas[0].size], canvas[0].ravel())


def test_resize_tables_are_copied_once_per_size(kernel: Callable[..., None]) -> None:
    cuda = FakeCuda()
    detector = BatchDetector(session_with_resize(cuda, kernel)[0], BYTES)
    detector.infer(IMAGES[:1])
    cuda.events.clear()
    detector.infer(IMAGES[:1])
    assert cuda.events.count('pageable') == 1


def test_images_are_kept_until_the_stream_is_synchronized(
    kernel: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy from memory that is not page-locked may start at any time before that."""
    cuda = FakeCuda()
    detector = BatchDetector(session_with_resize(cuda, kernel)[0], BYTES)
    sent: list[weakref.ref[Any]] = []
    upload, wait = CudaResize._upload, cuda.cudaStreamSynchronize

    def remember(self: CudaResize, name: str, array: Any) -> int:
        sent.append(weakref.ref(array))
        return upload(self, name, array)

    kept: list[bool] = []

    def look(stream: int) -> tuple[Any, ...]:
        kept.extend(each() is not None for each in sent)
        return wait(stream)

    monkeypatch.setattr(CudaResize, '_upload', remember)
    monkeypatch.setattr(cuda, 'cudaStreamSynchronize', look)
    detector.infer([np.asfortranarray(image) for image in IMAGES[:2]])  # of which copies are made
    assert len(sent) == 6 and len(kept) >= 6 and all(kept)
    gc.collect()
    assert not any(each() is not None for each in sent)


def test_an_invalid_image_starts_no_copy(kernel: Callable[..., None]) -> None:
    cuda = FakeCuda()
    detector = BatchDetector(session_with_resize(cuda, kernel)[0], BYTES)
    cuda.events.clear()
    with pytest.raises(ValueError, match='an image must be'):
        detector.infer([IMAGES[0], np.zeros((4, 4), np.uint8)])
    assert cuda.events == []


def test_an_invalid_image_is_rejected(kernel: Callable[..., None]) -> None:
    detector = BatchDetector(session_with_resize(FakeCuda(), kernel)[0], BYTES)
    with pytest.raises(ValueError, match='an image must be'):
        detector.infer([np.zeros((4, 4), np.uint8)])


def test_without_the_kernel_images_are_resized_on_the_cpu(kernel: Callable[..., None]) -> None:
    cuda = FakeCuda()
    session, _ = session_with_resize(cuda, kernel, loads=False)
    assert session.resize is None
    assert session.note == (
        'images are resized on the CPU: Fake GPU cannot load the resize kernel: cudaErrorInvalidSource'
    )
    assert len(BatchDetector(session, BYTES).infer(IMAGES)) == 3


def test_an_image_that_does_not_fit_into_gpu_memory(kernel: Callable[..., None]) -> None:
    cuda = FakeCuda(1 << 20)
    detector = BatchDetector(session_with_resize(cuda, kernel)[0], BYTES)
    with pytest.raises(DeviceMemoryError, match='cannot allocate 3000000 bytes'):
        detector.infer([np.zeros((1000, 1000, 3), np.uint8)])
    assert len(detector.infer(IMAGES[:1])) == 1


def test_all_memory_is_freed(kernel: Callable[..., None]) -> None:
    cuda = FakeCuda()
    session, driver = session_with_resize(cuda, kernel)
    BatchDetector(session, BYTES).infer(IMAGES)
    assert driver.modules
    del session
    assert not cuda.device and not cuda.host and not driver.modules
