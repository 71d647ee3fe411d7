"""Compiler: compiles graphs for the CPU with OpenVINO, and keeps the results on disk."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import openvino as ov

from vis_ros.engines.openvino.compiled_cache import CompiledCache
from vis_ros.user_cache import user_cache

_DEVICE = 'CPU'
_PRECISIONS = {'fp32': ov.Type.f32, 'bf16': ov.Type.bf16}

_log = logging.getLogger(__name__)


class Compiler:
    """Compiles graphs with the same options.

    Args:
        core: see `openvino_core`.
        precision: 'fp32', 'bf16' or 'auto' (bf16 if the processor supports it, else fp32).
        threads: number of CPU threads; 0 leaves the choice to OpenVINO.

    Raises:
        ValueError: this processor does not support the precision.
    """

    def __init__(self, core: ov.Core, precision: str, threads: int) -> None:
        self.core = core
        self.precision = _choose_precision(core, precision)
        self.cache = CompiledCache(user_cache('openvino'))
        self._options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': _PRECISIONS[self.precision],
            'INFERENCE_NUM_THREADS': threads,
            # A thread that is pinned to a core waits there for other programs even while another core is idle.
            'ENABLE_CPU_PINNING': False,
        }

    def load_or_compile(self, made_of: Sequence[Any], prepare: Callable[[], ov.Model], what: str) -> ov.CompiledModel:
        """The compiled network: from disk, or else compiled now and stored.

        Both free much memory that running the network does not need again. It is returned to the kernel.

        Args:
            made_of: everything that the prepared network depends on, in JSON types.
            prepare: reads the graph and changes it for this processor.
            what: what the log calls it.

        Raises:
            ValueError: OpenVINO cannot compile it.
        """
        key = self._key(made_of)
        try:
            return self._cached(key) or self._compile(key, prepare, what)
        finally:
            _release_freed_memory()

    def _cached(self, key: str) -> ov.CompiledModel | None:
        content = self.cache.load(key)
        if content is None:
            return None
        try:
            # The compiled network reads its weights from the tensor as long as it lives.
            return self.core.import_model(content, _DEVICE, self._options)
        except RuntimeError as error:
            _log.warning('OpenVINO cannot load the cached network, compiling it again: %s', _last_line(error))
            self.cache.discard(key)
            return None

    def _compile(self, key: str, prepare: Callable[[], ov.Model], what: str) -> ov.CompiledModel:
        started = time.perf_counter()
        try:
            compiled = self.core.compile_model(prepare(), _DEVICE, self._options)
        except RuntimeError as error:  # a graph that it cannot read, or that names files outside of its folder
            raise ValueError(f'OpenVINO cannot compile {what}: {_last_line(error)}') from error
        _log.info('compiled %s in %.1f s', what, time.perf_counter() - started)
        self.cache.store(key, compiled.export_model().getvalue())
        return compiled

    def _key(self, made_of: Sequence[Any]) -> str:
        """A digest of everything that a compiled network depends on."""
        machine = [
            ov.get_version(),
            self.core.get_property(_DEVICE, 'FULL_DEVICE_NAME'),
            *self.core.get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES'),
            *(f'{name}={value}' for name, value in self._options.items()),
        ]
        return hashlib.sha256(json.dumps([*machine, *made_of]).encode()).hexdigest()


@cache
def openvino_core() -> ov.Core:
    """The OpenVINO core of this process. It is never freed.

    OpenVINO's CPU plugin installs an alternate signal stack for the thread that loads it, and leaves it dangling when
    the last Core is freed. The next Ctrl-C would then end the process with a segmentation fault.
    """
    return ov.Core()


def _choose_precision(core: ov.Core, precision: str) -> str:
    has_bf16 = 'BF16' in core.get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES')
    if precision == 'auto':
        return 'bf16' if has_bf16 else 'fp32'
    if precision not in _PRECISIONS:
        raise ValueError(f'OpenVINO runs this network in {", ".join(_PRECISIONS)}, not in {precision}')
    if precision == 'bf16' and not has_bf16:
        raise ValueError('this processor does not support bf16: use precision fp32 or auto')
    return precision


def _release_freed_memory() -> None:
    """Return all memory that this process has freed to the kernel."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)  # missing in other C libraries
    if trim is not None:
        trim(0)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
