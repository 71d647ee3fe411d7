"""A simulated CUDA runtime and TensorRT: device memory is separate from host memory, and a stream works in order.

It asserts that calls are valid: copies stay inside an allocation, addresses were allocated, and all tensors have an
address when the network starts.
"""

from __future__ import annotations

import ctypes
import enum
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Network = Callable[[Arrays], Arrays]


class CudaError(enum.IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorInvalidSource = 300  # noqa: N815
    cudaErrorStreamCaptureUnsupported = 900  # noqa: N815


OK = CudaError.cudaSuccess


class FakeCuda:
    """The part of `cuda.bindings.runtime` that `TensorRtSession` calls. events: what the stream has done, in order."""

    cudaError_t = CudaError  # noqa: N815
    cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice='in', cudaMemcpyDeviceToHost='out')  # noqa: N815
    cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self, device_bytes: int = 1 << 24, can_capture: bool = True) -> None:
        self.device_bytes, self.can_capture = device_bytes, can_capture
        self.host: dict[int, Any] = {}
        self.device: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.events: list[str] = []
        self._recording: list[Callable[[], None]] | None = None

    @property
    def is_capturing(self) -> bool:
        return self._recording is not None

    def do(self, event: str, action: Callable[[], None]) -> None:
        """Run an action, or record it while a graph is being captured."""

        def step() -> None:
            self.events.append(event)
            action()

        if self._recording is None:
            step()
        else:
            self._recording.append(step)

    def cudaSetDevice(self, number: int) -> tuple[Any, ...]:  # noqa: N802
        return (OK,)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:  # noqa: N802
        used = sum(len(buffer) for buffer in self.device.values())
        return OK, self.device_bytes - used, self.device_bytes

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        return OK, _keep(self.host, size)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        if size > self.cudaMemGetInfo()[1]:
            return CudaError.cudaErrorMemoryAllocation, 0
        return OK, _keep(self.device, size)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:  # noqa: N802
        del self.host[address]
        return (OK,)

    def cudaFree(self, address: int) -> tuple[Any, ...]:  # noqa: N802
        del self.device[address]
        return (OK,)

    def cudaStreamCreate(self) -> tuple[Any, ...]:  # noqa: N802
        stream = max(self.streams, default=0) + 1
        self.streams.add(stream)
        return OK, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        self.streams.remove(stream)
        return (OK,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert stream in self.streams
        self.events.append('wait')
        return (OK,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: str, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert stream in self.streams
        if kind == 'in' and source not in self.host:  # memory that is not page-locked is read at once
            assert size <= len(self.device[to])
            staged = ctypes.string_at(source, size)
            self.do('pageable', lambda: ctypes.memmove(to, staged, size) and None)
            return (OK,)
        into, out_of = (self.device, self.host) if kind == 'in' else (self.host, self.device)
        assert size == len(into[to]) == len(out_of[source])
        self.do(kind, lambda: ctypes.memmove(to, source, size) and None)
        return (OK,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:  # noqa: N802
        if not self.can_capture:
            return (CudaError.cudaErrorStreamCaptureUnsupported,)
        self._recording = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert self._recording is not None
        self.graphs[graph := max(self.graphs, default=0) + 1], self._recording = self._recording, None
        return OK, graph

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:  # noqa: N802
        self.graphs[executable := max(self.graphs) + 1] = self.graphs[graph]
        return OK, executable

    def cudaGraphLaunch(self, executable: int, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert stream in self.streams
        self.events.append('launch')
        for step in self.graphs[executable]:
            step()
        return (OK,)

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:  # noqa: N802
        del self.graphs[graph]
        return (OK,)

    cudaGraphExecDestroy = cudaGraphDestroy  # noqa: N815

    def cudaGetLastError(self) -> tuple[Any, ...]:  # noqa: N802
        return (OK,)


class FakeDriver:
    """The part of `cuda.bindings.driver` that `CudaResize` calls. resize: the kernel compiled for the CPU."""

    def __init__(self, cuda: FakeCuda, resize: Callable[..., None], loads: bool = True) -> None:
        self._cuda, self._resize, self._loads = cuda, resize, loads
        self.modules: set[bytes] = set()

    def cuModuleLoadData(self, code: bytes) -> tuple[Any, ...]:  # noqa: N802
        if not self._loads:
            return CudaError.cudaErrorInvalidSource, None
        self.modules.add(code)
        return OK, code

    def cuModuleUnload(self, module: bytes) -> tuple[Any, ...]:  # noqa: N802
        self.modules.remove(module)
        return (OK,)

    def cuModuleGetFunction(self, module: bytes, name: bytes) -> tuple[Any, ...]:  # noqa: N802
        assert module in self.modules and name == b'resize'
        return OK, 'kernel'

    def cuLaunchKernel(self, kernel: str, *arguments: Any) -> tuple[Any, ...]:  # noqa: N802
        *grid_and_block, shared, stream, (values, types), extra = arguments
        assert (kernel, shared, extra) == ('kernel', 0, 0) and stream in self._cuda.streams
        given = [kind(value) for value, kind in zip(values, types, strict=True)]
        for value, kind in zip(values, types, strict=True):
            if kind is ctypes.c_void_p:  # it is inside an allocation of device memory
                assert any(start <= value < start + len(room) for start, room in self._cuda.device.items())
        self._cuda.do('resize', lambda: self._resize(*grid_and_block, *given))
        return (OK,)


def _keep(memory: dict[int, Any], size: int) -> int:
    buffer = (ctypes.c_uint8 * size)()
    address = ctypes.addressof(buffer)
    memory[address] = buffer
    return address


class FakeRuntimeCache:
    """The cache of compiled kernels of TensorRT-RTX."""

    def __init__(self) -> None:
        self.given = b''

    def deserialize(self, blob: bytes) -> bool:
        self.given = blob
        return True

    def serialize(self) -> bytes:
        return self.given or b'kernels'


def add_runtime_cache(tensorrt: types.ModuleType, caches: list[FakeRuntimeCache]) -> None:
    """Give the engines of a fake TensorRT the kernel cache of TensorRT-RTX. `caches` collects the caches in use."""
    config = types.SimpleNamespace(create_runtime_cache=FakeRuntimeCache, set_runtime_cache=caches.append)
    tensorrt.Engine.create_runtime_config = lambda _: config  # type: ignore[attr-defined]


def fake_tensorrt(cuda: FakeCuda, inputs: Arrays, network: Network, information: str = '{}') -> types.ModuleType:
    """A TensorRT module that runs `network` for any plan. inputs: arrays with the shapes and types of the inputs.

    The plan b'broken' is rejected, and b'large' does not fit into the memory of the GPU.
    """
    outputs = network(inputs)
    arrays = inputs | outputs
    names = list(arrays)
    addresses: dict[str, int] = {}

    class Context:
        has_run = False

        def set_tensor_address(self, name: str, address: int) -> None:
            assert len(cuda.device[address]) == arrays[name].nbytes
            addresses[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            assert addresses.keys() == arrays.keys()
            if cuda.is_capturing and not self.has_run:
                return False  # the first run allocates and compiles, which a graph cannot contain
            self.has_run = True
            cuda.do('network', self._execute)
            return True

        def _execute(self) -> None:
            given = {
                name: np.frombuffer(cuda.device[addresses[name]], a.dtype).reshape(a.shape)
                for name, a in inputs.items()
            }
            for name, array in network(given).items():
                ctypes.memmove(addresses[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)

    class Engine:
        num_io_tensors = len(names)

        def get_tensor_name(self, index: int) -> str:
            return names[index]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return arrays[name].shape

        def get_tensor_dtype(self, name: str) -> Any:
            return arrays[name].dtype

        def get_tensor_mode(self, name: str) -> str:
            return 'input' if name in inputs else 'output'

        def create_execution_context(self, config: Any = None) -> Context:
            return Context()

        def create_engine_inspector(self) -> Any:
            return types.SimpleNamespace(get_engine_information=lambda _: information)

    class Logger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def log(self, severity: int, text: str) -> None: ...

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            errors = {b'broken': 'magic tag does not match', b'large': 'Cuda Runtime (out of memory)'}
            if plan not in errors:
                return Engine()
            self._logger.log(Logger.ERROR, errors[plan])
            return None

    module = types.ModuleType('tensorrt')
    members = {
        '__version__': '10.3.0',
        'ILogger': Logger,
        'Context': Context,
        'Engine': Engine,
        'Runtime': Runtime,
        'nptype': lambda dtype: dtype,
        'TensorIOMode': types.SimpleNamespace(INPUT='input'),
        'LayerInformationFormat': types.SimpleNamespace(JSON='json'),
    }
    for name, value in members.items():
        setattr(module, name, value)
    return module
