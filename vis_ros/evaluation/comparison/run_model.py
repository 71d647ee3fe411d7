"""Run one model on annotated videos, in a process of its own that `compare_models` starts.

    python -m vis_ros.evaluation.comparison.run_model TASK_AS_JSON

The last line of standard output is the result as JSON, or {"error": "reason"}.
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
from vis_ros.evaluation.comparison.sheet_images import SheetImages
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.machine import peak_memory_mib
from vis_ros.tracking.settings import Settings
from vis_ros.with_next import with_next

_SHEET_IMAGES = 6
"""Number of frames of each video on the contact sheet, evenly spaced."""


@dataclass(frozen=True)
class ComparisonTask:
    """What the process does.

    Attributes:
        model: name of the model, see `candidates`.
        weights: its weights; '' for the packaged ones.
        truth: annotated videos with images.
        out: folder for the images: <position of the video>_<frame>.jpg.
        only: names of the videos to use; all if empty.
        max_frames: maximum number of frames of each video; 0 for all.
        settings: all other settings of the model.
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
class _VideoRun:
    """Predictions and times of one video."""

    predictions: list[AnnotatedFrame] = field(default_factory=list)
    start_ms: float = 0.0
    step_ms: list[float] = field(default_factory=list)


def run_model(task: ComparisonTask) -> dict[str, Any]:
    """J, F, identity switches and milliseconds of each video, and the peak memory of the process, as plain JSON types.

    The first frame is not scored, because propagation models get its masks.

    Raises:
        ValueError: the videos cannot be used, or the model cannot run.
    """
    truth, left_out = chosen_videos(task)
    model = candidate(task.model, task.weights, task.settings)
    runs = [_run_video(model, video, task, position) for position, video in enumerate(truth.videos)]
    peak_mib = round(peak_memory_mib(), 1)  # without the memory of the evaluation
    predictions = [PredictedVideo(video.name, run.predictions) for video, run in zip(truth.videos, runs, strict=True)]
    results = AnnotatedVideos(task.model, 'predictions', model.class_names, predictions, has_classes=False)
    scored = replace(truth, has_classes=False, videos=[Excerpt(video, 1, len(video)) for video in truth.videos])
    per_video = evaluate(results, scored).per_video
    return {
        'model': task.model,
        'weights': model.weights,
        'engine': model.engine,
        'peak_mib': peak_mib,
        'left_out': left_out,
        'videos': {
            video.name: {
                'J': round(per_video[video.name]['J'], 4),
                'F': round(per_video[video.name]['F'], 4),
                'switches': int(per_video[video.name]['IDSW']),
                'ms': round(statistics.median(run.step_ms), 2),
                'start_ms': round(run.start_ms, 2),
                'frames': len(run.predictions) + 1,
            }
            for video, run in zip(truth.videos, runs, strict=True)
        },
    }


def chosen_videos(task: ComparisonTask) -> tuple[AnnotatedVideos, list[str]]:
    """The videos of a task from the first frame with an object on, and what is left out of them, in words.

    Raises:
        ValueError: a video does not exist, or none has images and an object to start from.
    """
    truth = open_annotations(task.truth)
    missing = sorted(set(task.only) - {video.name for video in truth.videos})
    if missing:
        raise ValueError(f'{task.truth} has no video {", ".join(map(repr, missing))}')
    videos: list[AnnotatedVideo] = []
    left_out = []
    for video in truth.videos:
        if task.only and video.name not in task.only:
            continue
        begin, end = _first_labeled(video), task.max_frames or len(video)
        part = Excerpt(video, begin or 0, min((begin or 0) + end, len(video)))
        first = next(iter(part), None)
        if begin is None:
            left_out.append(f'{video.name}: no frame shows an object')
        elif first is None or len(part) < 2:
            left_out.append(f'{video.name}: at least 2 frames are needed from the first object on')
        elif first.read_image is None:
            left_out.append(f'{video.name}: it has no images')
        else:
            videos.append(part)
            if begin:
                left_out.append(f'{video.name}: the {begin} frames before the first object')
    if not videos:
        raise ValueError(f'{task.truth} has no video to compare on. {"; ".join(left_out)}')
    return replace(truth, videos=videos), left_out


def _first_labeled(video: AnnotatedVideo) -> int | None:
    """Position of the first frame that shows an object; None if no frame does."""
    return next((position for position, frame in enumerate(video) if len(frame)), None)


def _run_video(model: Candidate, video: AnnotatedVideo, task: ComparisonTask, position: int) -> _VideoRun:
    run, images = _VideoRun(), SheetImages(Path(task.out), position)
    shown = set(np.linspace(0, len(video) - 1, min(_SHEET_IMAGES, len(video))).round().astype(int).tolist())
    for number, ((frame, image), following) in enumerate(with_next(map(_with_image, video))):
        started = time.perf_counter()
        found = model.step(image, stamp(frame), following and following[1]) if number else model.start(image, frame)
        elapsed_ms = (time.perf_counter() - started) * 1e3
        if number:
            run.step_ms.append(elapsed_ms)
            run.predictions.append(predicted_frame(frame, found))
        else:
            run.start_ms = elapsed_ms
        images.add(number, frame, image, found, number in shown)
    return run


def _with_image(frame: AnnotatedFrame) -> tuple[AnnotatedFrame, NDArray[np.uint8]]:
    assert frame.read_image is not None
    return frame, frame.read_image()


def main() -> None:
    """Run the task and print the result. Errors that the user can fix are printed as JSON, others end the process."""
    output = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)  # libraries may print to standard output
    try:
        result = run_model(ComparisonTask.from_json(sys.argv[1]))
    except (ValueError, OSError) as error:
        result = {'error': str(error)}
    print(json.dumps(result), file=output, flush=True)


if __name__ == '__main__':
    main()
