"""EngineProcess: one engine, alone in a process.

    python -m benchmarks.speed.engine_process SETTINGS_AS_JSON

The process writes one JSON object per line on standard output. The first one has its start-up times. Then the process
reads lines from standard input, each a JSON array with the name of a method of `EngineWorker` and its arguments, and
writes the result of each call. It ends when its input ends.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benchmarks.speed.speed_settings import SpeedSettings
from vis_ros.ros.environment import prepare_environment
from vis_ros.ros.isolation import child_environment

if TYPE_CHECKING:
    from vis_ros.engines.engine import Engine

_LEAST_WARM_UP = 5
_END_S = 20.0


class EngineProcess:
    """The process as its parent sees it. It starts on entering the context and ends on leaving it.

    start_up: seconds from the start of the process to its first result (total_s), and its parts import_s, load_s
        (loading the engine) and first_image_s.

    Args:
        settings: what is measured.
        cache: folder to use as the user's cache of engines.
        log: file for the output of the process.

    Raises:
        ValueError: the engine cannot do what is asked for; the message is that of the engine.
        ChildProcessError: it failed otherwise; the message has the end of its output.
    """

    def __init__(self, settings: SpeedSettings, cache: Path, log: Path) -> None:
        self.settings = settings
        self.start_up: dict[str, float] = {}
        self._environment = {**child_environment(), 'XDG_CACHE_HOME': str(cache)}
        self._log = log

    def __enter__(self) -> EngineProcess:
        start = time.perf_counter()
        command = [sys.executable, '-m', 'benchmarks.speed.engine_process', json.dumps(asdict(self.settings))]
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        try:
            parts = self._result()
        except BaseException:
            self.__exit__()
            raise
        self.start_up = {'total_s': round(time.perf_counter() - start, 3), **parts}
        return self

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the `EngineWorker` and return its result."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process has ended; `_result` raises the reason
            self._process.stdin.write(json.dumps([name, *arguments]) + '\n')
            self._process.stdin.flush()
        return self._result()

    def _result(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            end = '\n'.join(self._log.read_text(encoding='utf-8', errors='replace').splitlines()[-20:])
            raise ChildProcessError(f'the process of the engine ended with exit status {code}:\n{end}')
        reply = json.loads(line)
        if 'error' in reply:
            raise ValueError(reply['error'])
        return reply['result']

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class EngineWorker:
    """Runs the engine inside of the process.

    started: seconds for importing the package, loading the engine, and its first image (a black one).
    """

    def __init__(self, settings: SpeedSettings) -> None:
        start = time.perf_counter()
        import numpy as np

        import vis_ros.engines.loading  # noqa: F401  # its import is timed

        imported = time.perf_counter()
        self._settings = settings
        self._engine = self._load(Path(settings.weights), None)
        loaded = time.perf_counter()
        self._engine.infer([np.zeros((*settings.image_size, 3), np.uint8)])
        self.started = {
            'import_s': round(imported - start, 4),
            'load_s': round(loaded - imported, 4),
            'first_image_s': round(time.perf_counter() - loaded, 4),
        }

    def _load(self, weights: Path, score_threshold: float | None, max_detections: int | None = None) -> Engine:
        from vis_ros.engines.loading import load_engine

        settings = self._settings
        return load_engine(
            weights,
            engine=settings.engine,
            precision=settings.precision,
            input_size=settings.input_size,
            score_threshold=score_threshold,
            max_detections=max_detections,
            threads=settings.threads,
            # With a threshold of 0 it would compare detections that nobody uses, and fall back to fp32.
            accuracy_check=score_threshold is None,
        )

    def prepare(self, images_file: str) -> dict[str, Any]:
        """Get ready for `rounds` and warm up.

        Args:
            images_file: path of a file of `Workspace.images`.

        Returns:
            score_threshold: of the engine, null for the model's own; crowded: whether non-maximum suppression is off;
            images_mib: memory of the images in this process; loaded_mib: peak memory so far, without them.
        """
        import numpy as np

        from benchmarks.speed.pipeline import Pipeline, association_for, serialized
        from benchmarks.speed.wanted_detections import load_for_detections
        from vis_ros.machine import peak_memory_mib

        settings, loaded_mib = self._settings, peak_memory_mib()
        images = np.load(images_file, mmap_mode='r')
        threshold, crowded = None, False
        if settings.detections:
            self._engine, threshold, crowded = load_for_detections(
                lambda weights, at: self._load(weights, at, settings.detections),
                Path(settings.weights),
                [np.array(image) for image in images],
                settings.detections,
                Path(images_file).parent,
            )
        messages = serialized(images)
        self._engine.warm_up()
        association = association_for(settings.detections, settings.identities)
        self._pipeline = Pipeline(self._engine, messages, settings.cameras, association, settings.identities)
        self._pipeline.rounds(max(_LEAST_WARM_UP, settings.frames // 10))
        return {
            'score_threshold': threshold,
            'crowded': crowded,
            'images_mib': round(sum(map(len, messages)) / 2**20, 1),
            'loaded_mib': round(loaded_mib, 1),
        }

    def rounds(self, count: int) -> list[Any]:
        """See `Pipeline.rounds`."""
        return self._pipeline.rounds(count).tolist()

    def report(self) -> dict[str, Any]:
        """The engine that ran, the numbers of objects, and the peak memory of this process."""
        from rclpy.utilities import get_rmw_implementation_identifier

        from vis_ros.machine import peak_memory_mib

        pipeline = self._pipeline
        return {
            'engine': asdict(self._engine.describe()),
            'serialized_by': f'rclpy, {get_rmw_implementation_identifier()}, without DDS',
            'detections': _summary(pipeline.detected),
            'published': _summary(pipeline.published),
            'identities': pipeline.identities,
            'peak_mib': round(peak_memory_mib(), 1),
        }


def _summary(counts: list[int]) -> dict[str, float]:
    return {'median': statistics.median(counts), 'least': min(counts), 'most': max(counts)}


def main() -> None:
    """Serve calls until the input ends. Errors that the user can fix are replies; any other ends the process."""
    prepare_environment()  # as the node does
    calls, replies = sys.stdin, os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # the output of libraries is not a reply
    try:
        for result in _serve(SpeedSettings.from_dict(json.loads(sys.argv[1])), calls):
            print(json.dumps({'result': result}), file=replies, flush=True)
    except (ValueError, OSError) as error:
        traceback.print_exc()
        print(json.dumps({'error': str(error)}), file=replies, flush=True)


def _serve(settings: SpeedSettings, calls: TextIO) -> Iterator[Any]:
    worker = EngineWorker(settings)
    yield worker.started
    for call in calls:
        name, *arguments = json.loads(call)
        yield getattr(worker, name)(*arguments)


if __name__ == '__main__':
    main()
