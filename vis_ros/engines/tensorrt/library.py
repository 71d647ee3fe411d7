"""The TensorRT library and the GPU of this machine.

Look for the GPU first: without one, importing TensorRT can end the process.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vis_ros.engines.nvidia import nvidia_gpus

FLAVOURS = {
    'tensorrt': ('TensorRT', ('tensorrt',)),
    'tensorrt_rtx': ('TensorRT-RTX', ('tensorrt_rtx', 'tensorrt_rtx_bindings')),
}
"""Flavour -> its display name, and the modules that may provide it, in order of preference."""

_KEPT_ERRORS = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorRt:
    """A TensorRT library that was imported successfully."""

    module: ModuleType
    flavour: str

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    def __str__(self) -> str:
        return f'{FLAVOURS[self.flavour][0]} {self.version}'


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU. capability: (major, minor) compute capability; memory: in bytes."""

    number: int
    name: str
    capability: tuple[int, int]
    memory: int


def find_gpu(device: str = 'auto') -> Gpu:
    """The GPU for a device name: 'auto' or 'cuda' (the first one), or 'cuda:N'.

    Raises:
        ValueError: there is no such GPU, or cuda-python is missing; the message says what to do.
    """
    if device == 'cpu':
        raise ValueError("TensorRT runs on an NVIDIA GPU, not on device 'cpu': use auto or cuda, or engine openvino")
    names = nvidia_gpus()
    if not names:
        raise ValueError(
            'TensorRT needs an NVIDIA GPU, but the driver reports none: check nvidia-smi and CUDA_VISIBLE_DEVICES, '
            'or use engine openvino, which runs on the CPU'
        )
    number = int(device.partition(':')[2] or 0)
    if number >= len(names):
        raise ValueError(
            f'device {device!r} does not exist: this machine has {len(names)} GPUs, counted from 0 ({", ".join(names)})'
        )
    error, properties = cuda_runtime().cudaGetDeviceProperties(number)
    if int(error):
        raise ValueError(
            f'{names[number]} does not respond: {error.name}. Its driver may be older than cuda-python supports'
        )
    return Gpu(number, names[number], (properties.major, properties.minor), properties.totalGlobalMem)


def cuda_runtime() -> Any:
    """The CUDA runtime module of cuda-python. Raises ValueError if it is not installed."""
    return _cuda_bindings('runtime')


def cuda_driver() -> Any:
    """The CUDA driver module of cuda-python. Raises ValueError if it is not installed."""
    return _cuda_bindings('driver')


def _cuda_bindings(name: str) -> Any:
    try:
        return importlib.import_module(f'cuda.bindings.{name}')
    except ImportError as error:
        raise ValueError(
            f'TensorRT needs cuda-python, which cannot be imported ({error}): install the cuda-python version that '
            "matches the driver's CUDA version"
        ) from error


def find_tensorrt(flavours: tuple[str, ...] = tuple(FLAVOURS)) -> TensorRt:
    """The first flavour that can be imported.

    Call `find_gpu` first, or leave out 'tensorrt': importing it without a GPU can end the process.

    Raises:
        ValueError: none can be imported; the message has the reason for each.
    """
    reasons = []
    for flavour in flavours:
        for name in FLAVOURS[flavour][1]:
            try:
                return TensorRt(importlib.import_module(name), flavour)
            except (ImportError, OSError, RuntimeError) as error:  # TensorRT's own loader raises any of these
                reasons.append(f'{name}: {error}')
    raise ValueError(
        'TensorRT is not installed. On a Jetson it comes with JetPack (a virtual environment needs '
        '--system-site-packages); elsewhere: pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings. '
        f'({"; ".join(reasons)})'
    )


def python_logger(library: TensorRt) -> tuple[Any, deque[str]]:
    """A TensorRT logger that forwards messages to Python's logging, and the last errors, which it appends to."""
    trt: Any = library.module
    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
    }
    errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

    class PythonLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            # Errors are logged as warnings here: the caller raises them as exceptions.
            _log.log(min(level, logging.WARNING), '%s: %s', library, text)
            if level == logging.ERROR:
                errors.append(text)

    return PythonLogger(), errors
