"""`vis-ros weights`: named weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vis_ros.cli.console import console
from vis_ros.extras import require

app = typer.Typer(help='Named weights: what there is, fetch published ones, convert checkpoints.', no_args_is_help=True)


@app.command('list')
def list_weights() -> None:
    """List the named weights and which of them are on this machine."""
    from vis_ros.networks.named_weights import WEIGHTS, path_of

    table = Table('name', 'network, training data, accuracy as published', 'on this machine')
    for name, row in WEIGHTS.items():
        path = path_of(name)
        here = f'{path.stat().st_size / 1e6:.0f} MB' if path.is_file() else '-'
        table.add_row(name, row.description, here)
    console.print(table)


@app.command('fetch')
def fetch_weights(name: Annotated[str, typer.Argument(help='See `vis-ros weights list`.')]) -> None:
    """Download published weights, check their digest, and convert them."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    from vis_ros.networks.named_weights import fetch

    columns = (TextColumn('{task.description}'), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=None)
        path = fetch(name, lambda done, total: progress.update(task, completed=done, total=total or None))
    console.print(f'{name} is ready: {path}', soft_wrap=True)


@app.command('convert')
def convert_weights(
    file: Annotated[Path, typer.Argument(help='Checkpoint of torchvision, mmdetection, mmtracking or MaskTrackRCNN.')],
    layout: Annotated[str, typer.Option(help='Where it comes from: torchvision, mmdet or official.')] = 'auto',
    out: Annotated[Path | None, typer.Option(help='Model file [default: beside the checkpoint]')] = None,
) -> None:
    """Turn a checkpoint into a model file (.safetensors). No code in the checkpoint is run."""
    require('torch', '`vis-ros weights convert`')
    from vis_ros.networks.checkpoints import convert

    console.print(f'wrote {convert(file, layout, out)}', soft_wrap=True)
