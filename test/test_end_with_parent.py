"""Child processes end when their parent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

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
import os, signal
from vis_ros.training.sample_loader import numbered_loader

if __name__ == '__main__':
    batches = iter(numbered_loader(list(range(8)), list, 1, 8, 1))
    print(batches._workers[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_loader_whose_training_is_killed_while_it_starts_ends(tmp_path: Path) -> None:
    (tmp_path / 'killed.py').write_text(LOADER)
    with subprocess.Popen([sys.executable, 'killed.py'], stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
    end = time.monotonic() + 300
    while is_running(worker):
        assert time.monotonic() < end, 'the loader goes on'
        time.sleep(0.1)
