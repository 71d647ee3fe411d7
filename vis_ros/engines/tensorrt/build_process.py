"""The program that builds a TensorRT engine; `vis_ros.engines.tensorrt.build` runs it in a process of its own.

    python -m vis_ros.engines.tensorrt.build_process GRAPH.onnx PLAN FLAVOUR CAPABILITY DEVICE

CAPABILITY: '8.6', or 'any' for an engine of TensorRT-RTX that is not made for one GPU; DEVICE: number of the GPU, or
'none'. Prints one JSON object a line: {"level": ..., "text": ...} of TensorRT, {"progress": ...}, and at last
{"precision": ...} or {"failure": ...}. Ends when its standard input does: it cannot outlive whoever waits for it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from vis_ros.engines.tensorrt.engine_precision import PRECISION_OF_TYPE
from vis_ros.engines.tensorrt.library import TensorRt, cuda_runtime, find_tensorrt

_PROGRESS_PERIOD_S = 0.5


def main() -> int:
    """Build as the command line says; 0 if there is an engine."""
    graph, plan, flavour, capability, device = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if device != 'none':
        cuda_runtime().cudaSetDevice(int(device))
    try:
        serialized, precision = _build(find_tensorrt((flavour,)), Path(graph), capability)
    except ValueError as error:
        _tell(failure=str(error))
        return 1
    Path(plan).write_bytes(serialized)
    _tell(precision=precision)
    return 0


def _build(library: TensorRt, graph: Path, capability: str) -> tuple[Any, str]:
    """The serialized engine and the precision that the graph asks for."""
    trt: Any = library.module
    logger, errors = _telling_logger(trt)
    builder = trt.Builder(logger)
    # TensorRT 10 takes the precision from the graph only if told to; 11 and RTX always do.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        faults = [parser.get_error(index) for index in range(parser.num_errors)]
        words = [f'{fault.node_operator()} {fault.node_name()!r}: {fault.desc()}' for fault in faults]
        raise ValueError(f'it does not take the graph: {"; ".join(words)}')
    precision = _typed_precision(trt, network)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells names only
    _choose_target(trt, config, capability)
    monitor = _telling_monitor(trt)
    config.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ValueError(f'it takes the graph but cannot build it: {"; ".join(errors[-3:])}')
    return serialized, precision


def _choose_target(trt: Any, config: Any, capability: str) -> None:
    """TensorRT-RTX builds for a GPU that need not be there; one that it does not list runs what is made for any."""
    if not hasattr(trt, 'ComputeCapability'):
        return  # full TensorRT builds for the GPU that is there
    target = getattr(trt.ComputeCapability, 'SM' + capability.replace('.', ''), None)
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)


def _typed_precision(trt: Any, network: Any) -> str:
    """The precision of most convolutions and matrix products; quantised inputs count as theirs."""
    kinds = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    dequantised = {
        layer.get_output(0).name: layer.get_input(0).dtype for layer in layers if layer.type == trt.LayerType.DEQUANTIZE
    }
    inputs = [layer.get_input(0) for layer in layers if layer.type in kinds]
    types = Counter(dequantised.get(tensor.name, tensor.dtype).name for tensor in inputs)
    return PRECISION_OF_TYPE.get(types.most_common(1)[0][0].lower(), 'unknown') if types else 'unknown'


def _telling_logger(trt: Any) -> tuple[Any, list[str]]:
    """A logger, and the list that takes the errors it is told."""
    names = {trt.ILogger.INFO: 'info', trt.ILogger.WARNING: 'warning', trt.ILogger.VERBOSE: 'verbose'}
    errors: list[str] = []

    class TellingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            level = names.get(severity, 'error')
            if level == 'error':
                errors.append(text)
            if level != 'verbose':
                _tell(level=level, text=text)

    return TellingLogger(), errors


def _telling_monitor(trt: Any) -> Any:
    class TellingMonitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells the innermost phase and its step, not too often."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._next = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _PROGRESS_PERIOD_S
                _tell(progress=f'{phase}, step {step + 1} of {self._steps.get(phase, 0)}')
            return True  # go on

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)

    return TellingMonitor()


def _tell(**message: str) -> None:
    print(json.dumps(message), flush=True)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the interpreter wants when it ends
        pass
    os._exit(1)


if __name__ == '__main__':
    sys.exit(main())
