"""TensorRtSession: a TensorRT engine on its GPU, with its input and output buffers, a CUDA stream and a CUDA graph."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import DeviceLostError
from vis_ros.engines.tensorrt.cuda_resize import Check, CudaResize
from vis_ros.engines.tensorrt.engine_precision import actual_precision
from vis_ros.engines.tensorrt.library import Gpu, TensorRt, python_logger
from vis_ros.whole_file import whole_file

_WARM_UP_RUNS = 2
"""Runs before the CUDA graph is captured: the first run compiles kernels and allocates memory."""


class CudaError(OSError):
    """The GPU or its driver failed; there is nothing wrong with the engine."""


class DeviceMemoryError(CudaError):
    """The GPU has too little free memory."""


class TensorRtSession:
    """Runs one engine. Not thread-safe.

    Write to `inputs`, call `run`, and read `outputs` before the next call. The buffers are page-locked host memory,
    so that the GPU copies from and to them directly. The copies and the network are recorded as one CUDA graph and
    started by a single launch; if that is not possible, `note` says why.

    Args:
        library: the TensorRT library that built the engine.
        gpu: the GPU that the engine was built for.
        plan: the serialized engine.
        cudart: the module `cuda.bindings.runtime`.
        compiled: file in which TensorRT-RTX stores the kernels that it compiles at the first start; None stores none.
        resize: fills the input `images` on the GPU. If it cannot be loaded, `note` says so and `images` is copied.

    Attributes:
        inputs: arrays to write to, by the name of the graph's input.
        outputs: arrays to read from, by the name of the graph's output.
        resize: what fills `images` on the GPU, in which case `inputs['images']` is ignored; None if nothing does.

    Raises:
        ValueError: the engine cannot be used here.
        CudaError: the GPU failed.
        DeviceMemoryError: the GPU has too little memory.
    """

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    resize: CudaResize | None

    def __init__(
        self,
        library: TensorRt,
        gpu: Gpu,
        plan: bytes,
        cudart: Any,
        compiled: Path | None = None,
        resize: CudaResize | None = None,
    ) -> None:
        self.resize = None
        self._notes: list[str] = []
        self._cudart = cudart
        self._gpu = gpu
        self._check = _make_check(cudart, gpu)
        self._resources = ExitStack()
        self._close = weakref.finalize(self, self._resources.close)
        self._executable: Any = None  # the CUDA graph
        try:
            self._check(cudart.cudaSetDevice(gpu.number), 'choose the GPU')
            self._engine, self._errors = self._deserialize(library, plan)
            self._context, self._kernels = self._create_context(compiled)
            (self._stream,) = self._check(cudart.cudaStreamCreate(), 'create a stream')
            self._resources.callback(cudart.cudaStreamDestroy, self._stream)
            self._create_buffers(library.module)
            for _ in range(_WARM_UP_RUNS):
                self.run()
            if self._kernels is not None and compiled is not None:
                _store_kernels(self._kernels, compiled, self._loaded_kernels)
            if resize is not None:
                self._attach(resize)
            self._capture()
        except BaseException:
            self._close()
            raise

    @property
    def note(self) -> str:
        """Which optimizations could not be used, and why; '' if all are used."""
        return '; '.join(self._notes)

    @property
    def precision(self) -> str:
        """The precision that most layers actually compute in; 'unknown' if the inspector does not report it."""
        inspector = self._engine.create_engine_inspector()
        return actual_precision(inspector.get_engine_information(self._json_format))

    def run(self) -> None:
        """Compute `outputs` from `inputs`, and wait for the result."""
        self._check(self._cudart.cudaSetDevice(self._gpu.number), 'choose the GPU')  # the choice is per thread
        if self._executable is None:
            self._enqueue()
        else:
            self._check(self._cudart.cudaGraphLaunch(self._executable, self._stream), 'launch the CUDA graph')
        self._check(self._cudart.cudaStreamSynchronize(self._stream), 'run the network')
        if self.resize is not None:
            self.resize.release_images()

    def recover(self) -> None:
        """Let go of the images of a run that has failed, and of its errors.

        Raises:
            DeviceLostError: the GPU reports the error again, as it does after an illegal access or a lost device. Then
                only a new process can use it (CUDA Runtime API, error handling).
        """
        self._errors.clear()
        self._cudart.cudaGetLastError()  # otherwise the next CUDA call reports this error again
        error, *_ = self._cudart.cudaStreamSynchronize(self._stream)
        if self.resize is not None:
            self.resize.release_images()
        if int(error):
            raise DeviceLostError(f'{self._gpu.name} has failed ({error.name}) and is lost to this process: restart it')

    # --- setting up -------------------------------------------------------------------------------------------------

    def _deserialize(self, library: TensorRt, plan: bytes) -> tuple[Any, deque[str]]:
        trt: Any = library.module
        self._json_format = trt.LayerInformationFormat.JSON
        logger, errors = python_logger(library)
        self._runtime = trt.Runtime(logger)  # must outlive its engine
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            self._raise_if_out_of_memory(errors, len(plan))
            raise ValueError(f'{library} on {self._gpu.name} rejects it: {"; ".join(errors) or "no reason given"}')
        return engine, errors

    def _create_context(self, compiled: Path | None) -> tuple[Any, Any]:
        """The execution context, and the cache of compiled kernels (None with full TensorRT).

        Cache and configuration must live as long as the context.
        """
        self._loaded_kernels = False
        kernels: Any = None
        config: Any = None
        if hasattr(self._engine, 'create_runtime_config'):
            config = self._runtime_config = self._engine.create_runtime_config()
        if hasattr(config, 'create_runtime_cache') and compiled is not None:
            kernels = config.create_runtime_cache()
            self._loaded_kernels = _load_kernels(kernels, compiled)
            config.set_runtime_cache(kernels)
        context = self._engine.create_execution_context(*(() if kernels is None else (config,)))
        if context is None:
            size = int(getattr(self._engine, 'device_memory_size_v2', 0))
            self._raise_if_out_of_memory(self._errors, size)
            raise ValueError(f'no execution context on {self._gpu.name}: {"; ".join(self._errors)}')
        return context, kernels

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
        """Allocate `size` bytes of page-locked host memory and of device memory; returns both addresses."""
        cudart = self._cudart
        (host,) = self._check(cudart.cudaMallocHost(size), f'allocate {_mebibytes(size)} of page-locked memory')
        self._resources.callback(cudart.cudaFreeHost, host)
        (device,) = self._check(cudart.cudaMalloc(size), f'allocate {_mebibytes(size)}')
        self._resources.callback(cudart.cudaFree, device)
        return int(host), int(device)

    def _attach(self, resize: CudaResize) -> None:
        """Resize images on the GPU from now on."""
        self._resources.callback(resize.close)
        try:
            address, shape = self._copies_in['images'][0], self.inputs['images'].shape
            resize.attach(self._gpu.number, self._stream, address, shape, self._check)
        except (CudaError, RuntimeError) as error:  # cuda-python raises RuntimeError if there is no driver
            self._notes.append(f'images are resized on the CPU: {error}')
            return
        del self._copies_in['images']
        self.resize = resize

    def _capture(self) -> None:
        """Record one run as a CUDA graph. If that fails, `note` says why and each run launches its steps separately."""
        cudart = self._cudart
        if hasattr(self._context, 'is_stream_capturable') and not self._context.is_stream_capturable(int(self._stream)):
            self._notes.append(
                'no CUDA graph (TensorRT-RTX cannot record this network): kernels are launched one by one'
            )
            return
        try:
            mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            self._check(cudart.cudaStreamBeginCapture(self._stream, mode), 'begin the capture')
            try:
                self._enqueue()
            finally:
                error, graph = cudart.cudaStreamEndCapture(self._stream)
            self._check((error, graph), 'end the capture')
            self._resources.callback(cudart.cudaGraphDestroy, graph)
            (executable,) = self._check(cudart.cudaGraphInstantiate(graph, 0), 'instantiate the graph')
            self._resources.callback(cudart.cudaGraphExecDestroy, executable)
        except (ValueError, CudaError) as error:
            cudart.cudaGetLastError()  # otherwise the next CUDA call reports this error again
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
            self._raise_if_out_of_memory(self._errors, 0)
            raise ValueError(f'the network cannot be started on {self._gpu.name}: {"; ".join(self._errors)}')
        for device, host, size in self._copies_out:
            copied = self._cudart.cudaMemcpyAsync(host, device, size, kinds.cudaMemcpyDeviceToHost, self._stream)
            self._check(copied, 'copy from the GPU')

    # --- errors -----------------------------------------------------------------------------------------------------

    def _raise_if_out_of_memory(self, errors: Iterable[str], size: int) -> None:
        text = ' '.join(errors).lower()
        if 'out of memory' in text or 'outofmemory' in text:
            wanted = f'the engine needs {_mebibytes(size)}' if size else 'the engine needs more memory'
            raise DeviceMemoryError(f'{wanted}: {_memory_advice(self._cudart, self._gpu)}')


def _make_check(cudart: Any, gpu: Gpu) -> Check:
    """A function that raises if a CUDA call failed, and else returns the values behind the error code."""

    def check(returned: tuple[Any, ...], what: str) -> tuple[Any, ...]:
        error, *values = returned
        if int(error) == int(cudart.cudaError_t.cudaErrorMemoryAllocation):  # the CUDA driver uses the same number
            raise DeviceMemoryError(f'cannot {what}: {_memory_advice(cudart, gpu)}')
        if int(error):
            raise CudaError(f'{gpu.name} cannot {what}: {error.name}')
        return tuple(values)

    return check


def _memory_advice(cudart: Any, gpu: Gpu) -> str:
    error, free, total = cudart.cudaMemGetInfo()
    state = 'free memory unknown' if int(error) else f'{_mebibytes(free)} of {_mebibytes(total)} are free'
    return (
        f'{state} on {gpu.name}. Stop other programs that use the GPU, or use a smaller input size or batch, or '
        'precision fp16'
    )


def _load_kernels(kernels: Any, path: Path) -> bool:
    """Load the kernels that an earlier start has compiled; False if there are none or they are for another GPU."""
    try:
        return bool(kernels.deserialize(path.read_bytes()))
    except OSError:
        return False


def _store_kernels(kernels: Any, path: Path, were_loaded: bool) -> None:
    """Write the compiled kernels for the next start. If that fails, the next start is only slower."""
    blob = bytes(kernels.serialize())
    with suppress(OSError):
        if were_loaded and path.stat().st_size == len(blob):
            return
        with whole_file(path) as partial:
            partial.write_bytes(blob)


def _mebibytes(size: int) -> str:
    return f'{size / 2**20:.1f} MiB'
