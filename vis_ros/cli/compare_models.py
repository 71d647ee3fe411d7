"""`vis-ros compare-models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console


def compare_models(
    truth: Annotated[
        Path, typer.Argument(help='Annotated videos with pictures: a DAVIS folder, YouTube-VIS JSON, MOTS.')
    ],
    out: Annotated[Path, typer.Option(help='Folder for comparison.json and a sheet of pictures of each video.')] = Path(
        'comparison'
    ),
    only: Annotated[list[str] | None, typer.Option(help='Name of a video, once for each [default: all].')] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help='A model, once for each [default: all]; masktrack_rcnn+feelvos is one whose gaps are bridged.'
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar='MODEL=FILE', help='Other weights than the packaged ones of a model, once for each.'),
    ] = None,
    max_frames: Annotated[int, typer.Option(min=0, help='At most so many frames of each video; 0: all.')] = 0,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of the networks; 0: their library chooses.')] = 0,
) -> None:
    """Run all models over the same videos: J, F, identity switches, milliseconds a frame, memory.

    Models that carry masks along are given those of the first frame; Mask R-CNN and MaskTrack R-CNN find the objects
    themselves and are scored by the identity that fits each best. The first frame is never scored.
    """
    from vis_ros.evaluation.comparison.candidates import MODELS, is_mixed
    from vis_ros.evaluation.comparison.model_comparison import compare_models as run
    from vis_ros.evaluation.comparison.run_model import ComparisonTask

    chosen = tuple(model or MODELS)
    files = dict(_pair(each) for each in weights or [])
    unknown = [name for name in (*chosen, *files) if name not in MODELS and not is_mixed(name)]
    if unknown:
        raise ValueError(f'there is no model {unknown[0]!r}; there are {", ".join(MODELS)}')
    tasks = [
        ComparisonTask(name, files.get(name, ''), str(truth), str(out), tuple(only or ()), max_frames, threads)
        for name in chosen
    ]
    with console.status('starting') as status:
        result = run(tasks, status.update)
    _print(result['models'])
    console.print(f'See the sheets {out}/*.jpg; all figures are in {out}/comparison.json.', soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    name, equals, file = text.partition('=')
    if not equals or not file:
        raise ValueError(f'--weights {text!r} is not MODEL=FILE')
    return name, file


def _print(models: dict[str, dict[str, Any]]) -> None:
    table = Table('model', 'J', 'F', 'switches', 'ms a frame', 'start ms', 'peak MiB', 'engine')
    for name, found in models.items():
        if 'error' in found:
            table.add_row(name, '-', '-', '-', '-', '-', '-', Text(found['error'], style='yellow'))
            continue
        mean = found['mean']
        figures = [f'{mean["J"]:.3f}', f'{mean["F"]:.3f}', f'{mean["switches"]:.2f}']
        table.add_row(
            name, *figures, f'{mean["ms"]:.1f}', f'{mean["start_ms"]:.0f}', f'{found["peak_mib"]:.0f}', found['engine']
        )
    console.print(table)
