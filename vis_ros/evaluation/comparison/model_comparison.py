"""Compare models: each alone in a process over the same videos; their figures in a table, their pictures on sheets."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.evaluation.comparison.run_model import ComparisonTask
from vis_ros.machine import describe_machine
from vis_ros.ros.isolation import child_environment

_LABEL_WIDTH = 150
_GAP = 4


def compare_models(
    tasks: Sequence[ComparisonTask], on_model: Callable[[str], None] = lambda model: None
) -> dict[str, Any]:
    """Run every task, one after the other, and write comparison.json and a sheet for each video into their folder.

    The means of a model are over videos; its milliseconds are the median over them.

    Args:
        tasks: of the same videos and the same folder.
        on_model: called with the name of the model that is run next.

    Returns:
        What comparison.json holds: `machine`, `truth` and `models` by name; one that cannot run has `error`, which says
        why.

    Raises:
        ChildProcessError: a process failed otherwise; says how its output ends.
    """
    out = Path(tasks[0].out)
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {'machine': describe_machine(), 'truth': tasks[0].truth, 'models': {}}
    for task in tasks:
        on_model(task.model)
        found = _run(task)
        result['models'][task.model] = found if 'error' in found else found | {'mean': _mean(found['videos'])}
    (out / 'comparison.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    _write_sheets(out, result['models'])
    return result


def _run(task: ComparisonTask) -> dict[str, Any]:
    command = [sys.executable, '-m', 'vis_ros.evaluation.comparison.run_model', json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    if done.returncode or not done.stdout:
        end = '\n'.join(done.stderr.splitlines()[-20:])
        raise ChildProcessError(f'the process of {task.model} ended with exit status {done.returncode}:\n{end}')
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _mean(videos: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    figures = {name: statistics.mean(video[name] for video in videos.values()) for name in ('J', 'F', 'switches')}
    times = {name: statistics.median(video[name] for video in videos.values()) for name in ('ms', 'start_ms')}
    return {name: round(value, 4) for name, value in (figures | times).items()}


def _write_sheets(out: Path, models: Mapping[str, Mapping[str, Any]]) -> None:
    """One sheet a video, one row a model; the pictures of the rows are removed."""
    rows: dict[str, list[NDArray[np.uint8]]] = {}
    for model, found in models.items():
        for video, figures in found.get('videos', {}).items():
            paths = sorted(out.glob(f'{video}_{model}_*.jpg'))
            pictures = [cv2.imread(str(path)) for path in paths]
            rows.setdefault(video, []).append(_row(model, figures, [np.asarray(p, np.uint8) for p in pictures]))
            for path in paths:
                path.unlink()
    for video, strips in rows.items():
        if not cv2.imwrite(str(out / f'{video}.jpg'), np.vstack(strips)):
            raise OSError(f'cannot write {out / video}.jpg')


def _row(model: str, figures: Mapping[str, float], pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A label and the pictures of a model, side by side."""
    height = pictures[0].shape[0]
    label = np.zeros((height, _LABEL_WIDTH, 3), np.uint8)
    lines = (model.replace('_', ' '), f'J {figures["J"]:.3f}', f'F {figures["F"]:.3f}', f'{figures["ms"]:.0f} ms')
    for number, line in enumerate(lines):
        place = (8, 30 + 26 * number)
        cv2.putText(label, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    gap = np.zeros((height, _GAP, 3), np.uint8)
    strip = np.hstack([label, *(part for picture in pictures for part in (picture, gap))])
    return np.vstack([strip, np.zeros((_GAP, strip.shape[1], 3), np.uint8)])
