"""Measure one engine, two engines in turn, or one engine while cameras, detections, tracks and image size grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.engine_process import EngineProcess
from benchmarks.speed.pipeline import STAGES
from benchmarks.speed.speed_settings import SpeedSettings
from benchmarks.speed.workspace import RANDOM, Workspace
from vis_ros.machine import describe_machine, gpu_memory_mib
from vis_ros.percentiles import median_ratio, milliseconds

Results = dict[str, Any]
"""Plain JSON types."""

OnStep = Callable[[str], None]
"""Called with a description of each step."""

Axes = Mapping[str, tuple[Any, ...]]
"""Field of `SpeedSettings` -> the values to measure."""

AXES: Axes = {
    'cameras': (1, 2, 4, 8),
    'detections': (1, 10, 50, 100),
    'identities': (10, 100, 1000),
    'image_size': ((360, 640), (720, 1280), (1080, 1920), (2160, 3840)),
}

_INFER = [STAGES.index(stage) for stage in ('preprocess', 'engine', 'paste')]
_GROWTH_DETECTIONS, _GROWTH_IDENTITIES = 10, 100
_GROWTH_RESULTS = (
    *('warnings', 'score_threshold', 'detections', 'published', 'identities'),
    *('stages_ms', 'frame_ms', 'round_ms', 'memory_mib'),
)


class Rounds(Protocol):
    """Something that can be timed repeatedly."""

    def __call__(self, count: int) -> NDArray[np.float64]:
        """Run `count` rounds; returns (count, cameras, STAGES) seconds."""
        ...


def ignore(_activity: str) -> None:
    """An `OnStep` that does nothing."""


def measure(
    settings: SpeedSettings, place: Workspace, against: SpeedSettings | None = None, on_step: OnStep = ignore
) -> Results:
    """Measure one engine, or two in turn. Each is started once before, with an empty cache.

    Args:
        settings: of the engine.
        place: where to work.
        against: of the second engine.
        on_step: called with a description of each step.

    Returns:
        'machine' and the results of the engine, see `_results`. The results of the second engine are in 'against',
        together with 'ratio': its time relative to that of the first, see `ratios`.
    """
    machine = describe_machine()
    chosen = [settings] if against is None else [settings, against]
    cold = []
    for number, each in enumerate(chosen):
        on_step(f'starting {each.engine} with an empty cache')
        log = place.folder / f'cold_{number}.log'
        with EngineProcess(place.with_weights(each), place.cache(f'{number}'), log) as process:
            cold.append(process.start_up)
    results, times = measure_in_turn(chosen, place, [f'{number}' for number in range(len(chosen))], on_step)
    for result, start_up in zip(results, cold, strict=True):
        result['start_up']['cold'] = start_up
    if against is not None:
        results[0]['against'] = {**results[1], 'ratio': ratios(*times)}
    return {'machine': machine, **results[0]}


def measure_growth(settings: SpeedSettings, place: Workspace, axes: Axes = AXES, on_step: OnStep = ignore) -> Results:
    """Measure along each axis, with all other settings constant. The values of an axis take turns.

    Returns:
        'machine', 'settings' and 'engine' as in `measure`, and 'tables': axis -> one row per value, with the 'value'
        and the results of `measure` that can depend on it.
    """
    base, rows_of = growth_settings(settings, axes)
    machine = describe_machine()
    tables: dict[str, list[Results]] = {}
    for axis, chosen in rows_of.items():

        def report(activity: str, axis: str = axis) -> None:
            on_step(f'{axis}: {activity}')

        rows, _ = measure_in_turn(chosen, place, ['shared'] * len(chosen), report)
        tables[axis] = [
            {'value': value, **{name: row[name] for name in _GROWTH_RESULTS}}
            for value, row in zip(axes[axis], rows, strict=True)
        ]
        common = {name: rows[0][name] for name in ('engine', 'serialized_by')}
    return {'machine': machine, 'settings': asdict(base), **common, 'tables': tables}


def growth_settings(settings: SpeedSettings, axes: Axes = AXES) -> tuple[SpeedSettings, dict[str, list[SpeedSettings]]]:
    """The constant settings, and the settings of each row of each axis.

    Settings that leave the number of detections or tracks open get fixed numbers, so that all rows do the same work.
    """
    base = replace(
        settings,
        detections=settings.detections or _GROWTH_DETECTIONS,
        identities=settings.identities or _GROWTH_IDENTITIES,
    )
    return base, {axis: [replace(base, **{axis: value}) for value in values] for axis, values in axes.items()}


def measure_in_turn(
    settings: Sequence[SpeedSettings], place: Workspace, caches: Sequence[str], on_step: OnStep = ignore
) -> tuple[list[Results], list[NDArray[np.float64]]]:
    """Measure several warm engines, each in its own process. They take turns, round by round.

    Args:
        settings: of each engine, all with the same number of frames.
        place: where to work.
        caches: name of the cache of each engine.
        on_step: called with a description of each step.

    Returns:
        The results of each engine, see `_results`, and its times (rounds, cameras, STAGES) in seconds.
    """
    with ExitStack() as stack:
        processes, prepared, used_before = [], [], []
        for number, (each, cache) in enumerate(zip(settings, caches, strict=True)):
            on_step(f'starting {each.engine}, {number + 1} of {len(settings)}')
            with_weights, images = place.with_weights(each), place.images(each.image_size)
            used_before.append(gpu_memory_mib())
            log = place.folder / f'engine_{number}.log'
            processes.append(stack.enter_context(EngineProcess(with_weights, place.cache(cache), log)))
            prepared.append(processes[-1].call('prepare', str(images)))
        on_step('measuring')
        times = alternate([_rounds_of(process) for process in processes], settings[0].frames)
        rows = zip(settings, processes, prepared, times, used_before, strict=True)
        return [_results(*row) for row in rows], times


def alternate(engines: Sequence[Rounds], count: int) -> list[NDArray[np.float64]]:
    """Run `count` rounds of each engine in turn (A B A B ...), so that a disturbance of the machine affects all."""
    taken: list[list[NDArray[np.float64]]] = [[] for _ in engines]
    for _ in range(count):
        for times, rounds in zip(taken, engines, strict=True):
            times.append(rounds(1))
    return [np.concatenate(times) for times in taken]


def ratios(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Time of the second engine relative to the first, by `median_ratio`, from times (rounds, cameras, STAGES).

    frame: all stages; infer: `Engine.infer`, which is preprocess, engine and paste.
    """
    return {
        'frame': median_ratio(first.sum((1, 2)), second.sum((1, 2))),
        'infer': median_ratio(first[..., _INFER].sum((1, 2)), second[..., _INFER].sum((1, 2))),
    }


