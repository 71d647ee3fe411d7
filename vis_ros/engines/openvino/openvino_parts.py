"""OpenVinoParts: the parts of a propagation network, run by OpenVINO on the CPU. Needs no torch."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vis_ros.engines.openvino.compiler import Compiler, openvino_core
from vis_ros.export.part_graphs import find_part_graphs
from vis_ros.file_digest import sha256_of
from vis_ros.propagation.propagation_config import PropagationConfig
from vis_ros.propagation.propagation_header import read_propagation_config
from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

_MAX_COMPILED = 40
"""Compiled parts in memory, which is 8 image sizes of the system with most parts. Beyond it, the least recently used
one is dropped."""

_Key = tuple[str, tuple[tuple[int, ...], ...]]


class OpenVinoParts:
    """`NetworkParts` of a model file, compiled once for each image size.

    Args:
        weights: the model file.
        config: in place of that of the file, see `load_propagation`.
        precision: 'fp32' or 'bf16'.
        threads: number of CPU threads; 0 leaves the choice to OpenVINO.

    Raises:
        FileNotFoundError: there are no exported graphs of the network, and they cannot be exported here.
        ValueError: the network runs in torch only, or the processor does not support the precision.
    """

    def __init__(
        self, weights: Path, config: PropagationConfig | None = None, precision: str = 'fp32', threads: int = 0
    ) -> None:
        self.config = config or read_propagation_config(weights)
        self._graphs = find_part_graphs(weights, self.config)
        self._digests = {part: hashlib.sha256(graph.read_bytes()).hexdigest() for part, graph in self._graphs.items()}
        self._weights_sha256 = sha256_of(weights)
        self._threads = threads
        self._compiler = Compiler(openvino_core(), precision, threads)
        self._dynamic = PROPAGATION_SYSTEMS[self.config.architecture].dynamic_parts
        self._requests: OrderedDict[_Key, ov.InferRequest] = OrderedDict()

    @property
    def engine(self) -> str:
        """Description of the runtime, such as "OpenVINO 2025.4.0, cpu, fp32"."""
        return f'OpenVINO {ov.__version__.split("-")[0]}, cpu, {self._compiler.precision}'

    @property
    def device_name(self) -> str:
        """'cpu' with the number of threads."""
        return f'cpu ({self._threads or os.cpu_count()} threads)'

    def run(self, part: str, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        request = self._request(part, tuple(each.shape for each in inputs))
        arrays = [np.ascontiguousarray(each) for each in inputs]
        return tuple(request.infer(arrays, share_inputs=True).to_tuple())

    def _request(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> ov.InferRequest:
        key = (part, () if part in self._dynamic else shapes)
        if key not in self._requests:
            made_of = [self._digests[part], self._weights_sha256, key]
            what = f'{part} of {self.config.architecture}'
            compiled = self._compiler.load_or_compile(made_of, lambda: self._prepare(*key), what)
            self._requests[key] = compiled.create_infer_request()
            if len(self._requests) > _MAX_COMPILED:
                self._requests.popitem(last=False)
        self._requests.move_to_end(key)
        return self._requests[key]

    def _prepare(self, part: str, shapes: tuple[tuple[int, ...], ...]) -> ov.Model:
        """The graph of a part for inputs of these shapes; for any if there are none."""
        model = self._compiler.core.read_model(self._graphs[part])
        if shapes:
            model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
        return model
