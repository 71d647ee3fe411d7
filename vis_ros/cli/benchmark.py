"""`vis-ros benchmark`: how long a model takes for a frame on this machine.

Everything runs in one process. The measurements for the record, with each engine alone in a process and each stage of a
frame timed, are `python -m benchmarks.speed` in a checkout.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis_ros.cli.console import console, parse_size, print_table
from vis_ros.whole_file import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vis_ros.tracking.model import Model

_SCENE_SIZE, _SCENE_RATE = (720, 1280), 30.0
_WARM_UP_FRAMES = 5


def benchmark(
    recording: Annotated[
        Path | None,
        typer.Argument(help='Bag, video, or folder of images \\[default: the synthetic scene in 1280x720]'),
    ] = None,
    weights: Annotated[str, typer.Option(help='Name or path of the weights, see `vis-ros weights list`.')] = 'demo',
    engine: Annotated[str, typer.Option(help='auto, tensorrt, openvino or torch.')] = 'auto',
    precision: Annotated[str, typer.Option(help='auto, fp32, fp16, bf16 or int8.')] = 'auto',
    against: Annotated[
        str | None,
        typer.Option(metavar='ENGINE[:PRECISION]', help='Also measure a second engine, frame by frame in turn.'),
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help='Number of measured frames.')] = 100,
    size: Annotated[
        str | None, typer.Option(metavar='HxW', help="Network input in pixels \\[default: the model's own]")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of the network; 0 lets its library choose.')] = 0,
    topic: Annotated[str | None, typer.Option(help='Image topic of a bag that has several.')] = None,
    json_file: Annotated[Path | None, typer.Option('--json', help='Write all results to this file.')] = None,
) -> None:
    """Measure how long detection and tracking of a frame take on this machine."""
    import vis_ros
    from vis_ros.claim import check_new
    from vis_ros.machine import describe_machine, peak_memory_mib
    from vis_ros.percentiles import median_ratio

    if json_file is not None:
        check_new(json_file, '--json')
    height, width = (0, 0) if size is None else parse_size(size)
    settings: dict[str, Any] = {'input_height': height, 'input_width': width, 'threads': threads}
    machine = describe_machine()
    images = _scene(frames) if recording is None else _recorded(recording, topic, frames)
    with console.status('loading'):
        models = [vis_ros.load(weights, engine=engine, precision=precision, **settings)]
        if against is not None:
            engine, _, precision = against.partition(':')
            models.append(vis_ros.load(weights, engine=engine, precision=precision or 'auto', **settings))
    with console.status('measuring'):
        seconds = time_in_turn(models, images)
    result: dict[str, Any] = {
        'machine': machine,
        'source': 'synthetic scene' if recording is None else str(recording),
        'frames': len(seconds),
        'models': [_summary(model, own) for model, own in zip(models, seconds.T, strict=True)],
        'peak_memory_mib': round(peak_memory_mib(), 1),
    }
    if against is not None:
        result['ratio'] = median_ratio(seconds[:, 0], seconds[:, 1])
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(json_file, json.dumps(result, indent=1) + '\n')
    _print(result)


def _scene(count: int) -> Iterator[tuple[NDArray[np.uint8], float]]:
    from vis_ros.synthetic.scene import Scene

    scene = Scene(seed=0, size=_SCENE_SIZE, frames=count)
    return ((scene.frame(index).image, index / _SCENE_RATE) for index in range(count))


def _recorded(recording: Path, topic: str | None, count: int) -> Iterator[tuple[NDArray[np.uint8], float]]:
    import vis_ros

    return ((frame.image, frame.stamp) for frame in islice(vis_ros.open(recording, topic=topic), count))


def time_in_turn(models: Sequence[Model], frames: Iterable[tuple[NDArray[np.uint8], float]]) -> NDArray[np.float64]:
    """Track the frames with every model and return the seconds of each step, (frames, models).

    The models take turns frame by frame, so that a disturbance of the machine affects all of them. Loading or drawing
    a frame is not timed. Before the first frame each model sees it a few times, because engines prepare themselves for
    a new image size.

    Args:
        models: the models to compare.
        frames: images (height, width, 3) uint8 BGR and their stamps in seconds.

    Raises:
        ValueError: there are fewer than two frames.
    """
    import numpy as np

    trackers = [model.tracker() for model in models]
    seconds: list[list[float]] = []
    for image, stamp in frames:
        if not seconds:
            for spare in [model.tracker() for model in models]:
                for number in range(_WARM_UP_FRAMES):
                    spare.step(image, number / _SCENE_RATE)
        seconds.append([])
        for tracker in trackers:
            start = time.perf_counter()
            tracker.step(image, stamp)
            seconds[-1].append(time.perf_counter() - start)
    if len(seconds) < 2:
        raise ValueError(f'the recording has {len(seconds)} frame; at least 2 are needed')
    return np.array(seconds)


def _summary(model: Model, seconds: NDArray[np.float64]) -> dict[str, Any]:
    from vis_ros.percentiles import milliseconds

    return {
        'model': model.name,
        'engine': model.info.engine,
        'device': model.info.device,
        'precision': model.info.precision,
        'note': model.info.note,
        'frame_ms': milliseconds(seconds),
        'frames_per_second': round(float(1 / seconds.mean()), 2),
    }


def _print(result: dict[str, Any]) -> None:
    for model in result['models']:
        rows = [(name, model[name]) for name in ('engine', 'device', 'precision', 'note') if model[name]]
        times = model['frame_ms']
        rows.append(('frame p50, p95', f'{times["p50"]:.2f} ms, {times["p95"]:.2f} ms'))
        rows.append(('frames per second', f'{model["frames_per_second"]:.1f}'))
        print_table(f'{model["model"]}, {result["frames"]} frames, {result["source"]}', rows)
    if 'ratio' in result:
        found = result['ratio']
        console.print(
            f'The second engine takes {found["ratio"]:.3f} times as long as the first '
            f'(95 % interval {found["low"]:.3f} to {found["high"]:.3f}).'
        )
    console.print(f'Peak memory of the process: {result["peak_memory_mib"]:.0f} MiB')