def _rounds_of(process: EngineProcess) -> Rounds:
    return lambda count: np.array(process.call('rounds', count))


def _results(
    settings: SpeedSettings,
    process: EngineProcess,
    prepared: dict[str, Any],
    seconds: NDArray[np.float64],
    gpu_before_mib: float | None,
) -> Results:
    """All results of one engine.

    stages_ms: p50 and p95 of each stage of an image; frame_ms: of their sum; round_ms: of one image of every camera.
    throughput_hz: images per second, processed one after the other.
    detections, published: objects per image that the network found, and that were in the message.
    memory_mib: peak memory of the process until the engine was loaded ('loaded') and overall ('peak', which includes
        'pictures', the images), and the increase in used GPU memory ('device').
    start_up: from the start of the process to its first result; 'warm': with the cache of an earlier start.
    """
    report = process.call('report')
    warnings = ['random weights, speed only'] if settings.weights.startswith(RANDOM) else []
    if prepared['crowded']:
        warnings.append('non-maximum suppression is off (threshold 1): the network does not find that many otherwise')
    gpu_after_mib = gpu_memory_mib()
    device = None if gpu_before_mib is None or gpu_after_mib is None else gpu_after_mib - gpu_before_mib
    return {
        'settings': asdict(settings),
        'engine': report['engine'],
        'warnings': warnings,
        'score_threshold': prepared['score_threshold'],
        'serialized_by': report['serialized_by'],
        'stages_ms': {stage: milliseconds(seconds[..., i].ravel()) for i, stage in enumerate(STAGES)},
        'frame_ms': milliseconds(seconds.sum(2).ravel()),
        'round_ms': milliseconds(seconds.sum((1, 2))),
        'throughput_hz': round(seconds.shape[0] * seconds.shape[1] / float(seconds.sum()), 3),
        'detections': report['detections'],
        'published': report['published'],
        'identities': report['identities'],
        'memory_mib': {
            'loaded': prepared['loaded_mib'],
            'peak': report['peak_mib'],
            'pictures': prepared['images_mib'],
            'device': device,
        },
        'start_up': {'warm': process.start_up},
    }
