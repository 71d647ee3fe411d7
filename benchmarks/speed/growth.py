"""How the cost grows: with cameras, detections, identities and the size of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from benchmarks.speed.engine_run import Figures, Watch, Workspace, measure_in_turn, nobody
from benchmarks.speed.settings import Settings
from vis_ros.machine import describe_machine

Axes = Mapping[str, tuple[Any, ...]]

AXES: Axes = {
    'cameras': (1, 2, 4, 8),
    'detections': (1, 10, 50, 100),
    'identities': (10, 100, 1000),
    'image_size': ((360, 640), (720, 1280), (1080, 1920), (2160, 3840)),
}
"""Field of `Settings` -> its values; (height, width) of 360p, 720p, 1080p and 4K."""

_DETECTIONS, _IDENTITIES = 10, 100
"""Where the settings leave it to the images: the same work in every row."""

_FIGURES = (
    *('warnings', 'score_threshold', 'detections', 'published', 'identities'),
    *('stages_ms', 'frame_ms', 'round_ms', 'memory_mib'),
)


def measure_growth(settings: Settings, place: Workspace, axes: Axes = AXES, on_step: Watch = nobody) -> Figures:
    """Measure along each axis, with everything else as in the settings; the values of an axis take turns.

    Returns:
        machine, settings, engine and warnings as of `measure`, and 'tables': for each axis a row a value, with that
        'value' and the figures of `measure` that may change with it.
    """
    base = replace(
        settings, detections=settings.detections or _DETECTIONS, identities=settings.identities or _IDENTITIES
    )
    machine = describe_machine()
    tables: dict[str, list[Figures]] = {}
    for axis, values in axes.items():
        chosen = [replace(base, **{axis: value}) for value in values]
        rows, _ = measure_in_turn(chosen, place, ['shared'] * len(chosen), partial(_tell, on_step, axis))
        tables[axis] = [
            {'value': value, **{name: row[name] for name in _FIGURES}} for value, row in zip(values, rows, strict=True)
        ]
        common = {name: rows[0][name] for name in ('engine', 'serialised_by')}
    return {'machine': machine, 'settings': asdict(base), **common, 'tables': tables}


def _tell(on_step: Watch, axis: str, activity: str) -> None:
    on_step(f'{axis}: {activity}')
