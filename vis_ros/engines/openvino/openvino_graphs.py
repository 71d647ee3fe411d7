"""OpenVinoGraphs: several graphs of one model file, run by OpenVINO on the CPU. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from vis_ros.engines.openvino.compiler import Compiler, openvino_core
from vis_ros.file_digest import sha256_of

_MAX_COMPILED = 40
"""Compiled graphs in memory, which is 8 image sizes of the system with most parts. Beyond it, the least recently used
one is dropped."""

_Key = tuple[str, tuple[tuple[int, ...], ...]]
"""Name of a graph, and the shapes of its inputs; none for a graph of any size."""


class OpenVinoGraphs:
    """Graphs that are compiled once for each size of their inputs. Safe for several threads, which run one at a time: a
    request that a second thread gives its inputs reads them in place of those of the first, also after they are freed.

    Args:
        graphs: name -> path.
        weights: the model file that the graphs belong to.
        precision: 'fp32' or 'bf16'.
        threads: number of CPU threads; 0 leaves the choice to OpenVINO.

    Raises:
        ValueError: the processor does not support the precision.
    """

    def __init__(
        self,
        graphs: Mapping[str, Path],
        weights: Path,
        precision: str = 'fp32',
        threads: int = 0,
    ) -> None:
        self._graphs = graphs
        self._digests = {name: hashlib.sha256(graph.read_bytes()).hexdigest() for name, graph in graphs.items()}
        self._weights_sha256 = sha256_of(weights)
        self._what = weights.stem
        self._threads = threads
        self._compiler = Compiler(openvino_core(), precision, threads)
        self._requests: OrderedDict[_Key, ov.InferRequest] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def engine(self) -> str:
        """Description of the runtime, such as "OpenVINO 2025.4.0, cpu, fp32"."""
        return f'OpenVINO {ov.__version__.split("-")[0]}, cpu, {self._compiler.precision}'

    @property
    def device_name(self) -> str:
        """'cpu' with the number of threads."""
        return f'cpu ({self._threads or os.cpu_count()} threads)'

    def run(self, name: str, *inputs: NDArray[Any], any_size: bool = False) -> tuple[NDArray[Any], ...]:
        """The outputs of a graph, which the caller owns. any_size: see `NetworkParts.run`."""
        arrays = [np.ascontiguousarray(each) for each in inputs]
        with self._lock:
            request = self._request((name, () if any_size else tuple(each.shape for each in inputs)))
            return tuple(request.infer(arrays, share_inputs=True).to_tuple())

    def _request(self, key: _Key) -> ov.InferRequest:
        name = key[0]
        if key not in self._requests:
            made_of = [self._digests[name], self._weights_sha256, key]
            compiled = self._compiler.load_or_compile(made_of, lambda: self._prepare(*key), f'{name} of {self._what}')
            self._requests[key] = compiled.create_infer_request()
            if len(self._requests) > _MAX_COMPILED:
                self._requests.popitem(last=False)
        self._requests.move_to_end(key)
        return self._requests[key]

    def _prepare(self, name: str, shapes: tuple[tuple[int, ...], ...]) -> ov.Model:
        """The graph for inputs of these shapes; for any if there are none."""
        model = self._compiler.core.read_model(self._graphs[name])
        if shapes:
            model.reshape({port: list(shape) for port, shape in zip(model.inputs, shapes, strict=True)})
        return model
