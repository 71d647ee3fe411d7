"""The verdict between two results: better, worse or undecided, with an interval for every figure.

The units are videos, segments of few videos, or photos. Figures such as HOTA and AP are not means over units, so each
is computed again without one unit at a time (jackknife), which gives every unit a pseudo-value of the change. The mean
of these is the change, and `paired_interval` says how far it can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.problems import plural
from vis_ros.evaluation.evaluation import COUNTS, METRICS, Evaluation
from vis_ros.evaluation.leading_figure import LeadingFigure, leading_figure
from vis_ros.evaluation.paired_interval import FEWEST, Interval, paired_interval
from vis_ros.evaluation.totals import merge_units, totals
from vis_ros.evaluation.video_evaluation import SEGMENT_FRAMES

MOST_UNITS = 50
"""More units are put into this many groups, of which one at a time is left out."""

_NOISE = 1e-9
"""Rounding error of sums of floats."""

Answer = Literal['better', 'worse', 'undecided']
Intervals = dict[str, Interval | None]


@dataclass(frozen=True, eq=False)
class PseudoValues:
    """The figures of all units, and (G,) pseudo-values of each for G groups of units."""

    whole: Mapping[str, float]
    of_units: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Verdict:
    """Whether b is better than a.

    Attributes:
        answer: 'better' or 'worse' if the interval leaves out zero.
        reason: why it is undecided: 'no difference', 'too few units', 'interval holds zero'; else ''.
        figure: the figure that decides; aware: its class-aware value.
        why: why this figure.
        a, b: its values; in segments those within the segments.
        interval: of the change from a to b; None with fewer than FEWEST units.
        unit: 'video', 'segment' or 'photo'; units: their number.
        better, worse: number of units in which b is better or worse than a, all objects as one class.
    """

    answer: Answer
    reason: str
    figure: str
    aware: bool
    why: str
    a: float
    b: float
    interval: Interval | None
    unit: str
    units: int
    better: int
    worse: int

    @property
    def change(self) -> float:
        """From a to b."""
        return self.b - self.a

    def sentence(self) -> str:
        """The verdict in words."""
        figure = f'{"class-aware " if self.aware else ""}{self.figure}{" within segments" * (self.unit == "segment")}'
        values = f'{figure} {self._text(self.a)} -> {self._text(self.b)} ({self._text(self.change, "+")})'
        where = f'better in {self.better}, worse in {self.worse} of {plural(self.units, self.unit)}'
        where += ' with all objects as one class' * self.aware
        if self.reason == 'no difference':
            return f'Undecided: there is no difference between a and b in any figure ({plural(self.units, self.unit)}).'
        if self.interval is None:
            hint = f', each of {SEGMENT_FRAMES} labeled frames or more' if self.unit == 'segment' else ''
            return (
                f'Undecided, too few to tell: {plural(self.units, self.unit)}, at least {FEWEST} are needed{hint}. '
                f'{values}, {where}.'
            )
        span = f'95 % interval {self._text(self.interval.low, "+")} to {self._text(self.interval.high, "+")}'
        start = {
            'better': 'b is better than a',
            'worse': 'b is worse than a',
            'undecided': 'Undecided, the interval holds zero',
        }
        return f'{start[self.answer]}: {values}, {span}; {where}.'

    def _text(self, value: float, sign: str = '') -> str:
        if self.figure in COUNTS:
            return f'{value:{sign}.0f}' if value == round(value) else f'{value:{sign}.1f}'
        return f'{value:{sign}.3f}'

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, the sentence and the change included."""
        return {'sentence': self.sentence(), **asdict(self), 'change': self.change}


@dataclass(frozen=True)
class Judgment:
    """The verdict, and the interval of the change of each of METRICS; None where there are too few units."""

    verdict: Verdict
    agnostic: Intervals
    aware: Intervals


