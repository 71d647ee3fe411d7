"""Engine: the protocol by which a detector is run, and the choice of one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.extras import missing, require
from vis_ros.instances import Instances
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve

ENGINES = ('auto', 'tensorrt', 'openvino', 'torch')
PRECISIONS = ('auto', 'fp32', 'fp16', 'bf16', 'int8')

_TENSORRT_MODULES = ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings')


@dataclass(frozen=True)
class EngineInfo:
    """What really runs: shown in diagnostics, `vis-ros doctor` and every report.

    engine: library and version.
    precision: a name of PRECISIONS, read from what runs and not from what was asked for.
    fallback: why not what was asked for, or what would be better, in words; '' where there is nothing to tell.
    unconverged: images so far in which non-maximum suppression did not converge; their results are published, but may
        have an object too many or too few.
    """

    engine: str
    device: str
    precision: str
    model: str
    parameters: int
    input_size: tuple[int, int]
    fallback: str = ''
    unconverged: int = 0


class Engine(Protocol):
    """A detector without memory: images in, objects without identities (but with embeddings) out."""

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    """(height, width) of the network's largest input."""

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        """Detect in a batch of images, each (height, width, 3) uint8 BGR; sizes may differ."""
        ...

    def warm_up(self) -> float:
        """Run on an image of noise until the time settles; returns the milliseconds of one image."""
        ...

    def describe(self) -> EngineInfo:
        """What runs, where, at which real precision."""
        ...


def load_engine(
    weights: str | Path,
    *,
    model: str = 'auto',
    engine: str = 'auto',
    device: str = 'auto',
    precision: str = 'auto',
    input_size: tuple[int, int] | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    threads: int = 0,
    batch: int = 1,
    accuracy_check: bool = True,
) -> Engine:
    """Load weights by packaged name (`demo`) or by path and return the engine that runs them.

    Args:
        weights: a name of `vis_ros.networks.named_weights` or the path of a .safetensors file.
        model: 'auto' (what the file says), 'masktrack_rcnn', or 'mask_rcnn' (ignores the track head; the embedding
            is then the normalised box-head feature).
        engine: one of ENGINES. 'auto': TensorRT where there are an NVIDIA GPU and its library, else torch where torch
            finds the GPU, else OpenVINO, else torch; `EngineInfo.fallback` says what kept a better one from running. An
            engine that is named runs, or its error is raised.
        device: 'auto' (a GPU where it is there), 'cpu', 'cuda' or 'cuda:N'.
        precision: one of PRECISIONS; 'auto' is the fastest that keeps the results.
        input_size: (height, width) limits of the network's input; None takes the model's own.
        score_threshold: detections below are not returned; None takes the model's own.
        max_detections: at most so many objects an image; None takes the model's own.
        threads: CPU threads of the network; 0 leaves the library's choice.
        batch: images that TensorRT runs at once; other engines take any number.
        accuracy_check: whether TensorRT compares its result on a reference frame before it is used.

    Raises:
        FileNotFoundError: no such weights, or no graph of them; the message says which command gets them.
        ValueError: the file is not a vis_ros model, a name is not known, or what was asked for cannot run here.
    """
    _check(engine, ENGINES, 'engine')
    _check(precision, PRECISIONS, 'precision')
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', device):
        raise ValueError(f'device {device!r} is not auto, cpu, cuda or cuda:N')
    # A fault of the file or of a value is no reason to try another engine.
    network_config(resolve(weights), model, input_size, score_threshold, max_detections)

    common: dict[str, Any] = {
        'model': model,
        'precision': precision,
        'input_size': input_size,
        'score_threshold': score_threshold,
        'max_detections': max_detections,
    }
    loaders: dict[str, _Loader] = {
        'tensorrt': lambda _: _tensorrt(weights, device=device, batch=batch, accuracy_check=accuracy_check, **common),
        'openvino': lambda fallback: _openvino(weights, device, threads=threads, fallback=fallback, **common),
        'torch': lambda fallback: _torch(weights, device=device, threads=threads, fallback=fallback, **common),
    }
    return loaders[engine]('') if engine != 'auto' else _first_that_runs(loaders, device)


