"""A real vis_node that records how long its engine takes; `benchmarks.speed.node_run` starts it.

    python -m benchmarks.speed.timed_node FILE --ros-args ...

At its end it writes the file, see `NodeTimes`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.node_times import NodeTimes
from benchmarks.speed.pipeline import ENGINE_STAGES, Stopwatch
from vis_ros.engines.engine import Engine
from vis_ros.engines.loading import load_engine
from vis_ros.instances import Instances
from vis_ros.node.camera import Camera, CameraImage, TrackedImage
from vis_ros.node.main import end_process
from vis_ros.node.main import run as run_node
from vis_ros.ros.serialized_images import read_header
from vis_ros.ros.stamps import nanoseconds


class TimedEngine:
    """An `Engine` that runs another one and adds its times to `times`, as `NodeTimes.engine` has them.

    stamp_ns: of the next image, which the caller sets.
    """

    def __init__(self, engine: Engine, watch: Stopwatch, times: dict[int, tuple[float, float, float]]) -> None:
        self.stamp_ns = 0
        self._engine = engine
        self._watch = watch
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        self._watch.restart()
        start = time.perf_counter()
        found = self._engine.infer(images)
        seconds, inner = time.perf_counter() - start, self._watch.seconds
        self._times[self.stamp_ns] = seconds, inner['preprocess'], inner['paste']
        return found


@contextmanager
def recorded_arrivals() -> Iterator[dict[int, int]]:
    """Record when images arrive at any camera of the node, as `NodeTimes.arrived` has it."""
    arrived: dict[int, int] = {}
    receive = Camera.receive

    def record_and_receive(camera: Camera, data: bytes) -> None:
        arrived[nanoseconds(read_header(data)) or 0] = time.time_ns()
        receive(camera, data)

    with patch.object(Camera, 'receive', record_and_receive):
        yield arrived


@contextmanager
def stamped(engine: TimedEngine) -> Iterator[None]:
    """Tell an engine the stamp of each image that it gets."""
    track = Camera.track

    def tell_and_track(camera: Camera, image: CameraImage, found: Instances | None) -> TrackedImage | None:
        engine.stamp_ns = nanoseconds(image.header.stamp) or 0
        return track(camera, image, found)

    with patch.object(Camera, 'track', tell_and_track):
        yield


def main() -> NoReturn:
    """Run the node until it is asked to end."""
    path, arguments = Path(sys.argv[1]), [sys.argv[0], *sys.argv[2:]]
    times: dict[int, tuple[float, float, float]] = {}
    with ExitStack() as watching:

        def load(*values: Any, **keywords: Any) -> Any:
            watch = Stopwatch()
            engine = TimedEngine(load_engine(*values, **keywords), watch, times)
            watching.enter_context(watch.watching(ENGINE_STAGES))
            watching.enter_context(stamped(engine))
            return engine

        arrived = watching.enter_context(recorded_arrivals())
        status = run_node(arguments, load)
    NodeTimes(times, arrived).write(path)
    end_process(status)


if __name__ == '__main__':
    main()
