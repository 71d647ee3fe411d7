"""What a run says at its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from vis_ros.training.run_end import end_sentences


def test_the_verdict_says_that_it_compares_with_the_file_and_not_with_step_0() -> None:
    verdict = SimpleNamespace(sentence=lambda: 'Better.')
    task: Any = SimpleNamespace(verdicts=lambda best, device: [('photos', verdict)])
    validation: Any = SimpleNamespace(figure='AP')
    best = {'step': 0, 'value': 0.45, 'start': 0.45}
    first, second = end_sentences(task, validation, best, Path('best'), Path('last'), torch.device('cpu'))
    assert first.startswith('No validation was better than the start (AP 0.450), so that best holds')
    assert second == (
        'From the file that the run started from, with its own classes (a), to the last (b), on the photos: Better.'
    )
