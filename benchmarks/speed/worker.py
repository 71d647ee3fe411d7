"""The process in which one engine is measured, alone; `EngineProcess` starts it and asks it.

    python -m benchmarks.speed.worker SETTINGS_AS_JSON

It answers on standard output, a JSON object a line: first of all with its start, then each line of standard input, a
JSON array with the name of a method of `Worker` and its arguments. It ends with its input.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benchmarks.speed.settings import Settings
from vis_ros.ros.environment import prepare_environment

if TYPE_CHECKING:
    from vis_ros.engines.engine import Engine

_LEAST_WARM_UP = 5


class Worker:
    """Loads the engine that the settings name and runs it.

    started: seconds of importing, of loading the engine and of its first image (a black one), in this order.
    """

    def __init__(self, settings: Settings) -> None:
        begun = time.perf_counter()
        import numpy as np

        import vis_ros.engines.engine  # noqa: F401  # that is what is timed

        imported = time.perf_counter()
        self._settings = settings
        self._weights = Path(settings.weights)
        self._engine = self._load(None)
        loaded = time.perf_counter()
        self._engine.infer([np.zeros((*settings.image_size, 3), np.uint8)])
        self.started = {
            'import_s': round(imported - begun, 4),
            'load_s': round(loaded - imported, 4),
            'first_image_s': round(time.perf_counter() - loaded, 4),
        }

    def _load(self, score_threshold: float | None, max_detections: int | None = None) -> Engine:
        from vis_ros.engines.engine import load_engine

        settings = self._settings
        return load_engine(
            self._weights,
            engine=settings.engine,
            precision=settings.precision,
            input_size=settings.input_size,
            score_threshold=score_threshold,
            max_detections=max_detections,
            threads=settings.threads,
        )

    def _find(self, detections: int, images: list[Any], folder: Path) -> tuple[float | None, bool]:
        """Use an engine that finds so many objects in every image, where that can be had.

        Returns:
            Its score threshold, and whether nothing is suppressed in it: the network does not find so many otherwise.
        """
        from benchmarks.speed.crowded_model import save_crowded_model
        from benchmarks.speed.threshold import load_for
        from vis_ros.extras import missing

        def load(score_threshold: float | None) -> Engine:
            return self._load(score_threshold, detections)

        try:
            self._engine, threshold, least = load_for(load, images, detections)
        except ValueError:  # a TensorRT engine has room for fewer
            least = 0
            if missing('export'):
                raise
        if least >= detections or missing('export'):
            return threshold, False
        crowded = folder / f'{self._weights.stem}_crowded_{detections}.safetensors'
        save_crowded_model(self._weights, crowded, detections)
        self._weights = crowded
        self._engine, threshold, _ = load_for(load, images, detections)
        return threshold, True

    def prepare(self, pictures: str) -> dict[str, Any]:
        """Make everything ready for `rounds` and warm up.

        Args:
            pictures: path of a file of `Pictures`.

        Returns:
            score_threshold: of the engine, null for its own; crowded: nothing is suppressed in it;
            images_mib: that the pictures take in memory here; loaded_mib: the most memory until here without them.
        """
        import numpy as np

        from benchmarks.speed.pictures import serialised
        from benchmarks.speed.pipeline import Pipeline, association_for
        from vis_ros.machine import peak_memory_mib

        settings, loaded_mib = self._settings, peak_memory_mib()
        images = np.load(pictures, mmap_mode='r')
        threshold, crowded = None, False
        if settings.detections:
            copies = [np.array(image) for image in images]
            threshold, crowded = self._find(settings.detections, copies, Path(pictures).parent)
        messages = serialised(list(images))
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
        """As of `Pipeline.rounds`."""
        return self._pipeline.rounds(count).tolist()

    def report(self) -> dict[str, Any]:
        """What ran, how many objects there were, and the most memory that this process has held."""
        from rclpy.utilities import get_rmw_implementation_identifier

        from vis_ros.machine import peak_memory_mib

        pipeline = self._pipeline
        return {
            'engine': asdict(self._engine.describe()),
            'serialised_by': f'rclpy, {get_rmw_implementation_identifier()}, without DDS',
            'detections': _summary(pipeline.detected),
            'published': _summary(pipeline.published),
            'identities': pipeline.identities,
            'peak_mib': round(peak_memory_mib(), 1),
        }


def _summary(counts: list[int]) -> dict[str, float]:
    return {'median': statistics.median(counts), 'least': min(counts), 'most': max(counts)}


def main() -> None:
    """Serve until the input ends. An error that a person can mend is answered, any other ends the process."""
    prepare_environment()  # as the node does
    requests, answers = sys.stdin, os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # whatever a library prints is no answer
    try:
        for answer in _serve(Settings.from_dict(json.loads(sys.argv[1])), requests):
            print(json.dumps({'answer': answer}), file=answers, flush=True)
    except (ValueError, OSError) as error:
        traceback.print_exc()
        print(json.dumps({'error': str(error)}), file=answers, flush=True)


def _serve(settings: Settings, requests: TextIO) -> Iterator[Any]:
    worker = Worker(settings)
    yield worker.started
    for request in requests:
        name, *arguments = json.loads(request)
        yield getattr(worker, name)(*arguments)


if __name__ == '__main__':
    main()
