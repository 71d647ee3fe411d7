"""CompiledNetworks: an exported graph, compiled by OpenVINO once for each size of its input."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vis_ros.engines.by_size import BySize, Size
from vis_ros.engines.network_outputs import NetworkOutputs
from vis_ros.engines.openvino.compiler import Compiler, openvino_core
from vis_ros.engines.openvino.layer_precision import keep_coordinates_precise, keep_sensitive_layers_precise
from vis_ros.engines.openvino.winograd import use_winograd
from vis_ros.export.graph_file import CONVERGED_OUTPUT

_LOWEST_FIRST = {'int8': {'i8', 'u8'}, 'bf16': {'bf16'}, 'fp16': {'f16'}, 'fp32': {'f32'}}
"""Precision -> OpenVINO's names for it in a compiled network."""
_LAYERS_WITH_WEIGHTS = ('Convolution', 'Deconvolution', 'FullyConnected')


class CompiledNetwork:
    """The network for one padded input size, with the buffers that it reads. Each run overwrites the last one.

    Attributes:
        image: (H, W, 3) BGR, uint8 or float32. The caller writes the resized image to its top left corner and zeros
            to the rest.
    """

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs: dict[str, NDArray[Any]] = {}
        for port in compiled.inputs:
            buffer = np.zeros(port.shape, port.element_type.to_dtype())
            self._request.set_tensor(port, ov.Tensor(buffer, shared_memory=True))
            # An input also gets the names of no-op layers behind it that OpenVINO has removed.
            self._inputs |= dict.fromkeys(port.names, buffer)
        self.image: NDArray[Any] = self._inputs['images'][0]

    def run(
        self, size: tuple[int, int], scale: tuple[float, float], score_threshold: float, max_detections: int
    ) -> NetworkOutputs:
        """Detect objects in `image`.

        Args:
            size: (height, width) of the resized image inside `image`.
            scale: (x, y) factors from source pixels to pixels of `image`.
            score_threshold: detections with a lower score are dropped.
            max_detections: maximum number of detections.
        """
        self._inputs['sizes'][:] = size
        self._inputs['scales'][:] = scale
        self._inputs['score_threshold'][:] = score_threshold
        self._inputs['max_detections'][:] = max_detections
        self._request.infer()
        boxes, scores, labels, masks, embeddings = (
            self._request.get_tensor(name).data.copy() for name in ('boxes', 'scores', 'labels', 'masks', 'embeddings')
        )
        converged = bool(self._request.get_tensor(CONVERGED_OUTPUT).data.all())
        return NetworkOutputs(boxes, scores, labels, masks, embeddings, converged)

    @property
    def precision(self) -> str:
        """The lowest precision that any layer with weights computes in; some layers stay in a higher one."""
        layers = [node.get_rt_info() for node in self.compiled.get_runtime_model().get_ops()]
        found = {each['runtimePrecision'].value for each in layers if each['layerType'].value in _LAYERS_WITH_WEIGHTS}
        return next(name for name, types in _LOWEST_FIRST.items() if found & types)

    @property
    def threads(self) -> int:
        """Number of CPU threads that the network runs on."""
        return int(self.compiled.get_property('INFERENCE_NUM_THREADS'))


class CompiledNetworks:
    """Compiles a graph for each input size when it is first needed, and keeps the result on disk.

    by_size: the network for each padded (height, width).

    Args:
        graph: made by `vis-ros export` for 'cpu'.
        weights_sha256: digest of the model file that the graph refers to; part of the key in the disk cache.
        precision: 'fp32', 'bf16' or 'auto' (bf16 if the processor supports it, else fp32). With bf16 the layers of
            `keep_sensitive_layers_precise`, and all computation on boxes and scores, stay in fp32.
        threads: number of CPU threads; 0 leaves the choice to OpenVINO.

    Raises:
        ValueError: this processor does not support the precision.
    """

    def __init__(self, graph: Path, weights_sha256: str, precision: str = 'auto', threads: int = 0) -> None:
        self._compiler = Compiler(openvino_core(), precision, threads)
        self._graph = graph
        self._graph_sha256 = hashlib.sha256(graph.read_bytes()).hexdigest()
        self._weights_sha256 = weights_sha256
        self.by_size = BySize(self._network)
        self.cache = self._compiler.cache

    def _network(self, size: Size) -> CompiledNetwork:
        # 3 is the version of the changes that `_prepare` makes to a graph: count up when they change.
        made_of = [3, self._graph_sha256, self._weights_sha256, *size]
        what = f'the network for images of {size[1]}x{size[0]}'
        return CompiledNetwork(self._compiler.load_or_compile(made_of, lambda: self._prepare(size), what))

    def _prepare(self, size: Size) -> ov.Model:
        core = self._compiler.core
        model = core.read_model(self._graph)
        model.reshape({'images': [1, *size, 3], 'sizes': [1, 2], 'scales': [1, 2]})
        in_bf16 = self._compiler.precision == 'bf16'
        if in_bf16:
            keep_sensitive_layers_precise(core, model)
        keep_coordinates_precise(model)
        if not in_bf16:
            use_winograd(model)
        return model
