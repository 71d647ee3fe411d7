"""The command line `vis-ros`: one thin function a command. What is heavy is imported where it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

import vis_ros

app = typer.Typer(
    help='Video instance segmentation for ROS 2: masks with identities that last.',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={'help_option_names': ['-h', '--help']},
)
weights_app = typer.Typer(
    help='Named weights: what there is, fetch published ones, convert checkpoints.', no_args_is_help=True
)
app.add_typer(weights_app, name='weights')
console = Console()


def main() -> None:
    """Run the command line. What a person can mend is said in one message; --debug shows the traceback."""
    # Threads of the network that spin while they wait make it many times slower as soon as another program runs too.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
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
    from vis_ros.data.scene import Scene
    from vis_ros.demo.report import write_report
    from vis_ros.demo.run import SCENE_SIZE, record

    out.mkdir(parents=True, exist_ok=True)
    scene = Scene(seed=0, size=SCENE_SIZE, frames=frames)
    with _progress('starting', frames) as (progress, task):
        recording = record(
            out,
            scene,
            rate=rate or 0.0,
            watch=lambda activity, answered: progress.update(task, description=activity, completed=answered),
        )
    with _progress('scoring', len(recording.answers)) as (progress, task):
        metrics = write_report(out, scene, recording, lambda: progress.advance(task))
    share = metrics['frames_received'] / metrics['frames_sent']
    engine = metrics['engine']
    _print_table(
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
def replay(
    source: Annotated[Path, typer.Argument(help='A video file, an image folder, or a bag (.mcap, .db3 or folder).')],
    out: Annotated[Path, typer.Option(help='Folder for results.jsonl, overlay.mp4 and contact_sheet.png.')] = Path(
        'replay'
    ),
    topic: Annotated[str | None, typer.Option(help='Image topic of a bag that has several.')] = None,
    every: Annotated[int, typer.Option(min=1, help='Use one image of so many.')] = 1,
    max_frames: Annotated[int | None, typer.Option(min=1, help='End after so many images.')] = None,
    weights: Annotated[str, typer.Option(help='Name (see `vis-ros weights list`) or path of the weights.')] = 'demo',
    model: Annotated[
        str, typer.Option(help='auto, masktrack_rcnn, or mask_rcnn to leave the track head out.')
    ] = 'auto',
    association: Annotated[str, typer.Option(help='one_to_one, paper or mmtracking.')] = 'one_to_one',
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Ignore detections below [default: the model's own]"),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(help='avc1, vp09 or mp4v; auto takes the first that can be written. mp4v is by far the fastest.'),
    ] = 'auto',
) -> None:
    """Track the objects in a recording, every image in order, without ROS running."""
    from vis_ros.engines.engine import load_engine
    from vis_ros.identity.config import AssociationConfig
    from vis_ros.identity.memory import IdentityMemory
    from vis_ros.replay import replay as run
    from vis_ros.segmenters.detect_and_track import DetectAndTrack
    from vis_ros.sources import open_source
    from vis_ros.video_writer import CODECS

    recording = open_source(source, topic)
    memory = IdentityMemory(AssociationConfig(rule=association))  # type: ignore[arg-type]  # it checks the name itself
    with console.status('loading the network'):
        engine = load_engine(weights, model=model, score_threshold=score_threshold)
        engine.warm_up()
    info = engine.describe()
    console.print(f'{recording.description}; {info.model} on {info.engine}, {info.device}, {info.precision}')
    expected = None if recording.count is None else min(-(-recording.count // every), max_frames or recording.count)
    with _progress('tracking', expected) as (progress, task):
        summary = run(
            recording,
            DetectAndTrack(engine, memory),
            engine.class_names,
            out,
            every=every,
            max_frames=max_frames,
            codecs=tuple(CODECS) if codec == 'auto' else (codec,),
            on_frame=lambda: progress.advance(task),
        )
    _print_table(
        str(out),
        [
            ('images', summary.frames),
            *([('images skipped', f'{summary.skipped} ({summary.last_problem})')] if summary.skipped else []),
            ('rate, with reading and drawing', f'{summary.frames / summary.seconds:.1f} images/s'),
            ('latency p50, p95', f'{summary.latency_ms[0]:.1f} ms, {summary.latency_ms[1]:.1f} ms'),
            ('identities', summary.identities),
            ('objects per image', f'{summary.instances / summary.frames:.1f}'),
            ('overlay.mp4', f'{summary.codec}: {CODECS.get(summary.codec, "")}'),
        ],
    )


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help='YAML file that describes the run, such as config/train_demo.yaml.')],
    out: Annotated[Path | None, typer.Option(help="Folder of the run [default: the file's own]")] = None,
) -> None:
    """Train a network, or go on with a training that was interrupted."""
    from vis_ros.training.trainer import train as run

    console.print(f'wrote {run(config, out)}')


@weights_app.command('list')
def list_weights() -> None:
    """List the named weights and which of them are on this machine."""
    from vis_ros.networks.weights import WEIGHTS, path_of

    table = Table('name', 'network, training data, accuracy as published', 'on this machine')
    for name, row in WEIGHTS.items():
        path = path_of(name)
        here = f'{path.stat().st_size / 1e6:.0f} MB' if path.is_file() else '-'
        table.add_row(name, row.description, here)
    console.print(table)


@weights_app.command('fetch')
def fetch_weights(name: Annotated[str, typer.Argument(help='See `vis-ros weights list`.')]) -> None:
    """Download published weights, check their digest, and convert them."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    from vis_ros.networks.weights import fetch

    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=None)
        path = fetch(name, lambda done, total: progress.update(task, completed=done, total=total or None))
    console.print(f'{name} is ready: {path}', soft_wrap=True)


@weights_app.command('convert')
def convert_weights(
    file: Annotated[Path, typer.Argument(help='Checkpoint of torchvision, mmdetection, mmtracking or MaskTrackRCNN.')],
    layout: Annotated[str, typer.Option(help='Where it comes from: torchvision, mmdet or official.')] = 'auto',
    out: Annotated[Path | None, typer.Option(help='Model file [default: beside the checkpoint]')] = None,
) -> None:
    """Turn a checkpoint into a model file (.safetensors). No code in the checkpoint is run."""
    from vis_ros.networks.checkpoints import convert

    console.print(f'wrote {convert(file, layout, out)}', soft_wrap=True)


@app.command()
def doctor() -> None:
    """Check what is installed and say what will run where. Exit code 1 if something essential is missing."""
    from vis_ros.doctor import examine

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


class _RateColumn(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text('' if task.speed is None else f'{task.speed:.1f}/s', style='progress.data.speed')


@contextmanager
def _progress(activity: str, total: int | None) -> Iterator[tuple[Progress, Any]]:
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield progress, progress.add_task(activity, total=total)


def _print_table(title: str, rows: Iterable[tuple[str, object]]) -> None:
    table = Table(title=title, show_header=False)
    for name, value in rows:
        table.add_row(name, Text(str(value)))
    console.print(table)


if __name__ == '__main__':
    main()
