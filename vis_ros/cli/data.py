"""`vis-ros data`: check annotated videos and convert them between formats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console, print_table, progress

if TYPE_CHECKING:
    from vis_ros.datasets.checking import CheckedAnnotations

app = typer.Typer(help='Check, convert and generate annotated videos.', no_args_is_help=True)

_PATH = (
    'File or folder: YouTube-VIS or COCO JSON, DAVIS, MOTS text or PNG, CVAT for video XML, output of vis-ros replay, '
    'or a bag.'
)
_IMAGES = 'Folder of the images, if they are not next to the annotations.'
_TRUTH = 'Ground truth that provides the frames of YouTube-VIS results (a JSON list of rows).'
_TOPIC = 'InstanceMaskArray topic, for a bag that has several.'
_GRAY = (
    'Gray mask images of a DAVIS folder: numbers of objects, or one mask of the values from 128 on; auto decides by '
    'the values.'
)
_SHOWN_SIZES = 5
_SHOWN_ALIKE = 100
"""Problems that differ only in their numbers are all listed up to this many, and counted beyond it."""


@app.command('check')
def check(
    path: Annotated[Path, typer.Argument(help=_PATH)],
    images: Annotated[Path | None, typer.Option(help=_IMAGES)] = None,
    truth: Annotated[Path | None, typer.Option(help=_TRUTH)] = None,
    topic: Annotated[str | None, typer.Option(help=_TOPIC)] = None,
    gray_masks: Annotated[Literal['auto', 'numbers', 'mask'], typer.Option(help=_GRAY)] = 'auto',
) -> None:
    """Read every record, mask and image. Prints a summary, and lists all problems (exit code 1)."""
    from vis_ros.datasets.checking import check_annotations
    from vis_ros.datasets.open_annotations import open_annotations
    from vis_ros.datasets.problems import alike, plural

    frames = None if truth is None else open_annotations(truth)
    with progress('reading', None) as (bar, task):
        found = check_annotations(
            path,
            topic=topic,
            truth=frames,
            images=images,
            gray=gray_masks,
            on_open=lambda videos: bar.update(task, total=sum(len(video) for video in videos.videos)),
            on_frame=lambda: bar.advance(task),
        )
    if found.videos is not None:
        _print_contents(path, found)
    if found.problems:
        table = Table('file', 'record', plural(len(found.problems), 'problem'))
        for problem, count in alike(found.problems, _SHOWN_ALIKE):
            what = problem.what if count == 1 else f'{problem.what} (and {count - 1} more like it)'
            table.add_row(*(Text(part, overflow='fold') for part in (problem.file, problem.record, what)))
        console.print(table)
        raise typer.Exit(1)


def _print_contents(path: Path, found: CheckedAnnotations) -> None:
    from vis_ros.datasets.labels import labels_of

    assert found.videos is not None
    names = found.videos.class_names
    objects = Counter(track.class_id for summary in found.summaries for track in summary.tracks.values())
    classes = ', '.join(f'{names[class_id]} {count}' for class_id, count in sorted(objects.items()))
    sizes = sorted({(width, height) for summary in found.summaries for height, width in summary.sizes})
    shown_sizes = ', '.join(f'{width}x{height}' for width, height in sizes[:_SHOWN_SIZES])
    if len(sizes) > _SHOWN_SIZES:
        shown_sizes += f' and {len(sizes) - _SHOWN_SIZES} more'
    print_table(
        str(path),
        [
            ('format', found.videos.kind),
            *[('assumed', text) for text in found.inferred],
            ('photos' if found.videos.of_photos else 'videos', len(found.videos.videos)),
            *([] if found.videos.of_photos else [('frames', sum(len(each.frames) for each in found.summaries))]),
            ('labels', labels_of(found.videos)[1].removeprefix('labels: ').replace('(--labels', '(evaluate --labels')),
            ('sizes', shown_sizes),
            ('objects', f'{sum(objects.values())}, in {sum(summary.masks for summary in found.summaries)} masks'),
            ('objects by class', classes if found.videos.has_classes else 'no class labels in this format'),
            ('frames with ignored regions', sum(summary.ignored for summary in found.summaries)),
            ('frames with an image', sum(summary.images for summary in found.summaries)),
            ('frames with a stamp', sum(summary.stamped for summary in found.summaries)),
            *([('empty masks', f'{found.empty} (left out)')] if found.empty else []),
        ],
    )


@app.command('convert')
def convert(
    source: Annotated[Path, typer.Argument(help=_PATH)],
    out: Annotated[Path, typer.Argument(help='New folder.')],
    to: Annotated[str, typer.Option(help='Output format: youtube-vis, coco, davis, mots, mots-png, cvat or bag.')],
    images: Annotated[Path | None, typer.Option(help=_IMAGES)] = None,
    truth: Annotated[Path | None, typer.Option(help=_TRUTH)] = None,
    topic: Annotated[str | None, typer.Option(help=_TOPIC)] = None,
    gray_masks: Annotated[Literal['auto', 'numbers', 'mask'], typer.Option(help=_GRAY)] = 'auto',
    labels: Annotated[
        Literal['exhaustive', 'partial'] | None,
        typer.Option(help='Whether every object is labeled, or only some; it is stored with the labels.'),
    ] = None,
) -> None:
    """Write annotations and their images in another format. Reports what that format cannot hold."""
    from dataclasses import replace

    from vis_ros.claim import check_outside
    from vis_ros.datasets.converting import PASSES, convert_annotations
    from vis_ros.datasets.labels import labels_of
    from vis_ros.datasets.open_annotations import open_annotations

    check_outside(out, source)
    frames = None if truth is None else open_annotations(truth)
    opened = open_annotations(source, topic=topic, truth=frames, images=images, gray=gray_masks)
    known, how = labels_of(opened, labels)
    videos = replace(opened, labels=known)
    with progress('writing', PASSES * sum(len(video) for video in videos.videos)) as (bar, task):
        losses = convert_annotations(videos, out, to, lambda: bar.advance(task))
    console.print(Text(f'wrote {out}: {videos.kind} as {to}'), soft_wrap=True)
    for text in [how, *videos.inferred]:
        console.print(Text(f'note: {text}'), soft_wrap=True)
    for loss in losses:
        console.print(Text(f'lost in conversion: {loss}', style='yellow'), soft_wrap=True)
