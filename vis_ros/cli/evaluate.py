"""`vis-ros evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console, progress

if TYPE_CHECKING:
    from vis_ros.datasets.video import AnnotatedVideos
    from vis_ros.evaluation.compare_results import Comparison
    from vis_ros.evaluation.evaluation import Evaluation

_ROWS = 20
_SHORT = ('AP', 'HOTA', 'AssA', 'IDF1', 'IDSW', 'Frag', 'J', 'F')


def evaluate(
    results: Annotated[Path, typer.Argument(help='Folder of `vis-ros replay`, results.json, results.jsonl, or a bag.')],
    truth: Annotated[Path, typer.Argument(help='YouTube-VIS or COCO JSON, DAVIS folder, MOTS text, or a bag.')],
    compare: Annotated[
        Path | None, typer.Option(help='Other results for the same truth: say what changed from them to RESULTS.')
    ] = None,
    topic: Annotated[str | None, typer.Option(help='Topic of the results in a bag that has several.')] = None,
    truth_topic: Annotated[str | None, typer.Option(help='Topic of the truth in a bag that has several.')] = None,
    compare_topic: Annotated[str | None, typer.Option(help='Topic of the other results.')] = None,
    common_frames: Annotated[
        bool,
        typer.Option('--common-frames', help='Leave out frames without results instead of counting them as empty.'),
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help='Folder of the images for the report, where the truth does not lead to them.')
    ] = None,
    out: Annotated[Path, typer.Option(help='Folder for evaluation.json and report.html.')] = Path('evaluation'),
) -> None:
    """Measure results against truth: AP, HOTA, IDF1, switches, J and F, with a report to look at."""
    from vis_ros.datasets.open_annotations import open_annotations
    from vis_ros.datasets.video import renumber_epochs
    from vis_ros.evaluation.compare_results import compare as compare_evaluations
    from vis_ros.evaluation.report.html_report import write_report

    with console.status('reading'):
        there = open_annotations(truth, topic=truth_topic, images=images)
        found = renumber_epochs(open_annotations(results, topic=topic, truth=there))
        other = None
        if compare is not None:
            other = renumber_epochs(open_annotations(compare, topic=compare_topic, truth=there))
    evaluation = _evaluate(found, there, common_frames)
    comparison = None if other is None else compare_evaluations(_evaluate(other, there, common_frames), evaluation)
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / 'evaluation.json', evaluation.to_json())
    if comparison:
        _write_json(out / 'comparison.json', comparison.to_json())
    with console.status('writing the report'):
        write_report(evaluation, out / 'report.html', truth=there, results=found, comparison=comparison)
    _print_evaluation(evaluation)
    if comparison:
        _print_comparison(comparison)
    console.print(f'See {out}/report.html; all figures are in {out}/evaluation.json.', soft_wrap=True)


def _evaluate(results: AnnotatedVideos, truth: AnnotatedVideos, common_frames: bool) -> Evaluation:
    from vis_ros.evaluation.evaluate_results import READINGS, evaluate

    frames = READINGS * sum(len(video) for video in truth.videos)
    with progress('evaluating', frames) as (bar, task):
        evaluation = evaluate(results, truth, common_frames=common_frames, on_frame=lambda: bar.advance(task))
        bar.update(task, completed=frames)  # with those that were left out
    return evaluation


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + '\n', encoding='utf-8')


def _print_evaluation(evaluation: Evaluation) -> None:
    console.print(Text(f'{evaluation.results} against {evaluation.truth}'), soft_wrap=True)
    table = Table('', 'class-agnostic', 'class-aware')
    for name, value in evaluation.agnostic.items():
        table.add_row(name, _figure(name, value), _figure(name, evaluation.aware[name]) if evaluation.aware else '-')
    console.print(table)
    for sentence in evaluation.coverage.statements():
        console.print(Text(sentence))
    if evaluation.aware is None:
        console.print('There are no class-aware figures: the truth or the results tell no classes.')
    _print_parts('video', evaluation.per_video)
    _print_parts('class', evaluation.per_class)


def _print_parts(what: str, parts: Mapping[str, Mapping[str, float]]) -> None:
    if len(parts) < 2:
        return
    table = Table(what, *_SHORT)
    for part, figures in list(parts.items())[:_ROWS]:
        table.add_row(Text(part), *(_figure(name, figures[name]) for name in _SHORT))
    console.print(table)
    _print_rest(len(parts), 'evaluation.json')


def _print_comparison(comparison: Comparison) -> None:
    console.print(Text(f'From {comparison.a.results} (a) to {comparison.b.results} (b)'), soft_wrap=True)
    table = Table('', 'a', 'b', 'change')
    for each in comparison.agnostic:
        values = (_figure(each.metric, each.a), _figure(each.metric, each.b), _figure(each.metric, each.change, '+'))
        table.add_row(each.metric, *values, style=None if each.change else 'dim')
    console.print(table)
    if not comparison.losses:
        console.print('Neither lost an identity that the other kept.')
        return
    table = Table('video', 'object', 'frames', 'lost in', 'how', title='Identities lost in one and kept in the other')
    for loss in comparison.losses[:_ROWS]:
        frames = str(loss.first) if loss.first == loss.last else f'{loss.first} - {loss.last}'
        how = 'not found' if loss.lost_id is None else 'switched'
        table.add_row(Text(loss.video), Text(f'{loss.object_id} {loss.class_name}'), frames, loss.lost_in, how)
    console.print(table)
    _print_rest(len(comparison.losses), 'comparison.json')


def _print_rest(count: int, file: str) -> None:
    if count > _ROWS:
        console.print(f'... and {count - _ROWS} more, see {file}.')


def _figure(name: str, value: float, sign: str = '') -> str:
    from vis_ros.evaluation.evaluation import COUNTS

    return f'{value:{sign}}' if name in COUNTS else f'{value:{sign}.3f}'
