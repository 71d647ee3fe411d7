"""`vis-ros evaluate`: results against ground truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console, progress

if TYPE_CHECKING:
    from vis_ros.datasets.video import AnnotatedVideos
    from vis_ros.evaluation.compare_results import Comparison
    from vis_ros.evaluation.evaluation import Evaluation

_MAX_ROWS = 20
"""Rows of a table that are printed; the JSON files contain all."""
_SHORT = ('AP', 'HOTA', 'AssA', 'IDF1', 'IDSW', 'Frag', 'J', 'F')


def evaluate(
    results: Annotated[Path, typer.Argument(help='Output of vis-ros replay, results.json, results.jsonl, or a bag.')],
    truth: Annotated[
        Path, typer.Argument(help='Ground truth: YouTube-VIS or COCO JSON, DAVIS folder, MOTS text, or a bag.')
    ],
    compare: Annotated[
        Path | None, typer.Option(help='Other results for the same ground truth, to compare RESULTS with.')
    ] = None,
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
    """Evaluate results against ground truth: AP, HOTA, IDF1, identity switches, J and F, and a report in HTML."""
    from vis_ros.claim import check_free, claim
    from vis_ros.datasets.open_annotations import open_annotations
    from vis_ros.datasets.video import renumber_epochs
    from vis_ros.evaluation.compare_results import compare as compare_evaluations
    from vis_ros.evaluation.report.html_report import write_report

    check_free(out)
    with console.status('reading'):
        truth_videos = open_annotations(truth, topic=truth_topic, images=images, gray=gray_masks)
        result_videos = renumber_epochs(open_annotations(results, topic=topic, truth=truth_videos))
        other_videos = None
        if compare is not None:
            other_videos = renumber_epochs(open_annotations(compare, topic=compare_topic, truth=truth_videos))
    evaluation = _evaluate(result_videos, truth_videos, common_frames)
    comparison = None
    if other_videos is not None:
        comparison = compare_evaluations(_evaluate(other_videos, truth_videos, common_frames), evaluation)
    claim(out)
    _write_json(out / 'evaluation.json', evaluation.to_json())
    if comparison:
        _write_json(out / 'comparison.json', comparison.to_json())
    with console.status('writing the report'):
        write_report(evaluation, out / 'report.html', truth=truth_videos, results=result_videos, comparison=comparison)
    _print_evaluation(evaluation)
    if comparison:
        _print_comparison(comparison)
    console.print(f'Report: {out}/report.html, all metrics: {out}/evaluation.json', soft_wrap=True)


def _evaluate(results: AnnotatedVideos, truth: AnnotatedVideos, common_frames: bool) -> Evaluation:
    from vis_ros.evaluation.evaluate_results import evaluate
    from vis_ros.evaluation.video_evaluation import READINGS

    frames = READINGS * sum(len(video) for video in truth.videos)
    with progress('evaluating', frames) as (bar, task):
        evaluation = evaluate(results, truth, common_frames=common_frames, on_frame=lambda: bar.advance(task))
        bar.update(task, completed=frames)  # including frames that were left out
    return evaluation


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + '\n', encoding='utf-8')


def _print_evaluation(evaluation: Evaluation) -> None:
    console.print(Text(f'{evaluation.results} against {evaluation.truth}'), soft_wrap=True)
    table = Table('', 'class-agnostic', 'class-aware')
    for name, value in evaluation.agnostic.items():
        table.add_row(name, _metric(name, value), _metric(name, evaluation.aware[name]) if evaluation.aware else '-')
    console.print(table)
    for text in evaluation.inferred:
        console.print(Text(f'assumed: {text}'), soft_wrap=True)
    for sentence in evaluation.coverage.statements():
        console.print(Text(sentence))
    if evaluation.aware is None:
        console.print('No class-aware metrics: the ground truth or the results have no class labels.')
    _print_parts('video', evaluation.per_video)
    _print_parts('class', evaluation.per_class)


def _print_parts(what: str, parts: Mapping[str, Mapping[str, float]]) -> None:
    if len(parts) < 2:
        return
    table = Table(what, *_SHORT)
    for part, metrics in list(parts.items())[:_MAX_ROWS]:
        table.add_row(Text(part), *(_metric(name, metrics[name]) for name in _SHORT))
    console.print(table)
    _print_rest(len(parts), 'evaluation.json')


def _print_comparison(comparison: Comparison) -> None:
    console.print(Text(f'From {comparison.a.results} (a) to {comparison.b.results} (b)'), soft_wrap=True)
    table = Table('', 'a', 'b', 'change')
    for each in comparison.agnostic:
        values = (_metric(each.metric, each.a), _metric(each.metric, each.b), _metric(each.metric, each.change, '+'))
        table.add_row(each.metric, *values, style=None if each.change else 'dim')
    console.print(table)
    if not comparison.lost_identities:
        console.print('Neither result lost an identity that the other one kept.')
        return
    table = Table('video', 'object', 'frames', 'lost in', 'how', title='Identities lost in one and kept in the other')
    for loss in comparison.lost_identities[:_MAX_ROWS]:
        frames = str(loss.first) if loss.first == loss.last else f'{loss.first} - {loss.last}'
        how = 'not found' if loss.lost_id is None else 'switched'
        table.add_row(Text(loss.video), Text(f'{loss.object_id} {loss.class_name}'), frames, loss.lost_in, how)
    console.print(table)
    _print_rest(len(comparison.lost_identities), 'comparison.json')


def _print_rest(count: int, file: str) -> None:
    if count > _MAX_ROWS:
        console.print(f'... and {count - _MAX_ROWS} more, see {file}.')


def _metric(name: str, value: float, sign: str = '') -> str:
    from vis_ros.evaluation.evaluation import COUNTS

    return f'{value:{sign}}' if name in COUNTS else f'{value:{sign}.3f}'
