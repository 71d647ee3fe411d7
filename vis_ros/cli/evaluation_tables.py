"""What `vis-ros evaluate` prints: the verdict first, then figures, then what was compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console

if TYPE_CHECKING:
    from vis_ros.evaluation.compare_results import Comparison, MetricDifference
    from vis_ros.evaluation.evaluation import Evaluation

_MAX_ROWS = 20
"""Rows of a table that are printed; the JSON files contain all."""
_SHORT = ('AP', 'HOTA', 'AssA', 'IDF1', 'IDSW', 'Frag', 'J', 'F')
_STYLES = {'better': 'bold green', 'worse': 'bold red', 'undecided': 'bold'}


def print_evaluation(evaluation: Evaluation) -> None:
    """The figures of one evaluation."""
    from vis_ros.evaluation.leading_figure import leading_figure, shown_figures

    console.print(Text(f'{evaluation.results} against {evaluation.truth}'), soft_wrap=True)
    leading = leading_figure(evaluation.photos, evaluation.labels, evaluation.objects, evaluation.aware is not None)
    console.print(f'Read {leading.name}: {leading.why}.')
    groups = shown_figures(evaluation.photos, evaluation.labels)
    for title, names in groups.items():
        table = Table('', 'class-agnostic', 'class-aware', title=title)
        for name in names:
            aware = _metric(name, evaluation.aware[name]) if evaluation.aware else '-'
            table.add_row(name, _metric(name, evaluation.agnostic[name]), aware, style='dim' if title else None)
        console.print(table)
    _print_coverage(evaluation)
    shown = [name for name in _SHORT if name in groups['']]
    if not evaluation.photos:  # the sheet shows which are bad
        _print_parts('video', dict(evaluation.worst_first(leading.metric)), shown)
    _print_parts('camera', evaluation.per_camera, shown)
    _print_parts('class', evaluation.per_class, shown)


def _print_coverage(evaluation: Evaluation) -> None:
    for text in evaluation.inferred:
        console.print(Text(f'note: {text}'), soft_wrap=True)
    for sentence in evaluation.coverage.statements():
        console.print(Text(sentence))
    if evaluation.aware is None:
        console.print(f'No class-aware metrics: {evaluation.why_not_aware()}.')


def _print_parts(what: str, parts: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> None:
    if len(parts) < 2:
        return
    table = Table(what, *names)
    for part, metrics in list(parts.items())[:_MAX_ROWS]:
        table.add_row(Text(part), *(_metric(name, metrics[name]) for name in names))
    console.print(table)
    _print_rest(len(parts), 'evaluation.json')


def print_comparison(comparison: Comparison) -> None:
    """The verdict, the settings that differ, the figures, and where identities were lost."""
    verdict = comparison.verdict
    console.print(Text(verdict.sentence(), style=_STYLES[verdict.answer]), soft_wrap=True)
    for caution in comparison.cautions():
        console.print(Text(f'But {caution}', style='yellow'), soft_wrap=True)
    console.print(Text(f'By {verdict.figure}: {verdict.why}.'))
    console.print(Text(f'a: {comparison.a.results}\nb: {comparison.b.results}'), soft_wrap=True)
    _print_settings(comparison)
    _print_figures(comparison)
    if not comparison.a.photos:
        _print_losses(comparison)
    for name, side in (('a', comparison.a), ('b', comparison.b)):
        console.print(Text(f'{name}: {side.results} against {side.truth}', style='bold'), soft_wrap=True)
        _print_coverage(side)


def _print_settings(comparison: Comparison) -> None:
    from vis_ros.evaluation.settings_difference import settings_known

    if unknown := settings_known(comparison.a.settings, comparison.b.settings):
        console.print(unknown)
    if not comparison.settings:
        console.print('' if unknown else 'No setting differs.')
        return
    table = Table('setting that differs', 'a', 'b')
    for each in comparison.settings:
        table.add_row(*(Text(text, overflow='fold') for text in (each.name, each.a, each.b)))
    console.print(table)


def _print_figures(comparison: Comparison) -> None:
    from vis_ros.evaluation.leading_figure import shown_figures

    rows = {each.metric: each for each in comparison.agnostic}
    aware = {each.metric: each for each in comparison.aware or ()}
    for title, names in shown_figures(comparison.a.photos, comparison.a.labels).items():
        table = Table('class-agnostic', 'a', 'b', 'change', '95 % interval', 'b is', title=title)
        for name in names:
            _add_difference(table, name, rows[name], meaningless=bool(title))
        if aware and not title:
            table.add_section()
            for name in names:
                _add_difference(table, f'{name}, class-aware', aware[name])
        console.print(table)
    console.print('Gray: the interval holds zero, or there are too few units for one.', style='dim')


def _add_difference(table: Table, name: str, difference: MetricDifference, meaningless: bool = False) -> None:
    metric, interval = difference.metric, difference.interval
    span = '-' if interval is None else f'{_rounded(metric, interval.low)} to {_rounded(metric, interval.high)}'
    values = (_metric(metric, difference.a), _metric(metric, difference.b), _metric(metric, difference.change, '+'))
    word = '' if meaningless else difference.word
    style = None if word in ('better', 'worse') else 'dim'
    table.add_row(name, *values, span, Text(word, style=_STYLES.get(word, '')), style=style)


def _print_losses(comparison: Comparison) -> None:
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


def _rounded(name: str, value: float) -> str:
    from vis_ros.evaluation.evaluation import COUNTS

    return f'{value:+.1f}' if name in COUNTS else f'{value:+.3f}'
