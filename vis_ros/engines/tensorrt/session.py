"""TensorRtSession: a TensorRT engine on its GPU, with buffers and a stream; images in, outputs back, one wait."""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.tensorrt.cuda_resize import Check, CudaResize
from vis_ros.engines.tensorrt.engine_precision import realised_precision
from vis_ros.engines.tensorrt.library import Gpu, TensorRt, catching_logger

_WARM_UP_RUNS = 2
"""Runs before the CUDA graph is captured: kernels are compiled and memory is taken in the first."""


class CudaError(OSError):
    """The GPU or its driver fails, which says nothing about the engine that was to run."""


class DeviceMemoryError(CudaError):
    """The GPU has too little free memory."""


class TensorRtSession:
    """Runs one plan. Not for several threads at once.

    Inputs are written into `inputs`, `run` is called, and `outputs` are read before the next call: all of them are
    page-locked host memory, which the GPU copies from and to without a copy between. Copies and network are one CUDA
    graph, so that a run is one launch; `note` says why where that was not possible.

    Args:
        library, gpu: what the plan was built with and for.
        plan: serialized engine.
        cudart: `tensorrt_library.cuda_runtime()`.
        compiled: where TensorRT-RTX, which compiles its kernels here, keeps them for the next start; None: nowhere.
        resize: fills the input `images` on the GPU instead of a copy; dropped, with a note, where it does not load.

    Raises:
        ValueError: the plan cannot be used here.
        CudaError: the GPU fails; DeviceMemoryError: it has too little memory.
    """

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]

    def __init__(
        self,
        library: TensorRt,
        gpu: Gpu,
        plan: bytes,
        cudart: Any,
        compiled: Path | None = None,
        resize: CudaResize | None = None,
    ) -> None:
        self.resize: CudaResize | None = None
        """What puts images into the network, where that is done on the GPU; nobody looks at `inputs['images']` then."""
        self._notes: list[str] = []
        self._cudart = cudart
        self._gpu = gpu
        self._check = _checking(cudart, gpu)
        self._resources = ExitStack()
        self._close = weakref.finalize(self, self._resources.close)
        self._executable: Any = None  # the CUDA graph
        try:
            self._check(cudart.cudaSetDevice(gpu.number), 'choose the GPU')
            self._engine, self._errors = self._deserialize(library, plan)
            self._context, cache = self._create_context(compiled)
            (self._stream,) = self._check(cudart.cudaStreamCreate(), 'create a stream')
            self._resources.callback(cudart.cudaStreamDestroy, self._stream)
            self._create_buffers(library.module)
            for _ in range(_WARM_UP_RUNS):
                self.run()
            if cache is not None and compiled is not None:
                _keep(cache, compiled, self._has_compiled)
            if resize is not None:
                self._attach(resize)
            self._capture()
        except BaseException:
            self._close()
            raise

    @property
    def note(self) -> str:
        """What could not be had and was worked around; '' where nothing."""
        return '; '.join(self._notes)

    @property
    def precision(self) -> str:
        """What the engine really computes in; 'unknown' where its inspector does not tell."""
        inspector = self._engine.create_engine_inspector()
        return realised_precision(inspector.get_engine_information(self._json_format))

    def run(self) -> None:
        """From `inputs` to `outputs`."""
        self._check(self._cudart.cudaSetDevice(self._gpu.number), 'choose the GPU')  # each thread has its own choice
        if self._executable is None:
            self._enqueue()
        else:
            self._check(self._cudart.cudaGraphLaunch(self._executable, self._stream), 'launch the CUDA graph')
        self._check(self._cudart.cudaStreamSynchronize(self._stream), 'run the network')
        if self.resize is not None:
            self.resize.waited()

    # --- setting up -------------------------------------------------------------------------------------------------

    def _deserialize(self, library: TensorRt, plan: bytes) -> tuple[Any, list[str]]:
        trt: Any = library.module
        self._json_format = trt.LayerInformationFormat.JSON
        logger, errors = catching_logger(library)
        self._runtime = trt.Runtime(logger)  # must live as long as its engine
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            self._refuse_for_memory(errors, len(plan))
            raise ValueError(
                f'{library} on {self._gpu.name} does not take it: {"; ".join(errors) or "no reason given"}'
            )
        return engine, errors

    def _create_context(self, compiled: Path | None) -> tuple[Any, Any]:
        """The execution context, and the cache of compiled kernels that TensorRT-RTX has."""
        self._has_compiled = False
        cache: Any = None
        config: Any = None
        if hasattr(self._engine, 'create_runtime_config'):
            config = self._engine.create_runtime_config()
        if hasattr(config, 'create_runtime_cache') and compiled is not None:
            cache = config.create_runtime_cache()
            self._has_compiled = _fill(cache, compiled)
            config.set_runtime_cache(cache)
        context = self._engine.create_execution_context(*(() if cache is None else (config,)))
        if context is None:
            size = int(getattr(self._engine, 'device_memory_size_v2', 0))
            self._refuse_for_memory(self._errors, size)
            raise ValueError(f'no execution context on {self._gpu.name}: {"; ".join(self._errors)}')
        return context, cache

    def _create_buffers(self, trt: Any) -> None:
        self._copies_in: dict[str, tuple[int, int, int]] = {}  # device address, host address, bytes
        self._copies_out: list[tuple[int, int, int]] = []
        self.inputs, self.outputs = {}, {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            shape = tuple(self._engine.get_tensor_shape(name))
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            size = math.prod(shape) * dtype.itemsize
            host, device = self._allocate(size)
            array = np.frombuffer((ctypes.c_uint8 * size).from_address(host), dtype).reshape(shape)
            self._context.set_tensor_address(name, device)
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                array.fill(0)
                self.inputs[name] = array
                self._copies_in[name] = device, host, size
            else:
                self.outputs[name] = array
                self._copies_out.append((device, host, size))

    def _allocate(self, size: int) -> tuple[int, int]:
        """Addresses of page-locked host memory and of device memory, of `size` bytes each."""
        cudart = self._cudart
        (host,) = self._check(cudart.cudaMallocHost(size), f'take {_mebibytes(size)} of page-locked memory')
        self._resources.callback(cudart.cudaFreeHost, host)
        (device,) = self._check(cudart.cudaMalloc(size), f'take {_mebibytes(size)}')
        self._resources.callback(cudart.cudaFree, device)
        return int(host), int(device)

    def _attach(self, resize: CudaResize) -> None:
        """Let images be resized on the GPU from now on."""
        self._resources.callback(resize.close)
        try:
            canvas, shape = self._copies_in['images'][0], self.inputs['images'].shape
            resize.attach(self._gpu.number, self._stream, canvas, shape, self._check)
        except (CudaError, RuntimeError) as error:  # the second is what cuda-python raises without a driver
            self._notes.append(f'images are resized on the processor: {error}')
            return
        del self._copies_in['images']
        self.resize = resize

    def _capture(self) -> None:
        """Record one run as a CUDA graph; where that fails, runs stay as they are and `note` says why."""
        cudart = self._cudart
        if hasattr(self._context, 'is_stream_capturable') and not self._context.is_stream_capturable(int(self._stream)):
            self._notes.append(
                'no CUDA graph (TensorRT-RTX cannot record this network): its kernels are launched one by one'
            )
            return
        try:
            mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            self._check(cudart.cudaStreamBeginCapture(self._stream, mode), 'begin')
            try:
                self._enqueue()
            finally:
                error, graph = cudart.cudaStreamEndCapture(self._stream)
            self._check((error, graph), 'end')
            self._resources.callback(cudart.cudaGraphDestroy, graph)
            (executable,) = self._check(cudart.cudaGraphInstantiate(graph, 0), 'instantiate')
            self._resources.callback(cudart.cudaGraphExecDestroy, executable)
        except (ValueError, CudaError) as error:
            cudart.cudaGetLastError()  # else the next call reports this one
            self._notes.append(f'no CUDA graph ({error}): copies and kernels are launched one by one')
            return
        self._executable = executable

    # --- running ----------------------------------------------------------------------------------------------------

    def _enqueue(self) -> None:
        kinds = self._cudart.cudaMemcpyKind
        for device, host, size in self._copies_in.values():
            copied = self._cudart.cudaMemcpyAsync(device, host, size, kinds.cudaMemcpyHostToDevice, self._stream)
            self._check(copied, 'copy to the GPU')
        if not self._context.execute_async_v3(int(self._stream)):
            self._refuse_for_memory(self._errors, 0)
            raise ValueError(f'the network does not start on {self._gpu.name}: {"; ".join(self._errors)}')
        for device, host, size in self._copies_out:
            copied = self._cudart.cudaMemcpyAsync(host, device, size, kinds.cudaMemcpyDeviceToHost, self._stream)
            self._check(copied, 'copy from the GPU')

    # --- faults -----------------------------------------------------------------------------------------------------

    def _refuse_for_memory(self, errors: list[str], size: int) -> None:
        text = ' '.join(errors).lower()
        if 'out of memory' in text or 'outofmemory' in text:
            wanted = f'the engine needs {_mebibytes(size)}' if size else 'the engine needs more memory'
            raise DeviceMemoryError(f'{wanted}: {_memory(self._cudart, self._gpu)}')


def _checking(cudart: Any, gpu: Gpu) -> Check:
    """Takes what a CUDA call returned, with its error code first, and what was tried; gives the other values."""

    def check(returned: tuple[Any, ...], what: str) -> tuple[Any, ...]:
        error, *values = returned
        if int(error) == int(cudart.cudaError_t.cudaErrorMemoryAllocation):  # the number of the driver's too
            raise DeviceMemoryError(f'cannot {what}: {_memory(cudart, gpu)}')
        if int(error):
            raise CudaError(f'{gpu.name} cannot {what}: {error.name}')
        return tuple(values)

    return check


def _memory(cudart: Any, gpu: Gpu) -> str:
    error, free, total = cudart.cudaMemGetInfo()
    free_words = 'free memory unknown' if int(error) else f'{_mebibytes(free)} of {_mebibytes(total)} are free'
    return (
        f'{free_words} on {gpu.name}. End what else uses the GPU, or take a smaller input size or batch, or precision '
        'fp16'
    )


def _fill(cache: Any, path: Path) -> bool:
    """Whether the kernels of an earlier start could be taken; they are not where they are of another GPU or driver."""
    try:
        return bool(cache.deserialize(path.read_bytes()))
    except OSError:
        return False


def _keep(cache: Any, path: Path, has_been_read: bool) -> None:
    """Write the compiled kernels for the next start, which is only slower without them."""
    blob = bytes(cache.serialize())
    partial = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        if has_been_read and path.stat().st_size == len(blob):
            return
        partial.write_bytes(blob)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)


def _mebibytes(size: int) -> str:
    return f'{size / 2**20:.1f} MiB'
