"""One model over annotated videos, alone in its process; `compare_models` starts it.

    python -m vis_ros.evaluation.comparison.run_model TASK_AS_JSON

The last line of standard output is the result as JSON, or {"error": "why not"}.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.video import (
    AnnotatedFrame,
    AnnotatedVideo,
    AnnotatedVideos,
    Excerpt,
    PredictedVideo,
    predicted_frame,
)
from vis_ros.evaluation.comparison.candidates import Candidate, candidate, stamp
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.instances import Instances
from vis_ros.machine import peak_memory_mib
from vis_ros.tracking.settings import Settings
from vis_ros.visualization import draw_overlay

_PICTURES = 6
"""Frames of each video on the contact sheet, evenly spaced."""
_PICTURE_WIDTH = 480


@dataclass(frozen=True)
class ComparisonTask:
    """What the process does.

    model: of MODELS; weights: of the model, '' for the packaged ones; truth: annotated videos with pictures; only:
    names of those to use, all if empty; max_frames: of each, 0 for all; threads: of the network, 0 leaves the choice to
    its library; out: folder for the pictures.
    """

    model: str
    weights: str
    truth: str
    out: str
    only: tuple[str, ...] = ()
    max_frames: int = 0
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def from_json(cls, text: str) -> ComparisonTask:
        values = json.loads(text)
        return cls(**(values | {'only': tuple(values['only']), 'settings': Settings(**values['settings'])}))


@dataclass
class _Run:
    """What is kept of one video."""

    answers: list[AnnotatedFrame] = field(default_factory=list)
    start_ms: float = 0.0
    step_ms: list[float] = field(default_factory=list)


def run_model(task: ComparisonTask) -> dict[str, Any]:
    """J, F, switches and milliseconds of each video, and the peak memory of the process; plain JSON types.

    The first frame is given or shown, and not scored: its masks are known to the models that carry masks along.

    Raises:
        ValueError: nothing to compare, or the model cannot run; says why.
    """
    truth = chosen_videos(task)
    model = candidate(task.model, task.weights, task.settings)
    runs = [_run(model, video, task) for video in truth.videos]
    peak_mib = round(peak_memory_mib(), 1)  # before the evaluation, which is not the model's
    answers = [PredictedVideo(video.name, run.answers) for video, run in zip(truth.videos, runs, strict=True)]
    results = AnnotatedVideos(task.model, 'answers', model.class_names, answers, has_classes=False)
    scored = replace(truth, has_classes=False, videos=[Excerpt(video, 1, len(video)) for video in truth.videos])
    found = evaluate(results, scored)
    return {
        'model': task.model,
        'weights': model.weights,
        'engine': model.engine,
        'peak_mib': peak_mib,
        'videos': {
            video.name: {
                'J': round(found.per_video[video.name]['J'], 4),
                'F': round(found.per_video[video.name]['F'], 4),
                'switches': int(found.per_video[video.name]['IDSW']),
                'ms': round(statistics.median(run.step_ms), 2),
                'start_ms': round(run.start_ms, 2),
                'frames': len(run.answers) + 1,
            }
            for video, run in zip(truth.videos, runs, strict=True)
        },
    }


def chosen_videos(task: ComparisonTask) -> AnnotatedVideos:
    """The videos of a task. ValueError: one does not exist, has no picture, or shows nothing in its first frame."""
    truth = open_annotations(task.truth)
    missing = sorted(set(task.only) - {video.name for video in truth.videos})
    if missing:
        raise ValueError(f'{task.truth} has no video {", ".join(map(repr, missing))}')
    videos = [
        Excerpt(video, 0, task.max_frames or len(video))
        for video in truth.videos
        if not task.only or video.name in task.only
    ]
    for video in videos:
        first = next(iter(video), None)
        if first is None or len(video) < 2:
            raise ValueError(f'{task.truth}: {video.name} has {len(video)} frames; it takes at least 2')
        if first.read_image is None:
            raise ValueError(f'{task.truth}: {video.name} has no pictures beside its annotations')
        if not len(first):
            raise ValueError(
                f'{task.truth}: the first frame of {video.name} shows no object that could be carried along'
            )
    return replace(truth, videos=videos)


def _run(model: Candidate, video: AnnotatedVideo, task: ComparisonTask) -> _Run:
    run = _Run()
    shown = set(np.linspace(0, len(video) - 1, min(_PICTURES, len(video))).round().astype(int).tolist())
    for number, frame in enumerate(video):
        assert frame.read_image is not None
        image = frame.read_image()
        begun = time.perf_counter()
        found = model.step(image, stamp(frame)) if number else model.start(image, frame)
        passed_ms = (time.perf_counter() - begun) * 1e3
        if number:
            run.step_ms.append(passed_ms)
            run.answers.append(predicted_frame(frame, found))
        else:
            run.start_ms = passed_ms
        if number in shown:
            _write_picture(Path(task.out) / f'{video.name}_{task.model}_{number:05d}.jpg', image, found)
    return run


def _write_picture(path: Path, image: NDArray[np.uint8], found: Instances) -> None:
    picture = draw_overlay(image, found)
    height = round(picture.shape[0] * _PICTURE_WIDTH / picture.shape[1])
    if not cv2.imwrite(str(path), cv2.resize(picture, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)):
        raise OSError(f'cannot write {path}')


def main() -> None:
    """Do the task and print the result. What a person can mend is answered, anything else ends the process."""
    output = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # whatever a library prints is no answer
    try:
        result = run_model(ComparisonTask.from_json(sys.argv[1]))
    except (ValueError, OSError) as error:
        result = {'error': str(error)}
    print(json.dumps(result), file=output, flush=True)


if __name__ == '__main__':
    main()
