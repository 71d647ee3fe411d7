"""`vis-ros train`: train a network or fine-tune it on your own data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vis_ros.cli.console import console
from vis_ros.extras import missing, require


def train(
    config: Annotated[
        Path, typer.Argument(help='YAML file that describes the run; `vis-ros train-init` writes one for your labels.')
    ],
    out: Annotated[Path | None, typer.Option(help='Folder of the run; by default `out` in the file.')] = None,
) -> None:
    """Train or fine-tune a network; continue from the last checkpoint if the run was interrupted.

    At the end: which file is best, whether it is better than the start, its graphs, and how to use it.
    On several GPUs: torchrun --nproc-per-node N -m vis_ros.cli train CONFIG
    """
    require('train', '`vis-ros train`')
    from vis_ros.training.trainer import train as run

    try:
        weights = run(config, out)
        if os.environ.get('RANK', '0') == '0':
            _export(weights)
            console.print(f'Use it: vis-ros replay RECORDING --weights {weights}', soft_wrap=True)
    except KeyboardInterrupt:
        console.print(
            'interrupted: the same command continues from the last checkpoint, or starts again if there is none yet'
        )
        raise typer.Exit(130) from None


def _export(weights: Path) -> None:
    """Write the graphs with which the weights run without torch, or say how."""
    if absent := missing('export'):
        console.print(
            f'No graphs, with which {weights} runs without torch, because {", ".join(absent)} is not installed: '
            f'pip install {" ".join(absent)}, then vis-ros export {weights}',
            soft_wrap=True,
        )
        return
    from vis_ros.export.default_graphs import export_default_graphs

    try:
        with console.status('writing the graphs for machines without torch'):
            graphs = list(export_default_graphs(weights))
    except ValueError as error:  # the weights are whole all the same
        console.print(f'No graphs: {error}', soft_wrap=True)
        return
    names = ', '.join(graph.name for graph in graphs)
    console.print(f'For machines without torch, keep beside the weights: {names}', soft_wrap=True)
