"""`vis-ros train-init`: a training config for your own labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from vis_ros.cli.console import console, print_table
from vis_ros.extras import require
from vis_ros.whole_file import write_whole

_MOST_WORKERS = 4


def train_init(
    labels: Annotated[
        Path, typer.Argument(help='Your labels: COCO JSON of photos, or videos in any format of `vis-ros data check`.')
    ],
    images: Annotated[
        Path | None, typer.Option(help='Folder of the images, if they are not next to the labels.')
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            metavar='LABELS',
            help='Labels of other photos or videos to validate on. Default: every tenth photo or every fifth video.',
        ),
    ] = None,
    held_out_images: Annotated[Path | None, typer.Option(help='Folder of their images.')] = None,
    label_kind: Annotated[
        Literal['exhaustive', 'partial'] | None,
        typer.Option(
            '--labels',
            help='Whether every object of the classes is labeled, or only some. Default: as stored with the labels; '
            'partial for DAVIS, otherwise exhaustive.',
        ),
    ] = None,
    weights: Annotated[str, typer.Option(help='Weights to start from.')] = 'demo',
    steps: Annotated[int, typer.Option(min=0, help='Steps of the run; 0: by the amount of data.')] = 0,
    out: Annotated[Path, typer.Option(help='The file to write; its name becomes that of the model.')] = Path(
        'mine.yaml'
    ),
    measure: Annotated[
        bool, typer.Option(help='Measure the time and memory of a run with a few steps, in about a minute.')
    ] = True,
) -> None:
    """Write a commented config for `vis-ros train` from your own labels, and say what a run takes on this machine."""
    require('train', '`vis-ros train-init`')
    from vis_ros.claim import check_new
    from vis_ros.networks.model_config import ModelConfig
    from vis_ros.training.own_config import OwnConfig
    from vis_ros.training.own_labels import read_own_labels
    from vis_ros.training.run_cost import measure_run
    from vis_ros.training.train_config import TrainConfig

    check_new(out, '--out')
    start = TrainConfig.from_dict({'data': [{'kind': 'scenes'}], 'weights': weights}).model
    if not isinstance(start, ModelConfig):
        raise ValueError(f'{weights} is not a detector: see config/train_feelvos.yaml for propagation networks')
    own = OwnConfig(
        labels=read_own_labels(labels, images, label_kind),
        held_out=None if held_out is None else read_own_labels(held_out, held_out_images, label_kind),
        weights=weights,
        size=(start.input_height, start.input_width),
        name=out.stem,
        steps=steps,
        workers=min(max(len(os.sched_getaffinity(0)) // 2, 1), _MOST_WORKERS),
    )
    write_whole(out, own.to_yaml())
    config = TrainConfig.read(out)
    rows: list[tuple[str, object]] = [('data', own.contents()), ('steps', f'at most {own.steps}')]
    rows += [('remark', remark) for remark in own.remarks()]
    if measure:
        console.print('measuring with a few steps and one validation ...')
        cost = measure_run(config)
        write_whole(out, own.to_yaml(cost))
        rows.append(('cost', ' '.join(cost.lines(own.steps, own.validations))))
    print_table(str(out), rows)
    console.print(f'Look at {out}, then: vis-ros train {out}', soft_wrap=True)
