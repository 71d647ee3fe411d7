"""The charts of the report as geometry: precision over recall, and the latency histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.percentiles import percentiles

WIDTH, HEIGHT = 360, 290
LEFT, RIGHT, TOP, BOTTOM = 52, 348, 12, 244
"""Size of a chart and edges of its plot area in pixels."""

_MAX_BARS = 40


@dataclass(frozen=True)
class ChartTick:
    """A label on an axis; `position` in pixels, x from the left or y from the top."""

    position: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line of the chart: `key` is its style, `points` an SVG list of points."""

    key: str
    name: str
    points: str


@dataclass(frozen=True)
class PrecisionRecall:
    """Lines of AP50, AP75 and the mean over the thresholds; `band` is a polygon between the extremes."""

    lines: tuple[Line, ...]
    band: str
    x_ticks: tuple[ChartTick, ...]
    y_ticks: tuple[ChartTick, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram in pixels; `count` values are from `first` to `last` milliseconds."""

    x: float
    y: float
    width: float
    height: float
    first: float
    last: float
    count: int


@dataclass(frozen=True)
class Percentile:
    """A percentile: `x` in pixels, None beyond the axis; `value` in milliseconds."""

    x: float | None
    name: str
    value: float


@dataclass(frozen=True)
class Histogram:
    """A latency histogram. `beyond` of the `count` values are above `end` milliseconds, the end of the axis."""

    bars: tuple[Bar, ...]
    percentiles: tuple[Percentile, ...]
    x_ticks: tuple[ChartTick, ...]
    y_ticks: tuple[ChartTick, ...]
    count: int
    beyond: int
    end: float
    largest: float


def precision_recall(precision: dict[str, tuple[float, ...]]) -> PrecisionRecall | None:
    """Lay out `Evaluation.precision`; None without true objects."""
    curves = {name: np.asarray(values) for name, values in precision.items()}
    curves = {name: curve for name, curve in curves.items() if curve.size and (curve >= 0).all()}
    if not curves:
        return None
    every = np.stack(list(curves.values()))
    chosen = {'0.50': 'IoU 0.50', '0.75': 'IoU 0.75'}
    lines = [Line(f'iou{key[2:]}', name, _points(curves[key])) for key, name in chosen.items() if key in curves]
    lines.append(Line('mean', 'mean', _points(every.mean(0))))
    band = _points(every.max(0)) + ' ' + ' '.join(reversed(_points(every.min(0)).split(' ')))
    fractions = [0, 0.2, 0.4, 0.6, 0.8, 1]
    return PrecisionRecall(
        lines=tuple(lines),
        band=band,
        x_ticks=tuple(ChartTick(_x(value), f'{value:g}') for value in fractions),
        y_ticks=tuple(ChartTick(_y(value), f'{value:g}') for value in fractions),
    )


def latency_histogram(latencies_ms: Sequence[float]) -> Histogram | None:
    """Lay out latencies; None without latencies.

    The axis ends at twice the 99th percentile at most, so that a single late message does not compress all others.
    """
    if not latencies_ms:
        return None
    values = np.sort(np.asarray(latencies_ms, np.float64))
    p50, p95, p99 = percentiles(values, 50, 95, 99)
    start = min(0.0, float(values[0]))
    span = min(float(values[-1]) - start, 2 * (p99 - start))
    width = _nice_step(max(span, 1e-3) / _MAX_BARS)
    start = math.floor(start / width) * width
    count = math.floor(span / width) + 1
    edges = start + width * np.arange(count + 1)
    counts, _ = np.histogram(values, edges)
    top = _nice_step(int(counts.max()) / 4) * 4 if counts.max() > 4 else 4
    scale = (RIGHT - LEFT) / (edges[-1] - edges[0])
    bars = [
        Bar(
            x=round(LEFT + (first - start) * scale, 2),
            y=round(BOTTOM - number / top * (BOTTOM - TOP), 2),
            width=round(width * scale, 2),
            height=round(number / top * (BOTTOM - TOP), 2),
            first=round(float(first), 6),
            last=round(float(first) + width, 6),
            count=number,
        )
        for first, number in zip(edges[:-1], counts.tolist(), strict=True)
        if number
    ]
    shown = [
        Percentile(round(LEFT + (value - start) * scale, 2) if value <= edges[-1] else None, name, value)
        for name, value in (('p50', p50), ('p95', p95), ('p99', p99))
    ]
    step = _nice_step((edges[-1] - edges[0]) / 6)
    marks = np.arange(math.ceil(start / step), math.floor(edges[-1] / step + 1e-9) + 1) * step
    return Histogram(
        bars=tuple(bars),
        percentiles=tuple(shown),
        x_ticks=tuple(ChartTick(round(LEFT + (mark - start) * scale, 2), f'{mark:g}') for mark in marks.tolist()),
        y_ticks=tuple(
            ChartTick(round(BOTTOM - part / 4 * (BOTTOM - TOP), 2), f'{top * part / 4:g}') for part in range(5)
        ),
        count=len(values),
        beyond=len(values) - int(counts.sum()),
        end=round(float(edges[-1]), 6),
        largest=float(values[-1]),
    )


def _nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _points(curve: NDArray[np.float64]) -> str:
    recalls = np.linspace(0, 1, len(curve))
    return ' '.join(f'{_x(recall)},{_y(value)}' for recall, value in zip(recalls, curve, strict=True))


def _x(fraction: float) -> float:
    return round(LEFT + float(fraction) * (RIGHT - LEFT), 2)


def _y(fraction: float) -> float:
    return round(BOTTOM - float(fraction) * (BOTTOM - TOP), 2)
