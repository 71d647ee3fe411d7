"""Measure where the time goes from an image to the published message, and how that grows.

    python -m benchmarks.speed --help

The records in doc/results/benchmark_*.json are written by this program; run it from a checkout.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from benchmarks.speed.tables import print_engines, print_growth, print_node
from vis_ros.cli.console import console, parse_size

if TYPE_CHECKING:
    from benchmarks.speed.speed_settings import SpeedSettings

_RATES_HZ = (10.0, 30.0, 60.0)

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={'help_option_names': ['-h', '--help']},
)


@app.command()
def measure_speed(
    weights: Annotated[
        str,
        typer.Option(help='Name or path of the weights; random:resnet50 measures random weights, for speed only.'),
    ] = 'demo',
    engine: Annotated[str, typer.Option(help='auto, tensorrt, openvino or torch.')] = 'auto',
    precision: Annotated[str, typer.Option(help='auto, fp32, fp16, bf16 or int8.')] = 'auto',
    size: Annotated[
        str | None, typer.Option(metavar='HxW', help="Network input in pixels \\[default: the model's own]")
    ] = None,
    image: Annotated[str, typer.Option(metavar='HxW', help='Size of the camera images in pixels.')] = '720x1280',
    cameras: Annotated[int, typer.Option(min=1, help='Number of cameras; their images take turns.')] = 1,
    detections: Annotated[
        int, typer.Option(min=0, help='Number of detections in every image; 0 takes what the model finds.')
    ] = 0,
    identities: Annotated[
        int, typer.Option(min=0, help='Number of tracks in memory from the start; 0 starts with an empty memory.')
    ] = 0,
    frames: Annotated[int, typer.Option(min=2, help='Number of measured images of each camera.')] = 100,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of the network; 0 lets its library choose.')] = 0,
    against: Annotated[
        str | None,
        typer.Option(metavar='ENGINE[:PRECISION]', help='Also measure a second engine in turn, and the ratio.'),
    ] = None,
    growth: Annotated[
        bool, typer.Option('--growth', help='Vary cameras, detections, identities and image size, one at a time.')
    ] = False,
    node: Annotated[bool, typer.Option('--node', help='Also measure a node in its own process over DDS.')] = False,
    json_file: Annotated[Path | None, typer.Option('--json', help='Write all results to this file.')] = None,
) -> None:
    """Measure each stage from an image to the published message.

    Every engine runs in its own process on the synthetic scene. The stages are the functions that the node calls.
    """
    from benchmarks.speed.speed_settings import SpeedSettings

    if sum((against is not None, growth, node)) > 1:
        raise ValueError('--against, --growth and --node are different measurements: choose one of them')
    settings = SpeedSettings(
        weights=weights,
        engine=engine,
        precision=precision,
        input_size=parse_size(size) if size else None,
        image_size=parse_size(image, '--image'),
        cameras=cameras,
        detections=detections,
        identities=identities,
        frames=frames,
        threads=threads,
    )
    result = _measure(settings, against, growth, node)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print_growth(result) if growth else print_engines(result)
    if node:
        print_node(result['node'])


def _measure(settings: SpeedSettings, against: str | None, growth: bool, node: bool) -> dict[str, Any]:
    from benchmarks.speed.engine_run import measure, measure_growth
    from benchmarks.speed.workspace import workspace

    with workspace() as place, console.status('starting') as status:
        if growth:
            return measure_growth(settings, place, on_step=status.update)
        if node:
            from benchmarks.speed.node_run import measure_node
            from vis_ros.ros.isolation import isolate

            isolate()
            return measure_node(settings, place, rates_hz=_RATES_HZ, on_step=status.update)
        other = None if against is None else _second_engine(settings, against)
        return measure(settings, place, other, on_step=status.update)


def _second_engine(settings: SpeedSettings, against: str) -> SpeedSettings:
    """The same measurement with the engine of ENGINE[:PRECISION]."""
    engine, _, precision = against.partition(':')
    return replace(settings, engine=engine, precision=precision or 'auto')


def main() -> None:
    """Run the command line; show an error that the user can fix as one message."""
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    try:
        app(prog_name='python -m benchmarks.speed')
    except (ValueError, OSError) as error:
        Console(stderr=True).print(Text(f'benchmarks.speed: {error}', style='red'), soft_wrap=True)
        sys.exit(1)


if __name__ == '__main__':
    main()
