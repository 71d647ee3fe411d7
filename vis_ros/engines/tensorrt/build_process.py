"""The program that builds a TensorRT engine; `vis_ros.engines.tensorrt.build` runs it as a child process.

    python -m vis_ros.engines.tensorrt.build_process GRAPH.onnx PLAN FLAVOUR CAPABILITY DEVICE

CAPABILITY is '8.6' or the like, or 'any' for a TensorRT-RTX engine that runs on every supported GPU. DEVICE is the
number of the GPU, or 'none'. The program prints one JSON object per line: {"level": ..., "text": ...} for messages of
TensorRT, {"progress": ...}, and finally {"precision": ...} or {"failure": ...}. It exits when its standard input is
closed, so it cannot outlive its parent process.
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
    """Build the engine that the command line describes; returns the exit status."""
    graph, plan, flavour, capability, device = sys.argv[1:]
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if device != 'none':
        cuda_runtime().cudaSetDevice(int(device))
    try:
        serialized, precision = _build(find_tensorrt((flavour,)), Path(graph), capability)
    except ValueError as error:
        _report(failure=str(error))
        return 1
    Path(plan).write_bytes(serialized)
    _report(precision=precision)
    return 0


def _build(library: TensorRt, graph: Path, capability: str) -> tuple[Any, str]:
    """The serialized engine, and the precision in which the graph specifies its layers."""
    trt: Any = library.module
    logger, errors = _reporting_logger(trt)
    builder = trt.Builder(logger)
    network = _parse(trt, builder, logger, graph)
    precision = _graph_precision(trt, network)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # otherwise the inspector returns only layer names
    _choose_target(trt, config, capability)
    monitor = _reporting_monitor(trt)
    config.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ValueError(f'it accepts the graph but cannot build it: {"; ".join(errors[-3:])}')
    return serialized, precision


def _parse(trt: Any, builder: Any, logger: Any, graph: Path) -> Any:
    # With this flag TensorRT 10 computes in the precision that the graph specifies; 11 and RTX always do.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = [f'{error.node_operator()} {error.node_name()!r}: {error.desc()}' for error in errors]
        raise ValueError(f'it does not accept the graph: {"; ".join(reasons)}')
    return network


def _choose_target(trt: Any, config: Any, capability: str) -> None:
    """Set the GPU to build for. TensorRT-RTX can build for a GPU that is not in this machine.

    For a capability that TensorRT-RTX does not list, the engine is built for any GPU.
    """
    if not hasattr(trt, 'ComputeCapability'):
        return  # full TensorRT builds for the GPU in this machine
    target = getattr(trt.ComputeCapability, 'SM' + capability.replace('.', ''), None)
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)


def _graph_precision(trt: Any, network: Any) -> str:
    """The precision of most convolutions and matrix products. A quantized input counts as int8."""
    kinds = (trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    dequantized = {
        layer.get_output(0).name: layer.get_input(0).dtype for layer in layers if layer.type == trt.LayerType.DEQUANTIZE
    }
    inputs = [layer.get_input(0) for layer in layers if layer.type in kinds]
    types = Counter(dequantized.get(tensor.name, tensor.dtype).name for tensor in inputs)
    return PRECISION_OF_TYPE.get(types.most_common(1)[0][0].lower(), 'unknown') if types else 'unknown'


def _reporting_logger(trt: Any) -> tuple[Any, list[str]]:
    """A logger that reports to the parent process, and the list that it appends errors to."""
    names = {trt.ILogger.INFO: 'info', trt.ILogger.WARNING: 'warning', trt.ILogger.VERBOSE: 'verbose'}
    errors: list[str] = []

    class ReportingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            level = names.get(severity, 'error')
            if level == 'error':
                errors.append(text)
            if level != 'verbose':
                _report(level=level, text=text)

    return ReportingLogger(), errors


def _reporting_monitor(trt: Any) -> Any:
    class ReportingMonitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Reports the innermost phase and its step at most every `_PROGRESS_PERIOD_S`."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._next = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + _PROGRESS_PERIOD_S
                _report(progress=f'{phase}, step {step + 1} of {self._steps.get(phase, 0)}')
            return True  # continue building

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)

    return ReportingMonitor()


def _report(**message: str) -> None:
    print(json.dumps(message), flush=True)


def _exit_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock the interpreter needs when it exits
        pass
    os._exit(1)


if __name__ == '__main__':
    sys.exit(main())
