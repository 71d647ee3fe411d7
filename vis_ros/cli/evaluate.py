"""`vis-ros evaluate`: results against ground truth."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vis_ros.cli.console import console, progress
from vis_ros.cli.evaluation_tables import print_comparison, print_evaluation
from vis_ros.whole_file import whole_file, write_whole

if TYPE_CHECKING:
    from vis_ros.datasets.labels import Labels
    from vis_ros.datasets.video import AnnotatedVideos
    from vis_ros.evaluation.evaluation import Evaluation
    from vis_ros.evaluation.totals import ClassTotals

WORSE = 3
"""Exit status of --fail-if-worse."""


def evaluate(
    results: Annotated[
        Path,
        typer.Argument(
            help='Output of vis-ros replay of a recording or a library, results.json, results.jsonl, or a bag.'
        ),
    ],
    truth: Annotated[
        Path,
        typer.Argument(
            help='Ground truth: YouTube-VIS or COCO JSON, DAVIS folder, MOTS text, or a bag. Of a library: one of '
            'these, or a folder with one for each recording, under its name.'
        ),
    ],
    compare: Annotated[
        Path | None,
        typer.Option(help='Other results (a) for the same ground truth: are RESULTS (b) better than these?'),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar='FIGURE', help='Figure that decides, such as HOTA. Default: by the kind of ground truth.'),
    ] = None,
    fail_if_worse: Annotated[
        bool, typer.Option('--fail-if-worse', help=f'With --compare: exit status {WORSE} if RESULTS are worse.')
    ] = False,
    labels: Annotated[
        Literal['exhaustive', 'partial'] | None,
        typer.Option(
            help='Whether every object of the ground truth is labeled, or only some. Default: as stored with it; '
            'partial for DAVIS, otherwise exhaustive.'
        ),
    ] = None,
    photos: Annotated[
        bool | None,
        typer.Option(
            '--photos/--video',
            help='The images are photos, matched by file name, or a video. Default: photos if the ground truth is a '
            'COCO file or the results were replayed as photos.',
        ),
    ] = None,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar='NAME=NAME|FILE|none',
            help='Other names for classes of either side, or a YAML or JSON file with them; repeat it for several. '
            'Default: classes count as their supercategory where only that is on the other side.',
        ),
    ] = None,
    micro: Annotated[
        bool,
        typer.Option('--micro', help='Class-aware totals over all objects instead of means over the classes.'),
    ] = False,
    davis_protocol: Annotated[
        bool,
        typer.Option('--davis-protocol', help='Leave out the first and the last frame of each video, as DAVIS does.'),
    ] = False,
    topic: Annotated[str | None, typer.Option(help='Topic of the results, for a bag that has several.')] = None,
    truth_topic: Annotated[
        str | None, typer.Option(help='Topic of the ground truth, for a bag that has several.')
    ] = None,
    compare_topic: Annotated[
        str | None, typer.Option(help='Topic of the other results, for a bag that has several.')
    ] = None,
    common_frames: Annotated[
        bool,
        typer.Option('--common-frames', help='Leave out frames without results instead of counting them as misses.'),
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help='Folder of the images for the report, if they are not next to the ground truth.')
    ] = None,
    gray_masks: Annotated[
        Literal['auto', 'numbers', 'mask'],
        typer.Option(
            help='Gray mask images of a DAVIS ground truth: numbers of objects, or one mask of the values from 128 on; '
            'auto decides by the values.'
        ),
    ] = 'auto',
    out: Annotated[Path, typer.Option(help='Folder for evaluation.json and report.html.')] = Path('evaluation'),
) -> None:
    """Evaluate results against ground truth, and say whether they are better than others: tables and an HTML report."""
    from vis_ros.claim import check_free, claim
    from vis_ros.datasets.label_library import is_library_folder, open_label_library
    from vis_ros.datasets.open_annotations import open_annotations
    from vis_ros.evaluation.class_map import read_class_map
    from vis_ros.evaluation.compare_results import compare as compare_evaluations
    from vis_ros.evaluation.leading_figure import check_figure
    from vis_ros.evaluation.preparation import Preparation
    from vis_ros.evaluation.report.error_sheets import write_error_sheets
    from vis_ros.evaluation.report.html_report import write_report
    from vis_ros.evaluation.report.library_report import write_library_report
    from vis_ros.evaluation.report.mistakes_sheet import mistakes_sheet

    if compare is None and (by is not None or fail_if_worse):
        raise ValueError('--by and --fail-if-worse need other results to compare with: add --compare')
    check_figure(by)
    check_free(out)
    options = Preparation(photos, read_class_map(class_map or []), davis_protocol)
    open_labels = partial(open_annotations, topic=truth_topic, images=images, gray=gray_masks)
    with console.status('reading'):
        of_library = is_library_folder(results)
        labeled = open_label_library(truth, results, open_labels) if of_library else open_labels(truth)
        result_videos, truth_videos = options.apply(open_annotations(results, topic=topic, truth=labeled), labeled)
        other = None if compare is None else open_annotations(compare, topic=compare_topic, truth=labeled)
    over: ClassTotals = 'micro' if micro else 'macro'
    evaluation = _evaluate(result_videos, truth_videos, common_frames, labels, over)
    comparison = None
    if other is not None:
        both = options.apply(other, labeled)
        comparison = compare_evaluations(_evaluate(*both, common_frames, labels, over), evaluation, by)
    claim(out)
    _write_json(out / 'evaluation.json', evaluation.to_json())
    if comparison:
        _write_json(out / 'comparison.json', comparison.to_json())
    with console.status('writing the report'):
        sheet = mistakes_sheet(evaluation, result_videos, truth_videos) if evaluation.photos else None
        if sheet is not None:
            with whole_file(out / 'mistakes.jpg') as file:
                file.write_bytes(sheet)
        report = out / 'report.html'
        if of_library and not evaluation.photos:
            write_library_report(evaluation, report, truth=truth_videos, results=result_videos, comparison=comparison)
        else:
            write_report(
                evaluation, report, truth=truth_videos, results=result_videos, comparison=comparison, sheet=sheet
            )
        sheets = 0 if evaluation.photos else write_error_sheets(out, evaluation, truth_videos, result_videos)
    if comparison:
        print_comparison(comparison)
    else:
        print_evaluation(evaluation)
    if sheet is not None:
        console.print(f'Photos with the most mistakes: {out}/mistakes.jpg', soft_wrap=True)
    console.print(f'Report: {out}/report.html, all metrics: {out}/evaluation.json', soft_wrap=True)
    if sheets:
        console.print(f'Contact sheets with the errors marked: {out}/sheets', soft_wrap=True)
    if fail_if_worse and comparison and comparison.verdict.answer == 'worse':
        raise typer.Exit(WORSE)


def _evaluate(
    results: AnnotatedVideos, truth: AnnotatedVideos, common_frames: bool, labels: Labels | None, over: ClassTotals
) -> Evaluation:
    from vis_ros.evaluation.evaluate_results import evaluate
    from vis_ros.evaluation.video_evaluation import READINGS

    frames = READINGS * sum(len(video) for video in truth.videos)
    with progress('evaluating', frames) as (bar, task):
        evaluation = evaluate(
            results,
            truth,
            common_frames=common_frames,
            labels=labels,
            over=over,
            on_frame=lambda: bar.advance(task),
        )
        bar.update(task, completed=frames)  # including frames that were left out
    return evaluation


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + '\n')
