"""Child processes end when their parent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

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
