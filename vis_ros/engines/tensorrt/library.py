"""Which TensorRT and which GPU are here, asked in the order in which asking is safe."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vis_ros.engines.nvidia import nvidia_gpus

FLAVOURS = {
    'tensorrt': ('TensorRT', ('tensorrt',)),
    'tensorrt_rtx': ('TensorRT-RTX', ('tensorrt_rtx', 'tensorrt_rtx_bindings')),
}
"""Flavour -> its name for people and the modules that may be it, best first."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorRt:
    """A TensorRT library that imports. Versions 10, 11 and RTX differ in little: see `strongly_typed_flag`."""

    module: ModuleType
    flavour: str

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    def __str__(self) -> str:
        return f'{FLAVOURS[self.flavour][0]} {self.version}'


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU. capability: (major, minor) of its architecture, SM; memory: bytes."""

    number: int
    name: str
    capability: tuple[int, int]
    memory: int


def find_gpu(device: str = 'auto') -> Gpu:
    """The GPU called 'auto' or 'cuda' (the first) or 'cuda:N'.

    Raises:
        ValueError: there is none, or no library to drive it; the message says what to do.
    """
    if device == 'cpu':
        raise ValueError("TensorRT runs on an NVIDIA GPU, not on device 'cpu': use auto or cuda, or engine openvino")
    names = nvidia_gpus()
    if not names:
        raise ValueError(
            'TensorRT needs an NVIDIA GPU, and the driver shows none: look at nvidia-smi and at CUDA_VISIBLE_DEVICES, '
            'or use engine openvino, which runs on the processor'
        )
    number = int(device.partition(':')[2] or 0)
    if number >= len(names):
        raise ValueError(f'device {device!r}: there are only {len(names)} GPUs, counted from 0 ({", ".join(names)})')
    error, properties = cuda_runtime().cudaGetDeviceProperties(number)
    if int(error):
        raise ValueError(f'{names[number]} does not answer: {error.name}. Its driver may be older than cuda-python')
    return Gpu(number, names[number], (properties.major, properties.minor), properties.totalGlobalMem)


def cuda_runtime() -> Any:
    """The CUDA runtime of cuda-python. Raises ValueError where it is not installed."""
    return _cuda_bindings('runtime')


def cuda_driver() -> Any:
    """The CUDA driver of cuda-python. Raises ValueError where it is not installed."""
    return _cuda_bindings('driver')


def _cuda_bindings(name: str) -> Any:
    try:
        return importlib.import_module(f'cuda.bindings.{name}')
    except ImportError as error:
        raise ValueError(
            f'TensorRT is run through cuda-python, which does not import ({error}): pip install cuda-python of the '
            "driver's CUDA version"
        ) from error


def find_tensorrt(flavours: tuple[str, ...] = tuple(FLAVOURS)) -> TensorRt:
    """The first flavour that imports.

    Look for a GPU first, or leave 'tensorrt' out: without one it can end the process.

    Raises:
        ValueError: none imports; the message has each one's reason.
    """
    reasons = []
    for flavour in flavours:
        for name in FLAVOURS[flavour][1]:
            try:
                return TensorRt(importlib.import_module(name), flavour)
            except (ImportError, OSError, RuntimeError) as error:  # its own loader raises each of these
                reasons.append(f'{name}: {error}')
    raise ValueError(
        'TensorRT is not installed. On a Jetson JetPack brings it (a virtual environment needs '
        '--system-site-packages); elsewhere: pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings. '
        f'({"; ".join(reasons)})'
    )


def catching_logger(library: TensorRt) -> tuple[Any, list[str]]:
    """A logger for TensorRT objects, and the list that takes the errors it is told; the rest is logged here."""
    trt: Any = library.module
    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
    }
    errors: list[str] = []

    class CatchingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            _log.log(min(level, logging.WARNING), '%s: %s', library, text)
            if level == logging.ERROR:
                errors.append(text)

    return CatchingLogger(), errors
