"""NodeTimes: what `timed_node` records and `node_run` reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NodeTimes:
    """Times of a node; all instants in nanoseconds since 1970.

    engine: stamp of each image -> (seconds, seconds of preprocess, seconds of paste) in the engine.
    arrived: stamp of each image -> when rclpy handed it to the node.
    """

    engine: dict[int, tuple[float, float, float]]
    arrived: dict[int, int]

    @classmethod
    def read(cls, path: Path) -> NodeTimes:
        written = json.loads(path.read_text(encoding='utf-8'))
        return cls({stamp: tuple(row) for stamp, row in written['engine']}, dict(written['arrived']))

    def write(self, path: Path) -> None:
        times = {'engine': list(self.engine.items()), 'arrived': list(self.arrived.items())}
        path.write_text(json.dumps(times), encoding='utf-8')