def judge(a: Evaluation, b: Evaluation, *, same: bool, by: str | None = None) -> Judgment:
    """Judge two evaluations against the same ground truth.

    Args:
        a, b: from a to b.
        same: whether they do not differ in anything that a comparison shows.
        by: the figure that decides, one of METRICS; None: by the kind of ground truth.
    """
    leading = leading_figure(
        a.photos, a.labels, a.objects, a.aware is not None and a.per_class.keys() == b.per_class.keys(), by
    )
    agnostic, aware = _intervals(a, b)
    interval = (aware if leading.aware else agnostic).get(leading.metric)
    before, after = (_value(side, leading) for side in (a, b))
    changes = [
        _sign(leading.metric, *values) for values in zip(_of_units(a, leading), _of_units(b, leading), strict=True)
    ]
    answer, reason = _answer(leading.metric, interval, same, len(a.units))
    verdict = Verdict(
        answer=answer,
        reason=reason,
        figure=leading.metric,
        aware=leading.aware,
        why=leading.why,
        a=before,
        b=after,
        interval=interval,
        unit=a.unit,
        units=len(a.units),
        better=changes.count(1),
        worse=changes.count(-1),
    )
    return Judgment(verdict, agnostic, aware)


def _answer(metric: str, interval: Interval | None, same: bool, units: int) -> tuple[Answer, str]:
    if same:
        return 'undecided', 'no difference'
    if interval is None:
        return 'undecided', 'too few units' if units < FEWEST else 'no difference'
    if interval.holds(0.0):
        return 'undecided', 'interval holds zero'
    return ('better' if (interval.low > 0) != (metric in COUNTS) else 'worse'), ''


def _value(side: Evaluation, leading: LeadingFigure) -> float:
    if side.unit == 'segment':
        return totals(side.units, side.over).agnostic[leading.metric]
    values = side.aware if leading.aware else side.agnostic
    assert values is not None, 'it leads only if both have it'
    return values[leading.metric]


def _of_units(side: Evaluation, leading: LeadingFigure) -> list[float]:
    """The class-agnostic value of each unit."""
    if side.unit == 'segment':
        return [totals([unit], side.over).agnostic[leading.metric] for unit in side.units]
    return [side.per_video[unit.name][leading.metric] for unit in side.units]


def _sign(metric: str, a: float, b: float) -> int:
    """1 where b is better than a, -1 where it is worse."""
    change = a - b if metric in COUNTS else b - a
    return 0 if abs(change) <= _NOISE else int(np.sign(change))


def _intervals(a: Evaluation, b: Evaluation) -> tuple[Intervals, Intervals]:
    """Of the class-agnostic and of the class-aware figures."""
    if len(a.units) < FEWEST:
        return dict.fromkeys(METRICS), dict.fromkeys(METRICS)
    before, after = (_pseudo_values(side) for side in (a, b))
    return _of_changes(before[0], after[0]), _of_changes(before[1], after[1])


def _of_changes(before: PseudoValues, after: PseudoValues) -> Intervals:
    return {
        name: paired_interval(_clean(after.of_units[name] - values, after.whole[name] - before.whole[name]))
        for name, values in before.of_units.items()
        if name in after.of_units
    }


def _clean(differences: NDArray[np.float64], change: float) -> NDArray[np.float64]:
    """Differences whose mean is the change itself, without rounding errors, which a test of signs takes for changes.

    The jackknife would correct the bias of a figure, too. But a reader expects the interval around the change, and both
    sides have about the same bias.
    """
    centered = differences - differences.mean() + change
    return np.where(np.abs(centered) <= _NOISE * MOST_UNITS, 0.0, centered)


def _pseudo_values(side: Evaluation) -> tuple[PseudoValues, PseudoValues]:
    """(G,) pseudo-values of each figure, class-agnostic and class-aware, for G groups of units.

    With T of all units and T_i without group i, that of a mean is G T - (G - 1) T_i; that of a sum is G (T - T_i).
    """
    count = min(len(side.units), MOST_UNITS)
    groups = [merge_units(side.units[group::count]) for group in range(count)]
    whole = totals(groups, side.over)
    parts = [totals(groups[:left_out] + groups[left_out + 1 :], side.over) for left_out in range(count)]
    return (
        _of_figures(whole.agnostic, [each.agnostic for each in parts]),
        _of_figures(whole.aware or {}, [each.aware or {} for each in parts]),
    )


def _of_figures(whole: Mapping[str, float], parts: Sequence[Mapping[str, float]]) -> PseudoValues:
    count = len(parts)
    if not all(parts):
        return PseudoValues({}, {})
    values = {}
    for name, value in whole.items():
        others = np.array([part[name] for part in parts])
        values[name] = count * (value - others) if name in COUNTS else count * value - (count - 1) * others
    return PseudoValues(whole, values)
