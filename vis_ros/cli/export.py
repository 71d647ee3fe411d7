"""`vis-ros export`: the graphs by which a model file runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from vis_ros.cli.console import console, parse_size

_IMAGES = 32
"""At least so many of a recording calibrate int8, where it has them, and fewer than twice as many."""


def export(
    weights: Annotated[str, typer.Argument(help='Model file (.safetensors) or name, see `vis-ros weights list`.')],
    engine: Annotated[
        Literal['openvino', 'onnx', 'tensorrt'] | None,
        typer.Option(
            help='openvino: the graph for a CPU; onnx: the one for TensorRT on any machine, such as a Jetson; '
            'tensorrt: that one, and its engine for the GPU of this machine [default: openvino and onnx]'
        ),
    ] = None,
    model: Annotated[
        Literal['auto', 'masktrack_rcnn', 'mask_rcnn'],
        typer.Option(help='Which of the networks in the model file; auto: each that it holds.'),
    ] = 'auto',
    precision: Annotated[
        Literal['fp32', 'fp16', 'bf16', 'int8'] | None,
        typer.Option(help='Of the layers. For TensorRT any [default: fp16]; for OpenVINO int8'),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar='RECORDING', help='Bag, video or folder of images to choose the scales of int8 by.'),
    ] = None,
    topic: Annotated[str | None, typer.Option(help='Image topic of that bag, where it has several.')] = None,
    size: Annotated[
        str | None, typer.Option(metavar='HxW', help="Of the input, for TensorRT [default: the model's own]")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help='Images at once (cameras), for TensorRT.')] = 1,
    out: Annotated[
        Path | None, typer.Option(help='Folder for the graphs and a copy of the weights [default: beside the weights]')
    ] = None,
) -> None:
    """Write the ONNX graphs of a model file, which refer to its weights and so must stay beside them.

    Without options: all that are looked for beside a model file. A graph for a CPU takes any size and batch.
    """
    from vis_ros.extras import require
    from vis_ros.networks.model_header import read_config
    from vis_ros.networks.named_weights import resolve

    require('export', 'vis-ros export')
    from vis_ros.export.graph_export import export as write

    path = resolve(weights)
    for_tensorrt = precision in ('fp32', 'fp16', 'bf16') or size is not None or batch != 1
    if engine == 'openvino' and for_tensorrt:
        raise ValueError(
            '--precision fp32, fp16 and bf16, --size and --batch are for TensorRT: the graph for OpenVINO takes every '
            'size and batch, and computes in the precision that the engine is asked for'
        )
    if (calibrate is None) == (precision == 'int8'):
        raise ValueError('--precision int8 and --calibrate RECORDING belong together: images choose its scales')
    images = [] if calibrate is None else _images(calibrate, topic)
    input_size = None if size is None else parse_size(size)
    architectures = _architectures(read_config(path, model).architecture) if model == 'auto' else (model,)
    for architecture in architectures:
        if engine == 'openvino' or (engine is None and not for_tensorrt):
            graph = write(path, 'cpu', architecture=architecture, precision=precision, out=out, images=images)
            console.print(f'wrote {graph}', soft_wrap=True)
        if engine != 'openvino':
            graph = write(
                path,
                'gpu',
                architecture=architecture,
                precision=precision,
                size=input_size,
                batch=batch,
                out=out,
                images=images,
            )
            console.print(f'wrote {graph}', soft_wrap=True)
            if engine == 'tensorrt':
                _build(graph.with_name(path.name), architecture, precision, input_size, batch)


def _images(recording: Path, topic: str | None) -> list[NDArray[np.uint8]]:
    """Images of a recording, evenly spread over it and no more than are needed."""
    from vis_ros.evenly_spaced import EvenlySpaced
    from vis_ros.recordings.opening import open_recording

    images: EvenlySpaced[NDArray[np.uint8]] = EvenlySpaced(_IMAGES)
    for frame in open_recording(recording, topic):
        images.add(frame.image)
    if not images.kept:
        raise ValueError(f'{recording} has no images to choose the scales of int8 by')
    return images.kept


def _architectures(architecture: str) -> tuple[str, ...]:
    """What a model file runs as: a MaskTrack R-CNN also without its track head."""
    return (architecture, 'mask_rcnn') if architecture != 'mask_rcnn' else (architecture,)


def _build(weights: Path, architecture: str, precision: str | None, size: tuple[int, int] | None, batch: int) -> None:
    from vis_ros.engines.loading import load_engine

    with console.status('building the engine for this GPU'):
        engine = load_engine(
            weights, model=architecture, engine='tensorrt', precision=precision or 'auto', input_size=size, batch=batch
        )
    info = engine.describe()
    console.print(f'built {info.model} on {info.engine}, {info.device}, {info.precision}', soft_wrap=True)
