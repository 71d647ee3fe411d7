"""OpenVinoNetwork: the exported graph, compiled by OpenVINO for one size of image after another."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.engines.openvino.compiled_cache import CompiledCache
from vis_ros.engines.openvino.layer_precision import keep_coordinates_precise, keep_sensitive_layers_precise
from vis_ros.engines.openvino.winograd import use_winograd

_KEPT = 8
"""Compiled canvases in memory; of more, the one unused for longest is dropped."""

_DEVICE = 'CPU'
_PRECISIONS = {'fp32': ov.Type.f32, 'bf16': ov.Type.bf16}
_LOWEST_FIRST = {'int8': {'i8', 'u8'}, 'bf16': {'bf16'}, 'fp16': {'f16'}, 'fp32': {'f32'}}
_LAYERS = ('Convolution', 'Deconvolution', 'FullyConnected')

_log = logging.getLogger(__name__)


class PaddedInput:
    """The network for images of one padded size, with the buffers that it reads; each run writes over the last.

    image: (H, W, 3) BGR, uint8 or float32: the resized picture at its top left and zeros elsewhere.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs: dict[str, NDArray[Any]] = {}
        for port in compiled.inputs:
            buffer = np.zeros(port.shape, port.element_type.to_dtype())
            self._request.set_tensor(port, ov.Tensor(buffer, shared_memory=True))
            self._inputs |= dict.fromkeys(port.names, buffer)  # operations that do nothing leave it their names too
        self.image: NDArray[Any] = self._inputs['images'][0]

    def run(
        self, size: tuple[int, int], scale: tuple[float, float], score_threshold: float, max_detections: int
    ) -> NetworkOutputs:
        """Detect in `image`, of which (height, width) pixels are picture, scaled by (x, y) from its source."""
        self._inputs['sizes'][:] = size
        self._inputs['scales'][:] = scale
        self._inputs['score_threshold'][:] = score_threshold
        self._inputs['max_detections'][:] = max_detections
        self._request.infer()
        boxes, scores, labels, masks, embeddings = (
            self._request.get_tensor(name).data.copy() for name in ('boxes', 'scores', 'labels', 'masks', 'embeddings')
        )
        settled = bool(self._request.get_tensor('settled').data.all())
        return NetworkOutputs(boxes, scores, labels, masks, embeddings, settled)


class OpenVinoNetwork:
    """A graph whose canvases are compiled when they are first asked for, and kept on disk for the next start.

    Args:
        graph: made by `vis-ros export` for 'cpu'.
        digest: of the weights that it refers to, part of the key under which compiled canvases are kept.
        precision: 'auto' (bf16 where the processor computes in it), 'fp32' or 'bf16' of the layers, without those of
            `keep_sensitive_layers_precise`. What is computed of boxes and scores stays in fp32.
        threads: of the processor; 0 leaves the choice to OpenVINO.

    Raises:
        ValueError: this processor does not compute in that precision.
    """

    def __init__(self, graph: Path, digest: str, precision: str = 'auto', threads: int = 0) -> None:
        self._core = openvino_core()
        self._graph = graph
        self._digest = digest
        self._options: dict[str, Any] = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': _PRECISIONS[_choose_precision(self._core, precision)],
            'INFERENCE_NUM_THREADS': threads,
            'ENABLE_CPU_PINNING': False,  # threads bound to a core wait there for other programs, while another is idle
        }
        self._canvases: OrderedDict[tuple[int, int], PaddedInput] = OrderedDict()
        self.cache = CompiledCache(_cache_folder())

    def canvas(self, size: tuple[int, int]) -> PaddedInput:
        """The network for a padded (height, width), multiples of 32; compiled now where it is not kept."""
        canvas = self._canvases.get(size)
        if canvas is None:
            canvas = PaddedInput(self._compiled(size))
            self._canvases[size] = canvas
            if len(self._canvases) > _KEPT:
                self._canvases.popitem(last=False)
        self._canvases.move_to_end(size)
        return canvas

    def _compiled(self, size: tuple[int, int]) -> ov.CompiledModel:
        key = self._key(size)
        content = self.cache.load(key)
        if content is not None:
            try:
                # A tensor that owns its memory: the compiled model reads its weights there for as long as it lives.
                return self._core.import_model(ov.Tensor(content, shared_memory=False), _DEVICE, self._options)
            except RuntimeError as error:
                _log.warning('OpenVINO cannot load the compiled network, it is compiled again: %s', _last_line(error))
                self.cache.discard(key)
        started = time.perf_counter()
        model = self._core.read_model(self._graph)
        model.reshape({'images': [1, *size, 3], 'sizes': [1, 2], 'scales': [1, 2]})
        in_bf16 = self._options['INFERENCE_PRECISION_HINT'] == ov.Type.bf16
        if in_bf16:
            keep_sensitive_layers_precise(self._core, model)
        keep_coordinates_precise(model)
        if not in_bf16:
            use_winograd(model)
        compiled = self._core.compile_model(model, _DEVICE, self._options)
        seconds = time.perf_counter() - started
        _log.info('compiled the network for images of %dx%d in %.1f s', size[1], size[0], seconds)
        self.cache.store(key, compiled.export_model().getvalue())
        return compiled

    def _key(self, size: tuple[int, int]) -> str:
        """A digest of all that a compiled canvas depends on."""
        parts = [
            ov.get_version(),
            self._core.get_property(_DEVICE, 'FULL_DEVICE_NAME'),
            *self._core.get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES'),
            hashlib.sha256(self._graph.read_bytes()).hexdigest(),
            self._digest,
            *(f'{name}={value}' for name, value in self._options.items()),
            *size,
        ]
        return hashlib.sha256(json.dumps([3, *parts]).encode()).hexdigest()

    # --- what really runs -------------------------------------------------------------------------------------------

    def realised(self, size: tuple[int, int]) -> tuple[str, int]:
        """The lowest precision that layers of a compiled canvas compute in, and its number of threads."""
        compiled = self.canvas(size).compiled
        return _precision_of(compiled), compiled.get_property('INFERENCE_NUM_THREADS')


@cache
def openvino_core() -> ov.Core:
    """The one of this process, which is never freed.

    The CPU plugin gives the thread that loads it another stack for signals, and leaves it dangling when its last Core
    is freed: the next Ctrl-C would then end the process with a segmentation fault.
    """
    return ov.Core()


def _cache_folder() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'vis_ros' / 'openvino'


def _choose_precision(core: ov.Core, precision: str) -> str:
    able = 'BF16' in core.get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES')
    if precision == 'auto':
        return 'bf16' if able else 'fp32'
    if precision not in _PRECISIONS:
        raise ValueError(f'OpenVINO runs this network in {", ".join(_PRECISIONS)}, not in {precision}')
    if precision == 'bf16' and not able:
        raise ValueError('this processor does not compute in bf16: use precision fp32 or auto')
    return precision


def _precision_of(compiled: ov.CompiledModel) -> str:
    """The lowest of the layers: those that lose too much by it are kept in a higher one."""
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    found = {each['runtimePrecision'].value for each in layers if each['layerType'].value in _LAYERS}
    return next(name for name, types in _LOWEST_FIRST.items() if found & types)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
