"""Measure one engine, or two in alternation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.engine_process import EngineProcess
from benchmarks.speed.figures import milliseconds, ratio
from benchmarks.speed.pictures import Pictures
from benchmarks.speed.pipeline import STAGES
from benchmarks.speed.settings import Settings
from vis_ros.demo.child_process import ended_by_signals
from vis_ros.extras import require
from vis_ros.machine import describe_machine, gpu_memory_mib
from vis_ros.networks.named_weights import resolve

RANDOM = 'random:'
"""`--weights random:BACKBONE`: random weights, for speed only."""

_INFER = [STAGES.index(stage) for stage in ('preprocess', 'engine', 'paste')]


Figures = dict[str, Any]
"""Plain JSON types."""

Watch = Callable[[str], None]
"""Called with what is going on."""


def nobody(activity: str) -> None:
    """Nobody watches."""


class Rounds(Protocol):
    """Something that can be timed again and again."""

    def __call__(self, count: int) -> NDArray[np.float64]:
        """Run so many rounds; returns (count, cameras, STAGES) seconds."""
        ...


@dataclass
class Workspace:
    """A temporary folder for everything that a benchmark needs: pictures, weights, caches, logs."""

    folder: Path
    pictures: Pictures = field(init=False)

    def __post_init__(self) -> None:
        self.pictures = Pictures(self.folder)

    def cache(self, name: str) -> Path:
        """A folder that stands in for the user's cache: empty at first, then with what engines leave there."""
        path = self.folder / f'cache_{name}'
        path.mkdir(exist_ok=True)
        return path

    def settings(self, settings: Settings) -> Settings:
        """The same with the path of its weights, which are made here where they are to be random."""
        if not settings.weights.startswith(RANDOM):
            return replace(settings, weights=str(resolve(settings.weights).resolve()))
        backbone = settings.weights.removeprefix(RANDOM)
        path = self.folder / f'random_{backbone}.safetensors'
        if not path.exists():
            require('torch', 'making random weights')
            from vis_ros.networks.model_config import ModelConfig
            from vis_ros.networks.random_model import save_random_model

            names = tuple(f'class {number}' for number in range(40))  # as many as YouTube-VIS has
            save_random_model(ModelConfig(name=path.stem, class_names=names, backbone=backbone), path)
        return replace(settings, weights=str(path))


@contextmanager
def workspace() -> Iterator[Workspace]:
    """One that is gone afterwards, also where a signal ends this process."""
    with ended_by_signals(), TemporaryDirectory(prefix='vis_ros_benchmark_') as folder:
        yield Workspace(Path(folder))


def measure(settings: Settings, place: Workspace, against: Settings | None = None, on_step: Watch = nobody) -> Figures:
    """Measure one engine, or two in alternation, and start each once before, with an empty cache.

    Args:
        settings: of the engine.
        place: where to work.
        against: of the second engine.
        on_step: called with what is going on.

    Returns:
        Plain JSON types: machine; the fields of the engine as of `_figures`; those of the second one in 'against', with
        'ratio': how many times as long it takes, as of `ratios`.
    """
    machine = describe_machine()
    chosen = [settings] if against is None else [settings, against]
    cold = []
    for number, each in enumerate(chosen):
        on_step(f'starting {each.engine}, cold')
        log = place.folder / f'cold_{number}.log'
        with EngineProcess(place.settings(each), place.cache(f'{number}'), log) as process:
            cold.append(process.start_up)
    results, times = measure_in_turn(chosen, place, [f'{number}' for number in range(len(chosen))], on_step)
    for result, start_up in zip(results, cold, strict=True):
        result['start_up']['cold'] = start_up
    if against is not None:
        results[0]['against'] = {**results[1], 'ratio': ratios(*times)}
    return {'machine': machine, **results[0]}


def measure_in_turn(
    settings: Sequence[Settings], place: Workspace, caches: Sequence[str], on_step: Watch = nobody
) -> tuple[list[Figures], list[NDArray[np.float64]]]:
    """Measure some engines that are all warm, each in a process of its own, and take turns, round by round.

    Args:
        settings: of each; they have the same number of frames.
        place: where to work.
        caches: the name of the cache of each.
        on_step: called with what is going on.

    Returns:
        For each what `_figures` returns, and its times (rounds, cameras, STAGES) in seconds.
    """
    with ExitStack() as stack:
        processes, prepared, used_before = [], [], []
        for number, (each, cache) in enumerate(zip(settings, caches, strict=True)):
            on_step(f'starting {each.engine}, number {number + 1} of {len(settings)}')
            local, pictures = place.settings(each), place.pictures.file(each.image_size)
            used_before.append(gpu_memory_mib())
            log = place.folder / f'engine_{number}.log'
            processes.append(stack.enter_context(EngineProcess(local, place.cache(cache), log)))
            prepared.append(processes[-1].call('prepare', str(pictures)))
        on_step('measuring')
        times = alternate([_rounds_of(process) for process in processes], settings[0].frames)
        rows = zip(settings, processes, prepared, times, used_before, strict=True)
        return [_figures(*row) for row in rows], times


def alternate(engines: Sequence[Rounds], count: int) -> list[NDArray[np.float64]]:
    """Run `count` rounds of each, A B A B ..., so that what disturbs the machine disturbs all; what each returned."""
    taken: list[list[NDArray[np.float64]]] = [[] for _ in engines]
    for _ in range(count):
        for times, rounds in zip(taken, engines, strict=True):
            times.append(rounds(1))
    return [np.concatenate(times) for times in taken]


def ratios(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """How many times as long the second takes, as of `figures.ratio`, of times (rounds, cameras, STAGES).

    frame: all stages; infer: `Engine.infer`, which is preprocess, engine and paste.
    """
    return {
        'frame': ratio(first.sum((1, 2)), second.sum((1, 2))),
        'infer': ratio(first[..., _INFER].sum((1, 2)), second[..., _INFER].sum((1, 2))),
    }


def _rounds_of(process: EngineProcess) -> Rounds:
    return lambda count: np.array(process.call('rounds', count))


def _figures(
    settings: Settings,
    process: EngineProcess,
    prepared: dict[str, Any],
    seconds: NDArray[np.float64],
    gpu_before_mib: float | None,
) -> Figures:
    """Everything about one engine.

    stages_ms: p50 and p95 of each stage of an image; frame_ms: of their sum; round_ms: of one image of every camera.
    throughput_hz: images a second, one after the other.
    detections, published: objects that the network found, and that were in the message, in an image.
    memory_mib: most of the host's (loaded: until the engine was there; peak: ever, with the pictures, whose part is
        given too), and how much more of the GPU's is in use than before.
    start_up: from the start of the process to its first result; 'warm': with the cache as it was then.
    """
    report = process.call('report')
    warnings = ['random weights, speed only'] if settings.weights.startswith(RANDOM) else []
    if prepared['crowded']:
        warnings.append('nothing is suppressed (NMS threshold 1): the network does not find so many objects otherwise')
    gpu_after_mib = gpu_memory_mib()
    device = None if gpu_before_mib is None or gpu_after_mib is None else gpu_after_mib - gpu_before_mib
    return {
        'settings': asdict(settings),
        'engine': report['engine'],
        'warnings': warnings,
        'score_threshold': prepared['score_threshold'],
        'serialised_by': report['serialised_by'],
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
