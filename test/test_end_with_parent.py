"""Child processes end when their parent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import subprocess, sys, time
from vis_ros.end_with_parent import end_with_parent
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], preexec_fn=end_with_parent)
print(child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f'/proc/{pid}/stat') as file:  # one that has ended may wait for its new parent
        return file.read().rpartition(')')[2].split()[0] != 'Z'


def test_a_child_ends_with_its_killed_parent() -> None:
    with subprocess.Popen([sys.executable, '-c', PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    end = time.monotonic() + 60
    while is_running(child):
        assert time.monotonic() < end, 'the child goes on'
        time.sleep(0.05)


LOADER = """
import multiprocessing, os, signal, sys
import numpy as np
import torch
from vis_ros.training.sample_loader import numbered_loader

def batch(samples):
    return torch.from_numpy(np.stack(samples))

if __name__ == '__main__':
    images = list(np.arange(8 * 300 * 400).reshape(8, 300, 400))
    batches = iter(numbered_loader(images, batch, 2, 4, 1))
    for number in range(int(sys.argv[1])):
        assert next(batches).equal(batch(images[2 * number : 2 * number + 2]))
    print(multiprocessing.active_children()[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize('taken', [0, 2], ids=['while it starts', 'while it works'])
def test_a_loader_of_a_killed_training_ends_and_leaves_nothing(tmp_path: Path, taken: int) -> None:
    (tmp_path / 'killed.py').write_text(LOADER)
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    variables = {**os.environ, 'TMPDIR': str(temporary)}
    command = [sys.executable, 'killed.py', str(taken)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=variables) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
    end = time.monotonic() + 120
    while is_running(worker):
        assert time.monotonic() < end, 'the loader goes on'
        time.sleep(0.1)
    assert list(temporary.iterdir()) == []


WORKER = """
import os, time
from pathlib import Path
from dataclasses import replace
from functools import partial
from helpers.made_library import job, run, write_images
from vis_ros.fleet.worker_processes import run_on_processes

def load(settings):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == '__main__':
    write_images(Path('frames'))
    run(Path('frames'), replace(job(Path('out')), load=load), partial(run_on_processes, workers=1))
"""


def test_a_worker_of_a_killed_replay_ends_in_the_middle_of_a_recording(tmp_path: Path) -> None:
    (tmp_path / 'killed.py').write_text(WORKER)
    tests = Path(__file__).parent
    variables = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tests.parent), str(tests)])}
    with subprocess.Popen([sys.executable, 'killed.py'], stdout=subprocess.PIPE, cwd=tmp_path, env=variables) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert is_running(worker)
        parent.kill()
    end = time.monotonic() + 60
    while is_running(worker):
        assert time.monotonic() < end, 'the worker goes on'
        time.sleep(0.05)
