"""CudaResize: the one resize of an image on the GPU, in integers, bit for bit that of OpenCV on the processor.

OpenCV resizes bytes with bilinear weights of 11 bits: each axis has, for every pixel of the result, two pixels of the
source and their weights. Those are computed here once for a size of image; a kernel of a few lines does the rest.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

KERNEL = r"""
extern "C" __global__ void resize(const unsigned char* source, int source_width, const int4* columns, const int4* rows,
                                  int width, int height, unsigned char* canvas, int canvas_width, int canvas_height)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= canvas_width || y >= canvas_height) return;
    unsigned char* pixel = canvas + 3 * (y * canvas_width + x);
    const bool inside = x < width && y < height;
    const int4 column = columns[inside ? x : 0], row = rows[inside ? y : 0];  // two places and their weights
    const unsigned char* above = source + 3 * (size_t)row.x * source_width;
    const unsigned char* below = source + 3 * (size_t)row.y * source_width;
    for (int channel = 0; channel < 3; ++channel) {
        const int left = 3 * column.x + channel, right = 3 * column.y + channel;
        const int top = above[left] * column.z + above[right] * column.w;
        const int bottom = below[left] * column.z + below[right] * column.w;
        const int value = (((row.z * (top >> 4)) >> 16) + ((row.w * (bottom >> 4)) >> 16) + 2) >> 2;
        pixel[channel] = inside ? value : 0;
    }
}
"""
"""From source (h, w, 3) to the (height, width) pixels at the top left of a canvas, zeros elsewhere; all uint8."""

BLOCK = (32, 8)
_WEIGHT_BITS = 11

Check = Callable[[tuple[Any, ...], str], tuple[Any, ...]]
"""Takes what a CUDA call returned and says what was tried; gives the values, raises where the call failed."""


def compile_resize(capability: tuple[int, int]) -> bytes:
    """KERNEL as machine code for GPUs of (major, minor), by NVRTC. Needs no GPU.

    Raises:
        ValueError: NVRTC is not here, or does not know such a GPU.
    """
    try:
        nvrtc: Any = importlib.import_module('cuda.bindings.nvrtc')
        error, program = nvrtc.nvrtcCreateProgram(KERNEL.encode(), b'resize.cu', 0, [], [])
        options = [f'--gpu-architecture=sm_{capability[0]}{capability[1]}'.encode()]
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(error):
            raise ValueError(f'NVRTC does not compile for SM {capability[0]}.{capability[1]}: {error.name}')
        error, size = nvrtc.nvrtcGetCUBINSize(program)
        code = bytes(size)
        nvrtc.nvrtcGetCUBIN(program, code)
        nvrtc.nvrtcDestroyProgram(program)
    except (ImportError, RuntimeError) as failure:  # cuda-python raises the second where its library is not found
        raise ValueError(
            f'NVRTC, which compiles the kernel, does not load ({failure}): pip install nvidia-cuda-nvrtc'
        ) from None
    return code


def axis_table(source: int, result: int, across: bool) -> NDArray[np.int32]:
    """(result, 4) int32 of an axis of `source` pixels: for each pixel of the result two places and their weights.

    Beyond the outermost pixels there is but one place. Across, OpenCV gives it the whole weight; down, the two weights
    that it would have further inside, which are rounded one by one.
    """
    scale = 1.0 / (result / source)  # as OpenCV rounds it
    positions = ((np.arange(result) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(positions).astype(np.int32)
    part = positions - first.astype(np.float32)
    if across:
        part[(first < 0) | (first >= source - 1)] = 0
    unit = np.float32(1 << _WEIGHT_BITS)
    weights = np.rint((np.float32(1) - part) * unit), np.rint(part * unit)
    places = np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1)
    return np.stack([*places, *weights], 1).astype(np.int32)


class CudaResize:
    """Resizes into the input of a network on the GPU.

    Args:
        cudart, driver: `cuda.bindings.runtime` and `cuda.bindings.driver`.
        code: of `compile_resize`.
    """

    def __init__(self, cudart: Any, driver: Any, code: bytes) -> None:
        self._cudart = cudart
        self._driver = driver
        self._code = code
        self._buffers: dict[str, tuple[int, int]] = {}  # device address and bytes
        self._sizes: tuple[int, ...] = ()
        self._in_flight: list[NDArray[Any]] = []
        self._module: Any = None

    def attach(self, device: int, stream: Any, canvas: int, shape: tuple[int, ...], check: Check) -> None:
        """Use a stream of a device and its memory at the input of a network, uint8 of (B, H, W, 3).

        Raises what `check` raises where the kernel does not load.
        """
        self._device, self._stream, self._canvas, self._shape, self._check = device, stream, canvas, shape, check
        (self._module,) = check(self._driver.cuModuleLoadData(self._code), 'load the kernel of the resize')
        (self._kernel,) = check(self._driver.cuModuleGetFunction(self._module, b'resize'), 'find the kernel')

    def enqueue(self, image: NDArray[np.uint8], slot: int, size: tuple[int, int]) -> None:
        """Begin to resize an image (h, w, 3) BGR to (height, width) into one of the B slots, in the stream's order."""
        self._check(self._cudart.cudaSetDevice(self._device), 'choose the GPU')  # each thread has its own choice
        _, canvas_height, canvas_width, _ = self._shape
        pixels = np.ascontiguousarray(image)
        source = self._upload('source', pixels)
        sizes = (*pixels.shape[:2], *size)
        if sizes != self._sizes:
            self._sizes = ()  # should one of the two not fit into the memory
            self._upload('columns', axis_table(pixels.shape[1], size[1], across=True))
            self._upload('rows', axis_table(pixels.shape[0], size[0], across=False))
            self._sizes = sizes
        canvas = self._canvas + slot * 3 * canvas_height * canvas_width
        tables = self._buffers['columns'][0], self._buffers['rows'][0]
        values = (source, pixels.shape[1], *tables, size[1], size[0], canvas, canvas_width, canvas_height)
        address, number = ctypes.c_void_p, ctypes.c_int
        types = (address, number, address, address, number, number, address, number, number)
        blocks = -(-canvas_width // BLOCK[0]), -(-canvas_height // BLOCK[1]), 1
        launched = self._driver.cuLaunchKernel(self._kernel, *blocks, *BLOCK, 1, 0, self._stream, (values, types), 0)
        self._check(launched, 'resize an image')

    def _upload(self, name: str, array: NDArray[Any]) -> int:
        """The device address of a copy of an array, in memory that is kept for the next."""
        cudart = self._cudart
        address, room = self._buffers.get(name, (0, 0))
        if room < array.nbytes:
            self._free(name)
            (address,) = self._check(cudart.cudaMalloc(array.nbytes), f'take {array.nbytes} bytes')
            self._buffers[name] = int(address), array.nbytes
        self._in_flight.append(array)  # the copy may begin at any time before the stream is waited for
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        copied = cudart.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self._stream)
        self._check(copied, 'copy to the GPU')
        return int(address)

    def waited(self) -> None:
        """The stream has been waited for: images are no longer needed here."""
        self._in_flight.clear()

    def _free(self, name: str) -> None:
        if name in self._buffers:
            self._cudart.cudaStreamSynchronize(self._stream)
            self._cudart.cudaFree(self._buffers.pop(name)[0])

    def close(self) -> None:
        """Give everything back."""
        for name in list(self._buffers):
            self._free(name)
        self._sizes = ()
        if self._module is not None:
            self._driver.cuModuleUnload(self._module)
            self._module = None
