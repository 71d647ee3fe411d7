"""`vis-ros weights`: lists, downloads and converts the weights of detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from vis_ros.cli.console import console
from vis_ros.extras import require
from vis_ros.networks.named_weights import WEIGHTS, fetch, path_of

app = typer.Typer(help='List, download and convert the weights of detectors.', no_args_is_help=True)


@app.command('list')
def list_weights() -> None:
    """List the weights that can be loaded by name, and show which of them are on this machine."""
    table = Table('name', 'network, training data, published accuracy', 'on this machine')
    for name, row in WEIGHTS.items():
        path = path_of(name)
        table.add_row(name, row.description, f'{path.stat().st_size / 1e6:.0f} MB' if path.is_file() else '-')
    console.print(table)


@app.command('fetch')
def fetch_weights(name: Annotated[str, typer.Argument(help='A name listed by `vis-ros weights list`.')]) -> None:
    """Download published weights, check their digest, and convert them to a model file."""
    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=None)
        path = fetch(name, lambda done, total: progress.update(task, completed=done, total=total or None))
    console.print(f'{name} is ready: {path}', soft_wrap=True)


@app.command('convert')
def convert_weights(
    file: Annotated[Path, typer.Argument(help='Checkpoint of torchvision, mmdetection, mmtracking or MaskTrackRCNN.')],
    layout: Annotated[
        str,
        typer.Option(
            help='Code base of the checkpoint: torchvision; mmdet (mmdetection 2 and 3, mmtracking); official '
            '(MaskTrackRCNN); or auto to recognize it by the names of its tensors.'
        ),
    ] = 'auto',
    out: Annotated[Path | None, typer.Option(help='Model file to write \\[default: beside the checkpoint]')] = None,
) -> None:
    """Convert a checkpoint to a model file (.safetensors). No code in the checkpoint is run."""
    require('torch', '`vis-ros weights convert`')
    from vis_ros.networks.checkpoints import convert

    console.print(f'wrote {convert(file, layout, out)}', soft_wrap=True)
