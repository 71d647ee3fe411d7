"""Compare models on the same videos, each in a process of its own: metrics in a table, images on contact sheets."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.claim import claim
from vis_ros.datasets.frame_images import folder_names
from vis_ros.end_with_parent import end_with_parent
from vis_ros.evaluation.comparison.run_model import ComparisonTask
from vis_ros.images import read_image_file, write_image_file
from vis_ros.machine import describe_machine
from vis_ros.ros.isolation import child_environment
from vis_ros.scratch import ScratchFolder
from vis_ros.visualization.drawable import drawable
from vis_ros.whole_file import whole_file, write_whole

_LABEL_WIDTH = 150
_GAP = 4


def compare_models(
    tasks: Sequence[ComparisonTask], on_model: Callable[[str], None] = lambda model: None
) -> dict[str, Any]:
    """Run the tasks one after the other, and write comparison.json and a contact sheet of each video.

    The metrics of a model are means over the videos, its times are medians.

    Args:
        tasks: with the same videos and the same output folder.
        on_model: called with the name of the model that runs next.

    Returns:
        The content of comparison.json: `machine`, `truth`, and `models` by name. A model that cannot run has `error`
        with the reason.

    Raises:
        ChildProcessError: a process failed in another way; contains the end of its output.
    """
    out = Path(tasks[0].out)
    claim(out)
    result: dict[str, Any] = {'machine': describe_machine(), 'truth': tasks[0].truth, 'models': {}}
    with ScratchFolder() as images:
        for task in tasks:
            on_model(task.model)
            folder = images / task.model
            folder.mkdir()
            found = _run(replace(task, out=str(folder)))
            result['models'][task.model] = found if 'error' in found else found | {'mean': _mean(found['videos'])}
        write_whole(out / 'comparison.json', json.dumps(result, indent=1) + '\n')
        _write_sheets(out, images, result['models'])
    return result


def _run(task: ComparisonTask) -> dict[str, Any]:
    command = [sys.executable, '-m', 'vis_ros.evaluation.comparison.run_model', json.dumps(asdict(task))]
    done = subprocess.run(
        command, capture_output=True, text=True, env=child_environment(), check=False, preexec_fn=end_with_parent
    )
    if done.returncode or not done.stdout:
        end = '\n'.join(done.stderr.splitlines()[-20:])
        raise ChildProcessError(f'the process of {task.model} failed with exit status {done.returncode}:\n{end}')
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _mean(videos: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    metrics = {name: statistics.mean(video[name] for video in videos.values()) for name in ('J', 'F', 'switches')}
    times = {name: statistics.median(video[name] for video in videos.values()) for name in ('ms', 'start_ms')}
    return {name: round(value, 4) for name, value in (metrics | times).items()}


def _write_sheets(out: Path, images: Path, models: Mapping[str, Mapping[str, Any]]) -> None:
    """Write one sheet per video with one row per model, of the images in `images`/<model>."""
    rows: dict[str, list[NDArray[np.uint8]]] = {}
    for model, found in models.items():
        for position, (video, metrics) in enumerate(found.get('videos', {}).items()):
            paths = sorted((images / model).glob(f'{position}_*.jpg'))
            rows.setdefault(video, []).append(_row(model, metrics, [read_image_file(path) for path in paths]))
    for name, strips in zip(folder_names(list(rows)), rows.values(), strict=True):
        with whole_file(out / f'{name}.jpg') as partial:
            write_image_file(partial, np.vstack(strips))


def _row(model: str, metrics: Mapping[str, float], images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A label and the images of a model, side by side."""
    height = images[0].shape[0]
    label = np.zeros((height, _LABEL_WIDTH, 3), np.uint8)
    lines = (model.replace('_', ' '), f'J {metrics["J"]:.3f}', f'F {metrics["F"]:.3f}', f'{metrics["ms"]:.0f} ms')
    for number, line in enumerate(lines):
        place = (8, 30 + 26 * number)
        cv2.putText(label, drawable(line), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    gap = np.zeros((height, _GAP, 3), np.uint8)
    strip = np.hstack([label, *(part for image in images for part in (image, gap))])
    return np.vstack([strip, np.zeros((_GAP, strip.shape[1], 3), np.uint8)])
