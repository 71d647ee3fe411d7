"""What a run says at its end: which file to use, and whether it is better than the weights of the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from vis_ros.training.task import Task
from vis_ros.training.train_config import Validation


def end_sentences(
    task: Task,
    validation: Validation,
    best: Mapping[str, float],
    best_file: Path,
    last_file: Path,
    device: torch.device,
) -> Iterator[str]:
    """The sentences that end a run with validation.

    Args:
        task: of the run.
        validation: of the run.
        best: step and value of the best validation, and the value at the start (see `Trainer.best`).
        best_file: the weights of this step.
        last_file: the weights of the last step; they are judged where none were better than the start.
        device: that evaluates.
    """
    figure, value, start = validation.figure, best['value'], best.get('start')
    judged, name = best_file, 'the best'
    if best['step'] == 0:
        judged, name = last_file, 'the last'
        yield (
            f'No validation was better than the start ({figure} {value:.3f}), so that {best_file} holds the weights '
            'of the start: train longer, with a smaller learning_rate, or on more data.'
        )
    else:
        at_start = '' if start is None else f', {start:.3f} at step 0'
        yield f'Best: {best_file}, {figure} {value:.3f} at step {best["step"]:.0f}{at_start}'
    # Before the first step, the network has the classes of the run, some of them without weights: other figures.
    before = 'the file that the run started from, with its own classes'
    for source, verdict in task.verdicts(judged, device):
        yield f'From {before} (a), to {name} (b), on the {source}: {verdict.sentence()}'
