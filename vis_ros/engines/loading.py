"""load_engine: choose and load the engine that runs a model file on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.engines.accuracy_check import comparison_threshold, keep_if_accurate, reference_file
from vis_ros.engines.batched_engine import batched
from vis_ros.engines.engine import ENGINES, PRECISIONS, Engine, join_notes
from vis_ros.engines.nvidia import nvidia_gpus
from vis_ros.extras import missing, require
from vis_ros.file_digest import sha256_of
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
    """Load a model file, given by name (`demo`) or by path, into the engine that runs it.

    Args:
        weights: a name from `vis_ros.networks.named_weights`, or the path of a .safetensors file.
        model: 'auto' (the model in the file), 'masktrack_rcnn', or 'mask_rcnn', which ignores the track head and
            returns the normalized box-head feature as the embedding.
        engine: one of ENGINES. 'auto' tries, in this order: TensorRT on an NVIDIA GPU, torch on that GPU, OpenVINO on
            the CPU, torch on the CPU. `EngineInfo.note` gives the reason if a faster engine could not be used. A named
            engine is never replaced by another one; its error is raised.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
        precision: one of PRECISIONS; 'auto' is the fastest one that preserves the results.
        input_size: maximum (height, width) of the network's input; None uses the model's own.
        score_threshold: detections with a lower score are dropped; None uses the model's own threshold.
        max_detections: maximum number of detections per image; None uses the model's own.
        threads: number of CPU threads; 0 leaves the choice to the library.
        batch: number of images that TensorRT may run at once, where that is faster. On other engines a batch gains
            nothing: they run the images one after another.
        accuracy_check: compare a reduced precision with fp32 before it is used. 'auto' then falls back to fp32; a
            named precision, and TensorRT, are rejected.

    Raises:
        FileNotFoundError: the weights, or their exported graph, are missing. The message has the command to get them.
        ValueError: the file is not a vis_ros model, an argument is invalid, or the requested engine cannot run here.
    """
    _check_choice(engine, ENGINES, 'engine')
    _check_choice(precision, PRECISIONS, 'precision')
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', device):
        raise ValueError(f'device {device!r} is not auto, cpu, cuda or cuda:N')
    # Errors in the file or in an argument are raised here: they are no reason to try another engine.
    path = resolve(weights)
    config = network_config(path, model, input_size, score_threshold, max_detections)

    def load(name: str, note: str = '') -> Engine:
        if name == 'tensorrt':
            return _tensorrt(path, config, batch, device=device, precision=precision, accuracy_check=accuracy_check)
        make = _openvino if name == 'openvino' else _torch
        found = make(path, config, device, precision=precision, threads=threads, note=note)
        if not accuracy_check or found.describe().precision == 'fp32':
            return found

        def in_fp32(reason: str) -> Engine:
            return make(path, config, device, precision='fp32', threads=threads, note=join_notes(note, reason))

        stored = reference_file(sha256_of(path), config, found.input_size)
        return keep_if_accurate(found, precision, in_fp32, stored, comparison_threshold(path, config))

    return load(engine) if engine != 'auto' else _load_fastest(load, device)


def network_config(
    path: Path,
    model: str = 'auto',
    input_size: tuple[int, int] | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> ModelConfig:
    """The config in a model file, with the values that the caller of `load_engine` overrides. Reads no weights.

    Raises:
        ValueError: the file is not a model file, does not contain that architecture, or a value is out of range.
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
            raise ValueError(f'max_detections {max_detections} is negative')
        config = config.with_fields(max_detections=max_detections)
    return config


# The engines are imported here and not above: importing one loads its library.


def _tensorrt(path: Path, config: ModelConfig, batch: int, **options: Any) -> Engine:
    from vis_ros.engines.tensorrt.tensorrt_engine import TensorRtEngine

    single = TensorRtEngine(path, config, **options)
    return single if batch < 2 else batched(single, batch, lambda: TensorRtEngine(path, config, batch=batch, **options))


def _openvino(path: Path, config: ModelConfig, device: str, **options: Any) -> Engine:
    if device not in ('auto', 'cpu'):
        raise ValueError(f'OpenVINO runs on the CPU, not on device {device!r}; use auto or cpu')
    if find_spec('openvino') is None:
        raise ValueError('the engine openvino needs OpenVINO, which is not installed: pip install openvino')
    from vis_ros.engines.openvino.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(path, config, **options)


def _torch(path: Path, config: ModelConfig, device: str, **options: Any) -> Engine:
    require('torch', 'the engine torch')
    from vis_ros.engines.torch.torch_engine import TorchEngine

    return TorchEngine(path, config, device=device, **options)


def _load_fastest(load: Callable[[str, str], Engine], device: str) -> Engine:
    """The first candidate that loads and runs an image; the failures of those before it become its note."""
    names, reasons = _candidates(device)
    for name in names:
        try:
            engine = load(name, '; '.join(reasons))
            engine.infer([np.zeros((*engine.input_size, 3), np.uint8)])  # some compile only at the first image
            return engine
        except Exception as error:  # whatever is wrong with one library, the next one may run
            first_line = next(iter(str(error).splitlines()), '') or type(error).__name__
            reasons.append(f'{name}: {first_line}')
    raise ValueError(f'no engine runs here. {"; ".join(reasons) or "There is no GPU for the device " + device}')


def _candidates(device: str) -> tuple[list[str], list[str]]:
    """Names of engines to try, fastest first, and the reasons why faster ones are left out."""
    names, reasons = [], []
    gpus = nvidia_gpus() if device != 'cpu' else ()
    if gpus and not any(find_spec(module) for module in _TENSORRT_MODULES):
        reasons.append(f'tensorrt: found {gpus[0]}, but TensorRT is not installed: see doc/engines.md')
    elif gpus:
        names.append('tensorrt')
    if (gpus or device.startswith('cuda')) and not missing('torch'):
        from vis_ros.engines.torch.torch_engine import finds_gpu

        names += ['torch'] if finds_gpu() else []
    if device in ('auto', 'cpu'):
        names += ['openvino', *([] if missing('torch') else ['torch'])]
    return list(dict.fromkeys(names)), reasons


def _check_choice(value: str, choices: tuple[str, ...], what: str) -> None:
    if value not in choices:
        raise ValueError(f'{what} {value!r} is not one of {", ".join(choices)}')
