"""`vis-ros train`: train a network or fine-tune it on your own data."""

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
    out: Annotated[Path | None, typer.Option(help='Folder of the run; by default `out` in the file.')] = None,
) -> None:
    """Train or fine-tune a network; continue from the last checkpoint if the run was interrupted.

    On several GPUs: torchrun --nproc-per-node N -m vis_ros.cli train CONFIG
    """
    require('train', '`vis-ros train`')
    from vis_ros.training.trainer import train as run

    try:
        run(config, out)
    except KeyboardInterrupt:
        console.print('interrupted: run the same command again to continue from the last checkpoint')
        raise typer.Exit(130) from None
