"""The program `vis-ros`: its commands, each in a file of its own unless it is short, and how errors are told."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import vis_ros
from vis_ros.cli import data, weights
from vis_ros.cli.benchmark import benchmark
from vis_ros.cli.compare_models import compare_models
from vis_ros.cli.console import console, print_table, progress
from vis_ros.cli.evaluate import evaluate
from vis_ros.cli.export import export
from vis_ros.cli.replay import replay
from vis_ros.cli.synth import synth
from vis_ros.cli.train import train

app = typer.Typer(
    help='Video instance segmentation for ROS 2: masks with identities that last.',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={'help_option_names': ['-h', '--help']},
)
app.command()(replay)
app.command()(evaluate)
app.command()(compare_models)
app.command()(train)
app.command()(export)
app.command()(benchmark)
app.add_typer(weights.app, name='weights')
app.add_typer(data.app, name='data')
data.app.command()(synth)


def main() -> None:
    """Run the command line. What a person can mend is said in one message; --debug shows the traceback."""
    # Threads of the network that spin while they wait make it many times slower as soon as another program runs too.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    # numpy's own threads would fight those of the network. Read when numpy is imported, which comes later.
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    # What takes long says how far it is: an engine that is being built, a graph that is being exported.
    logging.basicConfig(format='vis-ros: %(message)s')
    logging.getLogger('vis_ros').setLevel(logging.INFO)
    try:
        app(prog_name='vis-ros')
    except (ValueError, OSError) as error:
        if '--debug' in sys.argv:
            raise
        Console(stderr=True).print(Text(f'vis-ros: {error}', style='red'), soft_wrap=True)
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f'vis_ros {vis_ros.__version__}', highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option('--version', help='Print the version and end.', callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option('--debug', help='Show the traceback of an error.')] = False,
) -> None:
    """Hold the options that stand before the command."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help='Folder for video, contact sheet, figures and bag.')] = Path('demo'),
    frames: Annotated[int, typer.Option(min=30, help='Length of the scene in images.')] = 150,
    rate: Annotated[float | None, typer.Option(help='Images per second [default: as many as it can track]')] = None,
) -> None:
    """Let a camera process and the node exchange real images and masks over DDS, and measure what comes back."""
    from vis_ros.demo.demo_report import write_report
    from vis_ros.demo.demo_run import SCENE_SIZE, record
    from vis_ros.synthetic.scene import Scene

    out.mkdir(parents=True, exist_ok=True)
    scene = Scene(seed=0, size=SCENE_SIZE, frames=frames)
    with progress('starting', frames) as (bar, task):
        recording = record(
            out,
            scene,
            rate=rate or 0.0,
            watch=lambda activity, answered: bar.update(task, description=activity, completed=answered),
        )
    with progress('scoring', len(recording.answers)) as (bar, task):
        metrics = write_report(out, scene, recording, lambda: bar.advance(task))
    share = metrics['frames_received'] / metrics['frames_sent']
    engine = metrics['engine']
    print_table(
        f'{out}/metrics.json',
        [
            ('images sent by the camera', metrics['frames_sent']),
            ('answered by the node', f'{metrics["frames_received"]} ({share:.1%})'),
            ('dropped for newer ones', metrics['frames_dropped']),
            ('rate', f'{metrics["rate_hz"]} Hz'),
            ('latency p50, p95', f'{metrics["latency_ms"]["p50"]} ms, {metrics["latency_ms"]["p95"]} ms'),
            ("stamps equal the camera's", 'yes' if metrics['stamps_equal'] else 'NO'),
            ('identities unique in each image', 'yes' if metrics['ids_unique'] else 'NO'),
            ('identities (true objects)', f'{metrics["identities"]} ({metrics["true_identities"]})'),
            ('identity switches', metrics['id_switches']),
            ('mean mask IoU', f'{metrics["mean_mask_iou"]:.3f}'),
            ('share of true objects found', f'{metrics["recall"]:.1%}'),
            (
                'engine',
                ', '.join(engine[key] for key in ('engine', 'engine device', 'engine precision') if key in engine),
            ),
        ],
    )
    console.print(f'See {out}/overlay.mp4 and {out}/contact_sheet.png; images and masks are in the bag {out}/bag.')


@app.command()
def doctor() -> None:
    """Check what is installed and say what will run where. Exit code 1 if something essential is missing."""
    from vis_ros.cli.doctor import examine

    with console.status('looking'):
        findings = examine()
    table = Table(show_header=False)
    marks = {'good': '[green]ok', 'absent': '[dim]-', 'weak': '[yellow]!', 'bad': '[red]missing'}
    for finding in findings:
        text = Text(finding.value, overflow='fold')
        if finding.hint:
            text.append(f'\n{finding.hint}', style='yellow')
        table.add_row(marks[finding.state], finding.subject, text)
    console.print(table)
    if any(finding.state == 'bad' for finding in findings):
        raise typer.Exit(1)
