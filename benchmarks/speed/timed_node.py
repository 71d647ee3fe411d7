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
from vis_ros.node.camera import Camera
from vis_ros.node.main import end_process
from vis_ros.node.main import run as run_node
from vis_ros.ros.serialized_images import read_header
from vis_ros.ros.stamps import nanoseconds


class TimedEngine:
    """An `Engine` that runs another one and appends its times to `records`, as `NodeTimes.engine` has them."""

    def __init__(self, engine: Engine, watch: Stopwatch, records: list[tuple[int, float, float, float]]) -> None:
        self._engine = engine
        self._watch = watch
        self._records = records

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        self._watch.restart()
        start = time.perf_counter()
        found = self._engine.infer(images)
        seconds, inner = time.perf_counter() - start, self._watch.seconds
        self._records.append((time.time_ns(), seconds, inner['preprocess'], inner['paste']))
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


def main() -> NoReturn:
    """Run the node until it is asked to end."""
    path, arguments = Path(sys.argv[1]), [sys.argv[0], *sys.argv[2:]]
    records: list[tuple[int, float, float, float]] = []
    with ExitStack() as watching:

        def load(*values: Any, **keywords: Any) -> Any:
            watch, engine = Stopwatch(), load_engine(*values, **keywords)
            watching.enter_context(watch.watching(ENGINE_STAGES))
            return TimedEngine(engine, watch, records)

        arrived = watching.enter_context(recorded_arrivals())
        status = run_node(arguments, load)
    NodeTimes(records, arrived).write(path)
    end_process(status)


if __name__ == '__main__':
    main()
