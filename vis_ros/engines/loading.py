"""load_engine: choose the engine for a model file on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vis_ros.engines.engine import ENGINES, PRECISIONS, Engine
from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.extras import missing, require
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_header import read_config
from vis_ros.networks.named_weights import resolve

_TENSORRT_MODULES = ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings')


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
            finds the GPU, else OpenVINO, else torch; `EngineInfo.note` says what kept a better one from running. An
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
        'openvino': lambda note: _openvino(weights, device, threads=threads, note=note, **common),
        'torch': lambda note: _torch(weights, device=device, threads=threads, note=note, **common),
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
