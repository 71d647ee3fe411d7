"""`vis-ros data`: check people's own annotations, convert them between formats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console, print_table, progress

if TYPE_CHECKING:
    from vis_ros.datasets.checking import Check

app = typer.Typer(help='Annotated videos: check them, convert them between formats.', no_args_is_help=True)

_PATH = 'A file or folder: YouTube-VIS or COCO JSON, DAVIS, MOTS text, results of replay, or a bag.'
_IMAGES = 'Folder of the pictures, where they are not beside the annotations.'
_TRUTH = 'Truth that gives the frames of YouTube-VIS results (a bare list of rows).'
_TOPIC = 'Topic of the InstanceMaskArray of a bag that has several.'


@app.command('check')
def check_annotations(
    path: Annotated[Path, typer.Argument(help=_PATH)],
    images: Annotated[Path | None, typer.Option(help=_IMAGES)] = None,
    truth: Annotated[Path | None, typer.Option(help=_TRUTH)] = None,
    topic: Annotated[str | None, typer.Option(help=_TOPIC)] = None,
) -> None:
    """Read every record, mask and picture; list all problems (exit code 1), or say what is there."""
    from vis_ros.datasets.checking import check
    from vis_ros.datasets.open_annotations import open_annotations

    frames = None if truth is None else open_annotations(truth)
    with progress('reading', None) as (bar, task):
        found = check(
            path,
            topic=topic,
            truth=frames,
            images=images,
            on_open=lambda videos: bar.update(task, total=sum(len(video) for video in videos.videos)),
            on_frame=lambda: bar.advance(task),
        )
    if found.videos is not None:
        _print_contents(path, found)
    if found.problems:
        count = len(found.problems)
        table = Table('file', 'where', f'{count} problem{"s" if count > 1 else ""}')
        for problem in found.problems:
            table.add_row(*(Text(part, overflow='fold') for part in (problem.file, problem.record, problem.what)))
        console.print(table)
        raise typer.Exit(1)


def _print_contents(path: Path, found: Check) -> None:
    assert found.videos is not None
    names = found.videos.class_names
    objects = Counter(track.class_id for summary in found.summaries for track in summary.tracks.values())
    classes = ', '.join(f'{names[class_id]} {count}' for class_id, count in sorted(objects.items()))
    sizes = sorted({(width, height) for summary in found.summaries for height, width in summary.sizes})
    shown_sizes = ', '.join(f'{width}x{height}' for width, height in sizes[:5])
    frames = sum(len(summary.names) for summary in found.summaries)
    print_table(
        str(path),
        [
            ('format', found.videos.kind),
            ('videos', len(found.videos.videos)),
            ('frames', frames),
            ('sizes', f'{shown_sizes}{f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""}'),
            ('objects', f'{sum(objects.values())}, in {sum(s.instances for s in found.summaries)} masks'),
            ('objects by class', classes if found.videos.has_classes else 'the format has no classes'),
            ('frames with ignored regions', sum(summary.ignored for summary in found.summaries)),
            ('frames with a picture', sum(summary.pictures for summary in found.summaries)),
            ('frames with a stamp', sum(summary.stamped for summary in found.summaries)),
            *([('objects without a pixel', f'{found.empty}: they are left out')] if found.empty else []),
        ],
    )


@app.command('convert')
def convert_annotations(
    source: Annotated[Path, typer.Argument(help=_PATH)],
    out: Annotated[Path, typer.Argument(help='New folder.')],
    to: Annotated[str, typer.Option(help='youtube-vis, davis, mots or bag.')],
    images: Annotated[Path | None, typer.Option(help=_IMAGES)] = None,
    truth: Annotated[Path | None, typer.Option(help=_TRUTH)] = None,
    topic: Annotated[str | None, typer.Option(help=_TOPIC)] = None,
) -> None:
    """Write annotations in another format, with their pictures, and say what it cannot hold."""
    from vis_ros.datasets.converting import PASSES, convert
    from vis_ros.datasets.open_annotations import open_annotations

    frames = None if truth is None else open_annotations(truth)
    videos = open_annotations(source, topic=topic, truth=frames, images=images)
    with progress('writing', PASSES * sum(len(video) for video in videos.videos)) as (bar, task):
        losses = convert(videos, out, to, lambda: bar.advance(task))
    console.print(f'wrote {out}: {videos.kind} as {to}', soft_wrap=True)
    for loss in losses:
        console.print(Text(f'not in it: {loss}', style='yellow'), soft_wrap=True)
