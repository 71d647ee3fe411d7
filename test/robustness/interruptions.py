"""Kill commands with SIGKILL at many moments, and print what was left.

    python -m robustness.interruptions [--times 20] [--only replay] [--seed 0]

After each kill, what was finished must be readable, the next run into the same folder must work, and afterwards nothing
may be left: no temporary files, no processes, no shared memory of anybody. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from robustness.interrupted_commands import COMMANDS, InterruptedCommand
from vis_ros.ros.shared_memory import remove_stale_segments

HANG_S = 600.0
_END_S = 150.0
"""Children of a killed process have ended by then; on a busy machine some are still being started when it is killed."""

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
    }


def run(command: InterruptedCommand, folder: Path, kill_after_s: float | None = None) -> tuple[float, int, str]:
    """Run a command, to its end or until it is killed. Returns seconds, exit status and output."""
    for module in command.imports:
        import_module(module)
    start = time.monotonic()
    child = os.fork()  # which has imported all that takes long
    if child == 0:
        _become(command, folder)
    end = start + (HANG_S if kill_after_s is None else kill_after_s)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    status = os.waitstatus_to_exitcode(ended[1])
    return time.monotonic() - start, status, (folder / 'output.txt').read_text()


def _become(command: InterruptedCommand, folder: Path) -> NoReturn:
    """Run a command in this process, which is a new one, as if it had been started in a shell."""
    os.setsid()
    os.chdir(folder)
    os.environ.update(environment(folder))
    tempfile.tempdir = None
    output = os.open('output.txt', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.argv = list(command.command)
    status = 1
    try:
        runpy.run_module(command.command[0], run_name='__main__', alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        atexit._run_exitfuncs()
        sys.stdout.flush()
    os._exit(status)


def uninterrupted(command: InterruptedCommand, folder: Path) -> tuple[float, str]:
    """How long a command takes in a new folder, and what it leaves."""
    folder.mkdir()
    command.prepare(folder)
    duration_s, status, output = run(command, folder)
    assert status == 0, output
    return duration_s, command.check_end(folder / 'out')


def interrupt(command: InterruptedCommand, folder: Path, at_s: float) -> Outcome:
    """Kill a command in a new folder after some seconds, look at what is left, and run it again."""
    folder.mkdir()
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
    abandoned = {name for name in _shared() - shared if not name.startswith('sem.mp-') and not _is_in_use(name)}
    outcome.faults += [f'left behind: {path}' for path in sorted({*_left_in(folder), *abandoned})]
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


def _is_in_use(name: str) -> bool:
    """Whether a process, of anybody, has some shared memory; or it is gone."""
    for path in Path('/proc').glob('[0-9]*/maps'):
        with suppress(OSError):
            if f'{_SHARED}/{name}' in path.read_text():
                return True
    return not (_SHARED / name).exists()


def _processes_after_the_end(folder: Path) -> list[int]:
    deadline = time.monotonic() + _END_S
    while (found := _processes(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _processes(folder: Path) -> list[int]:
    """The processes that a command in this folder has started: they are in the folder."""
    found = []
    for path in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):
            if path.joinpath('cwd').resolve().is_relative_to(folder):
                found.append(int(path.name))
    return found


def moments(duration_s: float, times: int, seed: int) -> list[float]:
    """Random moments spread over a duration: one in each of `times` equal parts."""
    chance = random.Random(seed)
    return [duration_s * (part + chance.random()) / times for part in range(times)]


def main() -> None:
    """Kill the commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--times', type=int, default=20)
    parser.add_argument('--only', choices=[command.name for command in COMMANDS])
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    is_sound = True
    for command in COMMANDS:
        if arguments.only not in (None, command.name):
            continue
        place = Path(tempfile.mkdtemp(prefix='interruptions_')).resolve()
        duration_s, found = uninterrupted(command, place / 'whole')
        print(f'\n{command.name}: {duration_s:.1f} s, {found}', flush=True)
        for number, at_s in enumerate(moments(duration_s, arguments.times, arguments.seed)):
            outcome = interrupt(command, place / str(number), at_s)
            is_sound &= not outcome.faults
            print(f'  {at_s:6.2f} s  {outcome.found or "?"}  {"  ".join(outcome.faults) or "sound"}', flush=True)
            shutil.rmtree(place / str(number))
        shutil.rmtree(place)
    sys.exit(not is_sound)


if __name__ == '__main__':
    main()
