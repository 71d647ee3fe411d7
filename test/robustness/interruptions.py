"""Kill commands with SIGKILL at many moments, and print what was left.

    python -m robustness.interruptions [--times 20] [--only replay] [--seed 0]

After each kill, what was finished must be readable, the next run into the same folder must work, and afterwards nothing
may be left: no temporary files, no processes, no shared memory of anybody. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from robustness.interrupted_commands import COMMANDS, InterruptedCommand
from vis_ros.ros.shared_memory import remove_stale_segments

HANG_S = 600.0
_END_S = 30.0
"""Children of a killed process have ended by then."""

_MARK = 'VIS_ROS_INTERRUPTIONS'
_SHARED = Path('/dev/shm')
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Outcome:
    """What came of killing a command: where it was, what it left, and what is wrong."""

    at_s: float
    found: str = ''
    faults: list[str] = field(default_factory=list)


def environment(folder: Path) -> dict[str, str]:
    """The variables of a command that has its own home, cache and folder for temporary files below `folder`."""
    (folder / 'temporary').mkdir(exist_ok=True)
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(_ROOT), str(_ROOT / 'test')]),
        'OMP_NUM_THREADS': '1',
        'HOME': str(folder),
        'XDG_CACHE_HOME': str(folder / 'cache'),
        'TMPDIR': str(folder / 'temporary'),
        _MARK: str(folder),
    }


def run(command: InterruptedCommand, folder: Path, kill_after_s: float | None = None) -> tuple[float, int, str]:
    """Run a command, to its end or until it is killed. Returns seconds, exit status and output."""
    start = time.monotonic()
    with (folder / 'output.txt').open('w+') as output:
        child = subprocess.Popen(
            command.command, cwd=folder, env=environment(folder), stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
        try:
            child.wait(HANG_S if kill_after_s is None else kill_after_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return time.monotonic() - start, child.returncode, (folder / 'output.txt').read_text()


def interrupt(command: InterruptedCommand, folder: Path, at_s: float) -> Outcome:
    """Kill a command in an empty folder after some seconds, look at what is left, and run it again."""
    command.prepare(folder)
    outcome, shared = Outcome(at_s), _shared()
    _, status, _ = run(command, folder, at_s)
    if status != -signal.SIGKILL:
        outcome.found = 'had ended; '
    if processes := _processes_after_the_end(folder):
        outcome.faults.append(f'processes that go on: {processes}')
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
    try:
        outcome.found += command.check(folder / 'out')
    except Exception:
        outcome.faults.append(f'not readable: {traceback.format_exc()}')
    _, status, output = run(command, folder)
    try:
        assert status == 0, f'exit status {status}: {output}'
        command.check_end(folder / 'out')
    except Exception:
        outcome.faults.append(f'the next run: {traceback.format_exc()}')
    outcome.faults += [f'left behind: {path}' for path in sorted({*_left_in(folder), *(_shared() - shared)})]
    return outcome


def _left_in(folder: Path) -> Iterator[str]:
    """Temporary files and folders of the next run's folder, of the cache and of the system."""
    for place in ('out', 'cache'):
        for path in (folder / place).rglob('*'):
            name = path.name
            if name.startswith(('.vis_ros-', '.tmp', 'tmp')) or name.endswith(('.part', '.tmp')) or '.part.' in name:
                yield str(path.relative_to(folder))
    yield from (str(path.relative_to(folder)) for path in (folder / 'temporary').iterdir())


def _shared() -> set[str]:
    """Shared memory beside what the node removes at its start, which it does after ten seconds."""
    remove_stale_segments()
    return {path.name for path in _SHARED.iterdir() if not path.name.startswith(('fastdds_', 'fastrtps_', 'sem.fast'))}


def _processes_after_the_end(folder: Path) -> list[int]:
    deadline = time.monotonic() + _END_S
    while (found := _processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _processes(folder: Path) -> list[int]:
    """The processes that a command in this folder has started, by their environment."""
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            if f'{_MARK}={folder}'.encode() in path.read_bytes().split(b'\0'):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def moments(duration_s: float, times: int, seed: int) -> list[float]:
    """Random moments spread over a duration: one in each of `times` equal parts."""
    chance = random.Random(seed)
    return [duration_s * (part + chance.random()) / times for part in range(times)]


def main() -> None:
    """Kill the commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--times', type=int, default=20)
    parser.add_argument('--only', default='')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    is_sound = True
    for command in COMMANDS:
        if arguments.only not in command.name:
            continue
        with tempfile.TemporaryDirectory(prefix='interruptions_') as name:
            whole = Path(name) / 'whole'
            whole.mkdir()
            command.prepare(whole)
            duration_s, status, output = run(command, whole)
            if status:
                sys.exit(f'{command.name} ends with status {status} by itself: {output}')
            print(f'\n{command.name}: {duration_s:.1f} s, {command.check_end(whole / "out")}', flush=True)
            for number, at_s in enumerate(moments(duration_s, arguments.times, arguments.seed)):
                folder = Path(name) / str(number)
                folder.mkdir()
                outcome = interrupt(command, folder, at_s)
                is_sound &= not outcome.faults
                print(f'  {at_s:6.2f} s  {outcome.found or "?"}  {"  ".join(outcome.faults) or "sound"}', flush=True)
                shutil.rmtree(folder)
    sys.exit(not is_sound)


if __name__ == '__main__':
    main()
