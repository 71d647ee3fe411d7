"""The GPU benchmark on a machine without a GPU, and with steps that do not need one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as program
from vis_ros.engines.nvidia import nvidia_gpus

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(bool(nvidia_gpus()), reason='it would take minutes on a GPU')
def test_without_a_gpu_it_ends_and_says_what_was_not_run(tmp_path: Path) -> None:
    out = tmp_path / 'gpu.json'
    command = [sys.executable, '-m', 'benchmarks.gpu', '--out', str(out)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    steps = json.loads(out.read_text())['steps']
    assert steps['machine']['state'] == 'done' and steps['machine']['rows']['torch']
    assert {step['state'] for name, step in steps.items() if name != 'machine'} == {'not run'}
    assert result.stdout.count('not run: there is no NVIDIA GPU') == len(steps) - 1


def test_a_second_call_runs_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[str] = []

    def run(name: str, weights: str, left_s: float) -> dict[str, object]:
        runs.append(name)
        if name == 'node' and len(runs) < 10:
            return {'state': 'failed', 'reason': 'no ROS', 'seconds': 1}
        return {'state': 'done', 'seconds': 1, 'rows': {}}

    monkeypatch.setattr(program, '_run', run)
    monkeypatch.setattr(sys, 'argv', ['gpu', '--out', str(tmp_path / 'gpu.json')])
    with pytest.raises(SystemExit, match='True'):
        program.main()
    assert runs == [*program.STEPS]
    runs.extend(['-'] * 10)
    with pytest.raises(SystemExit, match='False'):
        program.main()
    assert runs[-1] == 'node' and runs[-2] == '-'
    assert 'node: done in 1 s' in capsys.readouterr().out


@pytest.mark.parametrize(('left_s', 'reason'), [(1.0, 'no time left'), (16.0, 'not finished after 16 s')])
def test_the_time_is_limited(left_s: float, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired('step', timeout)

    monkeypatch.setattr(program.subprocess, 'run', hang)
    step = program._run('machine', 'demo', left_s)
    assert step['state'] == 'not run' and reason in step['reason']


def test_a_step_that_crashes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, 'nvidia_gpus', lambda: ('Fake GPU',))
    step = program._run('torch', 'no_such_weights', 60.0)
    assert step['state'] == 'failed' and 'no_such_weights' in step['reason']
