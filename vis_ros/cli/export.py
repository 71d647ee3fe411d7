"""`vis-ros export`: writes the ONNX graphs with which a model runs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from vis_ros.cli.console import console, parse_size

_CALIBRATION_IMAGES = 32
"""Minimum number of images that calibrate int8, if the recording has that many. Fewer than twice as many are used."""


def export(
    weights: Annotated[
        str,
        typer.Argument(
            help='Model file (.safetensors), or a name: one of `vis-ros weights list`, feelvos, maskrnn, pts or rgmp.'
        ),
    ],
    engine: Annotated[
        Literal['openvino', 'onnx', 'tensorrt'] | None,
        typer.Option(
            help='openvino: the graph for CPUs; onnx: the graph for TensorRT, to copy to any machine; tensorrt: that '
            'graph, and the engine built from it for the GPU of this machine \\[default: openvino and onnx]'
        ),
    ] = None,
    model: Annotated[
        Literal['auto', 'masktrack_rcnn', 'mask_rcnn'],
        typer.Option(help='Network in the model file to export; auto: all of them.'),
    ] = 'auto',
    precision: Annotated[
        Literal['fp32', 'fp16', 'bf16', 'int8'] | None,
        typer.Option(help='Precision of the layers: any for TensorRT \\[default: fp16], only int8 for OpenVINO.'),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar='RECORDING', help='Bag, video or folder of images for int8 calibration.'),
    ] = None,
    topic: Annotated[str | None, typer.Option(help='Image topic, if the bag has several.')] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar='HxW', help="Network input in pixels, for TensorRT \\[default: the model's own]"),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help='Number of images at once (cameras), for TensorRT.')] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help='Folder for the graphs and a copy of the weights \\[default: folder of the weights]'),
    ] = None,
) -> None:
    """Write the ONNX graphs with which a model runs without PyTorch.

    Graphs read their weights from the model file: keep both in one folder.
    Without options, all graphs that engines load by default are written.
    A propagation network has one graph for each of its parts.
    The graph for CPUs accepts any image size and batch size.
    """
    from vis_ros.extras import require
    from vis_ros.networks.model_header import read_config
    from vis_ros.networks.named_weights import resolve

    require('export', 'vis-ros export')
    from vis_ros.propagation.packaged_weights import propagation_weights
    from vis_ros.propagation.propagation_header import is_propagation
    from vis_ros.propagation.systems import PROPAGATION_SYSTEMS

    path = propagation_weights(weights) if weights in PROPAGATION_SYSTEMS else resolve(weights)
    if is_propagation(path):
        given = {'model': model != 'auto', 'precision': precision or False, 'calibrate': calibrate or False}
        _export_parts(path, engine, [name for name, is_set in given.items() if is_set], batch, size, out)
        return
    from vis_ros.export.default_graphs import architectures
    from vis_ros.export.graph_export import export as write
    from vis_ros.export.part_export import export_proposals

    for_tensorrt = precision in ('fp32', 'fp16', 'bf16') or size is not None or batch != 1
    if engine == 'openvino' and for_tensorrt:
        raise ValueError(
            '--precision fp32, fp16 and bf16, --size and --batch are for TensorRT: the graph for OpenVINO accepts any '
            'size and batch, and its precision is chosen when it is loaded'
        )
    if (calibrate is None) == (precision == 'int8'):
        raise ValueError(
            '--precision int8 and --calibrate RECORDING must be given together: images determine its scales'
        )
    images = [] if calibrate is None else _calibration_images(calibrate, topic)
    input_size = None if size is None else parse_size(size)
    chosen = architectures(read_config(path, model).architecture) if model == 'auto' else (model,)
    for architecture in chosen:
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
                _build_tensorrt(graph.with_name(path.name), architecture, precision, input_size, batch)
    if engine in (None, 'openvino') and model == 'auto' and not for_tensorrt and precision is None:
        console.print(f'wrote {export_proposals(path, out=out)}, for PTS', soft_wrap=True)


def _export_parts(
    path: Path, engine: str | None, refused: list[str], batch: int, size: str | None, out: Path | None
) -> None:
    """Write the graphs of a propagation network: for OpenVINO, or with `--engine onnx` for TensorRT."""
    from vis_ros.export.part_export import export_parts
    from vis_ros.propagation.propagation_header import read_propagation_config

    refused = [f'--{name}' for name in (*refused, *(['batch'] if batch != 1 else []))]
    if refused or engine == 'tensorrt':
        reason = f'{", ".join(refused)} is for detectors' if refused else 'its graphs are not run in TensorRT yet'
        raise ValueError(f'{path} holds a propagation network, in fp32 and for one object at a time: {reason}')
    if engine != 'onnx' and size is not None:
        raise ValueError('--size is for the graphs of --engine onnx: those for OpenVINO accept any size')
    image_size = None if size is None else parse_size(size)
    target: Literal['cpu', 'gpu'] = 'gpu' if engine == 'onnx' else 'cpu'
    for config in read_propagation_config(path).variants:
        for graph in export_parts(path, target, size=image_size, out=out, config=config).values():
            console.print(f'wrote {graph}', soft_wrap=True)


def _calibration_images(recording: Path, topic: str | None) -> list[NDArray[np.uint8]]:
    """Evenly spaced images of a recording, for int8 calibration."""
    from vis_ros.evenly_spaced import EvenlySpaced
    from vis_ros.recordings.opening import open_recording

    images: EvenlySpaced[NDArray[np.uint8]] = EvenlySpaced(_CALIBRATION_IMAGES)
    for frame in open_recording(recording, topic):
        images.add(frame.image)
    if not images.kept:
        raise ValueError(f'{recording} contains no images for int8 calibration')
    return images.kept


def _build_tensorrt(
    weights: Path, architecture: str, precision: str | None, size: tuple[int, int] | None, batch: int
) -> None:
    from vis_ros.engines.loading import load_engine

    with console.status('building the TensorRT engine for this GPU'):
        engine = load_engine(
            weights, model=architecture, engine='tensorrt', precision=precision or 'auto', input_size=size, batch=batch
        )
    info = engine.describe()
    console.print(f'built {info.model} for {info.engine}, {info.device}, {info.precision}', soft_wrap=True)
