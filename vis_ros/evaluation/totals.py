"""Totals: the metrics of several videos together, from the scores of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vis_ros.evaluation.evaluation import COUNTS, METRICS
from vis_ros.evaluation.scores import VideoScores, merge_scores, metrics_of

ClassTotals = Literal['macro', 'micro']
"""Class-aware totals: the mean over the classes, or all objects of all classes together."""


@dataclass(frozen=True, eq=False)
class UnitScores:
    """The scores of one video, photo or segment.

    name: of it.
    whole: of all objects, as one class.
    classes: of each class, by name.
    """

    name: str
    whole: VideoScores
    classes: Mapping[str, VideoScores]


@dataclass(frozen=True)
class Totals:
    """METRICS of several units together.

    agnostic: with all objects in one class.
    aware: over the classes; None if the units have none.
    per_class: of each class that has true objects.
    """

    agnostic: dict[str, float]
    aware: dict[str, float] | None
    per_class: dict[str, dict[str, float]]


def merge_units(units: Sequence[UnitScores]) -> UnitScores:
    """Several units as one with the same totals."""
    names = {name for unit in units for name in unit.classes}
    return UnitScores(
        name=', '.join(unit.name for unit in units[:2]),
        whole=merge_scores([unit.whole for unit in units]),
        classes={name: merge_scores([unit.classes[name] for unit in units if name in unit.classes]) for name in names},
    )


def totals(units: Sequence[UnitScores], over: ClassTotals = 'macro', only: frozenset[str] | None = None) -> Totals:
    """The metrics of units together.

    Args:
        units: at least one.
        over: how the class-aware ones are computed. Counts are sums in both.
        only: the classes that count; None: all.
    """
    names = sorted({name for unit in units for name in unit.classes if only is None or name in only})
    scores = {name: [unit.classes[name] for unit in units if name in unit.classes] for name in names}
    true = {name: its for name, its in scores.items() if any(each.objects for each in its)}
    per_class = {name: metrics_of(its) for name, its in true.items()}
    aware = None
    if per_class and over == 'micro':
        aware = metrics_of([each for its in true.values() for each in its])
    elif per_class:
        values = {name: [metrics[name] for metrics in per_class.values()] for name in METRICS}
        aware = {name: sum(each) if name in COUNTS else float(np.mean(each)) for name, each in values.items()}
    return Totals(metrics_of([unit.whole for unit in units]), aware, per_class)
