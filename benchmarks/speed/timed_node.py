"""A real vis_node whose engine notes how long it takes; `benchmarks.speed.node_run` starts it.

    python -m benchmarks.speed.timed_node FILE --ros-args ...

At its end it writes the file, a JSON object: 'engine', an `[ended_ns, seconds, preprocess, paste]` for each image that
went through the engine; 'arrived', a `[stamp_ns, ns]` for each image that rclpy has handed over. Times since 1970.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.pipeline import ENGINE_STAGES
from benchmarks.speed.stopwatch import Stopwatch
from vis_ros.engines.engine import Engine, load_engine
from vis_ros.instances import Instances
from vis_ros.node import vis_node
from vis_ros.ros.stamps import nanoseconds


class TimedEngine:
    """An `Engine` that runs another one.

    records: for each call of `infer` when it ended, in nanoseconds since 1970, how many seconds it took, and how many
        of those went to preprocess and to paste.
    """

    def __init__(self, engine: Engine, watch: Stopwatch) -> None:
        self.records: list[tuple[int, float, float, float]] = []
        self._engine = engine
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, images: Sequence[NDArray[np.uint8]]) -> list[Instances]:
        self._watch.restart()
        begun = time.perf_counter()
        found = self._engine.infer(images)
        seconds, inner = time.perf_counter() - begun, self._watch.seconds
        self.records.append((time.time_ns(), seconds, inner['preprocess'], inner['paste']))
        return found


class TimedNode(vis_node.VisNode):
    """A VisNode that notes when images arrive. arrived: (stamp, time) of each in nanoseconds since 1970."""

    arrived: ClassVar[list[tuple[int | None, int]]] = []

    def _receive(self, index: int, message: Any) -> None:
        self.arrived.append((nanoseconds(message.header.stamp), time.time_ns()))
        super()._receive(index, message)


def main() -> None:
    """Run the node until it is told to end."""
    path, arguments = Path(sys.argv[1]), [sys.argv[0], *sys.argv[2:]]
    engines: list[TimedEngine] = []
    with ExitStack() as watching:

        def load(*values: Any, **keywords: Any) -> Any:
            watch, engine = Stopwatch(), load_engine(*values, **keywords)
            watching.enter_context(watch.watching(ENGINE_STAGES))
            engines.append(TimedEngine(engine, watch))
            return engines[-1]

        vis_node.main(arguments, load, TimedNode)
    records = [record for engine in engines for record in engine.records]
    path.write_text(json.dumps({'engine': records, 'arrived': TimedNode.arrived}), encoding='utf-8')


if __name__ == '__main__':
    main()
