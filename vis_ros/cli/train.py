"""`vis-ros train`: train a network, or fine-tune one on your own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis_ros.cli.console import console
from vis_ros.extras import require


def train(
    config: Annotated[
        Path, typer.Argument(help='YAML file that describes the run, such as config/train_masktrack_rcnn.yaml.')
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the run [default: the file's own]")] = None,
) -> None:
    """Train a network, or go on with a training that was interrupted.

    On several GPUs: torchrun --nproc-per-node N -m vis_ros.cli train CONFIG
    """
    require('train', '`vis-ros train`')
    from vis_ros.training.trainer import train as run

    try:
        run(config, out)
    except KeyboardInterrupt:
        console.print('interrupted: the same command goes on from the last checkpoint')
        raise typer.Exit(130) from None
