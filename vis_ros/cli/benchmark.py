"""`vis-ros benchmark`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis_ros.cli.benchmark_tables import print_engines, print_growth, print_node
from vis_ros.cli.console import console

if TYPE_CHECKING:
    from vis_ros.benchmark.settings import Settings

_RATES = (10.0, 30.0, 60.0)


def benchmark(
    weights: Annotated[
        str, typer.Option(help='Name or path of the weights; random:resnet50 for random ones, for speed only.')
    ] = 'demo',
    engine: Annotated[str, typer.Option(help='auto, tensorrt, openvino or torch.')] = 'auto',
    precision: Annotated[str, typer.Option(help='auto, fp32, fp16, bf16 or int8.')] = 'auto',
    size: Annotated[
        str | None, typer.Option(metavar='HxW', help="Input of the network [default: the model's own]")
    ] = None,
    image: Annotated[str, typer.Option(metavar='HxW', help="Size of the cameras' images.")] = '720x1280',
    cameras: Annotated[int, typer.Option(min=1, help='So many cameras, in turn.')] = 1,
    detections: Annotated[
        int, typer.Option(min=0, help='So many objects in every image; 0: as many as are found.')
    ] = 0,
    identities: Annotated[
        int, typer.Option(min=0, help='So many in memory from the start on; 0: those that come.')
    ] = 0,
    frames: Annotated[int, typer.Option(min=2, help='Measured images of each camera.')] = 100,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of the network; 0: its library chooses.')] = 0,
    against: Annotated[
        str | None,
        typer.Option(metavar='ENGINE[:PRECISION]', help='Measure a second engine in alternation, and the ratio.'),
    ] = None,
    growth: Annotated[
        bool, typer.Option('--growth', help='Tables over cameras, detections, identities and sizes of the image.')
    ] = False,
    node: Annotated[bool, typer.Option('--node', help='Measure a node in a process of its own over DDS, too.')] = False,
    json_file: Annotated[Path | None, typer.Option('--json', help='Write every figure into this file.')] = None,
) -> None:
    """Measure where the time goes from an image to the message with its objects, and how that grows.

    Every engine runs in a process of its own on the demo's scene. The stages are the functions that the node calls.
    """
    from vis_ros.benchmark.engine_run import workspace
    from vis_ros.benchmark.settings import Settings, parse_size

    if sum((against is not None, growth, node)) > 1:
        raise ValueError('--against, --growth and --node are measurements of their own: choose one')
    settings = Settings(
        weights=weights,
        engine=engine,
        precision=precision,
        input_size=parse_size(size) if size else None,
        image_size=parse_size(image),
        cameras=cameras,
        detections=detections,
        identities=identities,
        frames=frames,
        threads=threads,
    )
    with workspace() as place, console.status('starting') as status:
        if growth:
            from vis_ros.benchmark.growth import measure_growth

            result = measure_growth(settings, place, on_step=status.update)
        elif node:
            from vis_ros.benchmark.node_run import measure_node
            from vis_ros.ros.isolation import isolate

            isolate()
            result = measure_node(settings, place, rates_hz=_RATES, on_step=status.update)
        else:
            from vis_ros.benchmark.engine_run import measure

            other = None if against is None else _other(settings, against)
            result = measure(settings, place, other, on_step=status.update)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print_growth(result) if growth else print_engines(result)
    if node:
        print_node(result['node'])


def _other(settings: Settings, against: str) -> Settings:
    """The same measurement of the engine that ENGINE[:PRECISION] names."""
    engine, _, precision = against.partition(':')
    return replace(settings, engine=engine, precision=precision or 'auto')
