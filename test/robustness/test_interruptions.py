"""A share of interruptions.py: replays that are killed at fixed moments of their work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustness.interrupted_commands import COMMANDS, FRAMES, InterruptedCommand
from robustness.interruptions import environment

HANG_S = 300.0
"""Only limits how long a test hangs."""


def start(command: InterruptedCommand, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, '-m', *command.command], cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL
    )


def lines(out: Path) -> int:
    path = out / 'results.jsonl'
    return path.read_bytes().count(b'\n') if path.exists() else 0


@pytest.mark.parametrize('command', COMMANDS[:2], ids=lambda command: command.name)
@pytest.mark.parametrize('phase', [1, FRAMES // 2], ids=['begun', 'half'])
def test_what_a_killed_replay_had_finished_can_be_read_and_the_next_run_works(
    command: InterruptedCommand, phase: int, tmp_path: Path
) -> None:
    command.prepare(tmp_path)
    out, end = tmp_path / 'out', time.monotonic() + HANG_S
    with start(command, tmp_path) as killed:
        while lines(out) < phase:
            assert killed.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        os.kill(killed.pid, signal.SIGKILL)
    assert not (out / 'run.json').exists() and lines(out) >= phase
    command.check(out)
    with start(command, tmp_path) as again:
        assert again.wait(HANG_S) == 0
    command.check_end(out)
    assert json.loads((out / 'run.json').read_text())['stopped_early'] == ''
    left = {path.name for path in out.iterdir()} - {'.vis_ros', 'bag'}
    assert left == {'run.json', 'results.json', 'results.jsonl', 'overlay.mp4', 'contact_sheet.png'}
    assert list((tmp_path / 'temporary').iterdir()) == []
