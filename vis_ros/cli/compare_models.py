"""`vis-ros compare-models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console
from vis_ros.cli.setting_options import with_settings
from vis_ros.tracking.settings import Settings

DECIDED = ('weights', 'model', 'bridge', 'propagation_weights', 'start_from', 'max_objects', 'association')
"""Settings that follow from the models under comparison."""


@with_settings(*DECIDED)
def compare_models(
    truth: Annotated[
        Path, typer.Argument(help='Annotated videos with images: a DAVIS folder, YouTube-VIS JSON or MOTS text.')
    ],
    out: Annotated[Path, typer.Option(help='Folder for comparison.json and a contact sheet of each video.')] = Path(
        'comparison'
    ),
    only: Annotated[
        list[str] | None, typer.Option(help='Name of a video to use. Repeat it for several; default: all.')
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help='Model to compare: mask_rcnn, masktrack_rcnn, maskrnn, rgmp, pts, feelvos, "first mask", or a '
            'detection model and its bridge such as masktrack_rcnn+feelvos. Repeat it for several; default: all.'
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar='MODEL=FILE', help='Weights of a model in place of the packaged ones. Repeat it for several.'
        ),
    ] = None,
    max_frames: Annotated[int, typer.Option(min=0, help='Maximum number of frames of each video; 0: all.')] = 0,
    *,
    settings: Settings,
) -> None:
    """Run several models on the same annotated videos: J, F, identity switches, time per frame, memory.

    Propagation models get the ground truth masks of the first frame. Mask R-CNN and MaskTrack R-CNN detect the objects
    themselves and are scored by the track that fits each object best. The first frame is never scored.
    """
    from vis_ros.evaluation.comparison.candidates import MODELS, is_bridged
    from vis_ros.evaluation.comparison.model_comparison import compare_models as run
    from vis_ros.evaluation.comparison.run_model import ComparisonTask

    chosen = tuple(model or MODELS)
    files = dict(_pair(each) for each in weights or [])
    unknown = [name for name in (*chosen, *files) if name not in MODELS and not is_bridged(name)]
    if unknown:
        raise ValueError(f'there is no model {unknown[0]!r}; models are {", ".join(MODELS)}')
    tasks = [
        ComparisonTask(name, files.get(name, ''), str(truth), str(out), tuple(only or ()), max_frames, settings)
        for name in chosen
    ]
    with console.status('starting') as status:
        result = run(tasks, status.update)
    _print(result['models'])
    compared = [found for found in result['models'].values() if 'error' not in found]
    if not compared:
        raise ValueError(f'no model could be compared; see {out}/comparison.json')
    left_out = list(dict.fromkeys(text for found in compared for text in found['left_out']))
    for text in left_out:
        console.print(Text(f'left out: {text}', style='yellow'), soft_wrap=True)
    console.print(f'See the contact sheets {out}/*.jpg; all figures are in {out}/comparison.json.', soft_wrap=True)
    if left_out or len(compared) < len(result['models']):
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    name, equals, file = text.partition('=')
    if not equals or not file:
        raise ValueError(f'--weights {text!r} is not MODEL=FILE')
    return name, file


def _print(models: dict[str, dict[str, Any]]) -> None:
    table = Table('model', 'J', 'F', 'switches', 'ms per frame', 'start ms', 'peak MiB')
    below = []  # what is long would cut off the names of the models in a narrow terminal
    for name, found in models.items():
        if 'error' in found:
            table.add_row(name, '-', '-', '-', '-', '-', '-')
            below.append(Text(f'{name}: {found["error"]}', style='yellow'))
            continue
        mean = found['mean']
        figures = [f'{mean["J"]:.3f}', f'{mean["F"]:.3f}', f'{mean["switches"]:.2f}']
        table.add_row(name, *figures, f'{mean["ms"]:.1f}', f'{mean["start_ms"]:.0f}', f'{found["peak_mib"]:.0f}')
        below.append(Text(f'{name}: {found["engine"]}'))
    console.print(table)
    for text in below:
        console.print(text, soft_wrap=True)
