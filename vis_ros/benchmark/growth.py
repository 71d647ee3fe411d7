"""How the cost grows: with cameras, detections, identities and the size of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from vis_ros.benchmark.engine_run import Workspace, measure
from vis_ros.benchmark.settings import Settings

AXES: Mapping[str, tuple[Any, ...]] = {
    'cameras': (1, 2, 4, 8),
    'detections': (1, 10, 50, 100),
    'identities': (10, 100, 1000),
    'image_size': ((360, 640), (720, 1280), (1080, 1920), (2160, 3840)),
}
"""Field of `Settings` -> its values; (height, width) of 360p, 720p, 1080p and 4K."""

_DETECTIONS, _IDENTITIES = 10, 100
"""Where the settings leave it to the images: the same work in every row."""

_FIGURES = ('score_threshold', 'detections', 'published', 'identities', 'stages_ms', 'frame_ms', 'round_ms')


def measure_growth(
    settings: Settings,
    place: Workspace,
    *,
    axes: Mapping[str, tuple[Any, ...]] = AXES,
    on_step: Callable[[str], None] = lambda activity: None,
) -> dict[str, Any]:
    """Measure along each axis, with everything else as in the settings.

    Returns:
        Plain JSON types: machine, settings, engine and remarks as of `measure`, and 'tables': for each axis a row a
        value, with that 'value' and the figures of `measure` that may change with it.
    """
    base = replace(
        settings, detections=settings.detections or _DETECTIONS, identities=settings.identities or _IDENTITIES
    )
    result: dict[str, Any] = {}
    tables: dict[str, list[dict[str, Any]]] = {}
    for axis, values in axes.items():
        tables[axis] = []
        for value in values:
            activity = f'{axis} {value}'
            on_step(activity)
            row = measure([replace(base, **{axis: value})], place, start_cold=False)
            result = result or {name: row[name] for name in ('machine', 'engine', 'remarks')}
            peak = row['memory_mib']['peak']
            tables[axis].append({'value': value, **{name: row[name] for name in _FIGURES}, 'peak_mib': peak})
    return {**result, 'settings': asdict(base), 'tables': tables}
