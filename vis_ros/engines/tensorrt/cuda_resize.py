"""CudaResize: resizes images on the GPU in integer arithmetic, with the same result as OpenCV on the CPU to the bit.

OpenCV resizes uint8 images with bilinear weights of 11 bits: along each axis, a pixel of the result is a weighted sum
of two source pixels. The tables of these pixels and weights are computed on the CPU once for each image size.
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
    const int4 column = columns[inside ? x : 0], row = rows[inside ? y : 0];  // two indices and their weights
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
"""Resizes a source (h, w, 3) into the top left corner of a canvas and sets the rest of it to zero; all uint8."""

BLOCK = (32, 8)
_WEIGHT_BITS = 11

Check = Callable[[tuple[Any, ...], str], tuple[Any, ...]]
"""Called with the result of a CUDA call and what it was meant to do; returns its values, or raises if it failed."""


def compile_resize(capability: tuple[int, int]) -> bytes:
    """KERNEL as machine code for a compute capability (major, minor), compiled by NVRTC. Needs no GPU.

    Raises:
        ValueError: NVRTC is not installed, or does not support this capability.
    """
    try:
        nvrtc: Any = importlib.import_module('cuda.bindings.nvrtc')
        error, program = nvrtc.nvrtcCreateProgram(KERNEL.encode(), b'resize.cu', 0, [], [])
        options = [f'--gpu-architecture=sm_{capability[0]}{capability[1]}'.encode()]
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(error):
            raise ValueError(f'NVRTC cannot compile for SM {capability[0]}.{capability[1]}: {error.name}')
        error, size = nvrtc.nvrtcGetCUBINSize(program)
        code = bytes(size)
        nvrtc.nvrtcGetCUBIN(program, code)
        nvrtc.nvrtcDestroyProgram(program)
    except (ImportError, RuntimeError) as failure:  # cuda-python raises RuntimeError if it cannot find the library
        raise ValueError(
            f'NVRTC, which compiles the kernel, cannot be loaded ({failure}): pip install nvidia-cuda-nvrtc'
        ) from None
    return code


def axis_table(source: int, result: int, is_horizontal: bool) -> NDArray[np.int32]:
    """The resize table (result, 4) int32 of one axis: for each pixel of the result, two source indices and weights.

    At the border both indices are the outermost pixel. Horizontally OpenCV then gives it the whole weight; vertically
    it keeps both weights, each rounded on its own.

    Args:
        source: number of source pixels along the axis.
        result: number of result pixels along the axis.
        is_horizontal: whether the axis is the width or the height.
    """
    scale = 1.0 / (result / source)  # not source / result: rounded like in OpenCV
    positions = ((np.arange(result) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(positions).astype(np.int32)
    fraction = positions - first.astype(np.float32)
    if is_horizontal:
        fraction[(first < 0) | (first >= source - 1)] = 0
    unit = np.float32(1 << _WEIGHT_BITS)
    weights = np.rint((np.float32(1) - fraction) * unit), np.rint(fraction * unit)
    indices = np.clip(first, 0, source - 1), np.clip(first + 1, 0, source - 1)
    return np.stack([*indices, *weights], 1).astype(np.int32)


class CudaResize:
    """Resizes images directly into the input of a network on the GPU.

    Args:
        cudart: the module `cuda.bindings.runtime`.
        driver: the module `cuda.bindings.driver`.
        code: the result of `compile_resize`.
    """

    def __init__(self, cudart: Any, driver: Any, code: bytes) -> None:
        self._cudart = cudart
        self._driver = driver
        self._code = code
        self._buffers: dict[str, tuple[int, int]] = {}  # device address and size in bytes
        self._sizes: tuple[int, ...] = ()
        self._in_flight: list[NDArray[Any]] = []
        self._module: Any = None

    def attach(self, device: int, stream: Any, canvas: int, shape: tuple[int, ...], check: Check) -> None:
        """Set the GPU, the stream, and the network input to write to.

        Args:
            device: number of the GPU.
            stream: the CUDA stream that the network runs in.
            canvas: device address of the network input.
            shape: of the network input, (B, H, W, 3) uint8.
            check: raises if a CUDA call failed; here, if the kernel cannot be loaded.
        """
        self._device, self._stream, self._canvas, self._shape, self._check = device, stream, canvas, shape, check
        (self._module,) = check(self._driver.cuModuleLoadData(self._code), 'load the resize kernel')
        (self._kernel,) = check(self._driver.cuModuleGetFunction(self._module, b'resize'), 'find the resize kernel')

    def enqueue(self, image: NDArray[np.uint8], slot: int, size: tuple[int, int]) -> None:
        """Queue the resize of an image in the stream.

        Args:
            image: (h, w, 3) uint8 BGR.
            slot: index in the batch of the network input.
            size: (height, width) to resize to.
        """
        self._check(self._cudart.cudaSetDevice(self._device), 'choose the GPU')  # the choice is per thread
        _, canvas_height, canvas_width, _ = self._shape
        pixels = np.ascontiguousarray(image)
        source = self._upload('source', pixels)
        sizes = (*pixels.shape[:2], *size)
        if sizes != self._sizes:
            self._sizes = ()  # in case one of the two uploads fails
            self._upload('columns', axis_table(pixels.shape[1], size[1], is_horizontal=True))
            self._upload('rows', axis_table(pixels.shape[0], size[0], is_horizontal=False))
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
        """Queue the copy of an array to the GPU; returns its device address. The buffer is reused by the next call."""
        cudart = self._cudart
        address, size = self._buffers.get(name, (0, 0))
        if size < array.nbytes:
            self._free(name)
            (address,) = self._check(cudart.cudaMalloc(array.nbytes), f'allocate {array.nbytes} bytes')
            self._buffers[name] = int(address), array.nbytes
        self._in_flight.append(array)  # the copy may read it at any time until the stream is synchronized
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        copied = cudart.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self._stream)
        self._check(copied, 'copy to the GPU')
        return int(address)

    def release_images(self) -> None:
        """Drop the images that were queued. To be called once the stream is synchronized."""
        self._in_flight.clear()

    def _free(self, name: str) -> None:
        if name in self._buffers:
            self._cudart.cudaStreamSynchronize(self._stream)
            self._cudart.cudaFree(self._buffers.pop(name)[0])

    def close(self) -> None:
        """Free the GPU memory and the kernel."""
        for name in list(self._buffers):
            self._free(name)
        self._sizes = ()
        if self._module is not None:
            self._driver.cuModuleUnload(self._module)
            self._module = None