def network_config(
    path: Path,
    model: str = 'auto',
    input_size: tuple[int, int] | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> ModelConfig:
    """The config in a model file, with what a caller of `load_engine` wants otherwise. Reads no weights.

    Raises:
        ValueError: the file is no model file, has no such architecture, or a value is out of its range.
    """
    config = read_config(path, model)
    if input_size is not None:
        if min(input_size) < 1:
            raise ValueError(f'input_size {input_size[0]}x{input_size[1]} has no pixels: give height and width')
        config = config.with_fields(input_height=input_size[0], input_width=input_size[1])
    if score_threshold is not None:
        if not 0 <= score_threshold <= 1:
            raise ValueError(f'score_threshold {score_threshold} is not between 0 and 1')
        config = config.with_fields(score_threshold=score_threshold)
    if max_detections is not None:
        if max_detections < 0:
            raise ValueError(f'max_detections {max_detections} is less than 0')
        config = config.with_fields(max_detections=max_detections)
    return config


def timed_warm_up(engine: Engine) -> float:
    """Run an engine on an image of noise until the time settles; returns the milliseconds of one image.

    Not on an empty one: there all proposals score alike, and their suppression is the longest there is.
    """
    image = np.random.default_rng(0).integers(0, 256, (*engine.input_size, 3), np.uint8)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        engine.infer([image])
        times.append(time.perf_counter() - start)
    return min(times) * 1000


_Loader = Callable[[str], Engine]
"""Makes an engine, which is told why those before it do not run."""


def _tensorrt(weights: str | Path, **arguments: Any) -> Engine:
    from vis_ros.engines.tensorrt.tensorrt_engine import TensorRtEngine

    return TensorRtEngine(weights, **arguments)


def _openvino(weights: str | Path, device: str, **arguments: Any) -> Engine:
    if device not in ('auto', 'cpu'):
        raise ValueError(f'OpenVINO runs on the processor, not on device {device!r}; use auto or cpu')
    if find_spec('openvino') is None:
        raise ValueError('the engine openvino needs OpenVINO, not installed here: pip install openvino')
    from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(weights, **arguments)


def _torch(weights: str | Path, **arguments: Any) -> Engine:
    require('torch', 'the engine torch')
    from vis_ros.engines.torch.torch_engine import TorchEngine

    return TorchEngine(weights, **arguments)


def _first_that_runs(loaders: dict[str, _Loader], device: str) -> Engine:
    """The best engine of this machine."""
    reasons: list[str] = []
    for name in _candidates(device, reasons):
        try:
            return loaders[name]('; '.join(reasons))
        except Exception as error:  # whatever is wrong with a library, the next one may run
            reasons.append(f'{name}: {error}')
    raise ValueError(f'no engine runs here. {"; ".join(reasons) or "There is no GPU for the device " + device}')


def _candidates(device: str, reasons: list[str]) -> list[str]:
    """Names of engines, best first. What is left out although its GPU is there is told in `reasons`."""
    names = []
    gpus = nvidia_gpus() if device != 'cpu' else ()
    if gpus and not any(find_spec(module) for module in _TENSORRT_MODULES):
        reasons.append(f'tensorrt: {gpus[0]} is there, but TensorRT is not installed: see README.md')
    elif gpus:
        names.append('tensorrt')
    if (gpus or device.startswith('cuda')) and not missing('torch'):
        from vis_ros.engines.torch.torch_engine import finds_gpu

        names += ['torch'] if finds_gpu() else []
    if device in ('auto', 'cpu'):
        names += ['openvino', *([] if missing('torch') else ['torch'])]
    return list(dict.fromkeys(names))


def _check(value: str, choices: tuple[str, ...], what: str) -> None:
    if value not in choices:
        raise ValueError(f'{what} {value!r} is not one of {", ".join(choices)}')
