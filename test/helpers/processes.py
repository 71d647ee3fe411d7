"""ROS nodes as processes."""

import os
import subprocess
import sys
from pathlib import Path

import vis_ros.node

HERE = Path(__file__).resolve().parent
PACKAGE_ROOT = Path(vis_ros.node.__file__).resolve().parents[2]


class Process:
    """A node in a child process. Its output is read after it has ended."""

    def __init__(self, command, *ros_arguments, **environment):
        self._child = subprocess.Popen(
            [sys.executable, *command, '--ros-args', *ros_arguments],
            env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(PACKAGE_ROOT), *sys.path]), **environment},
            cwd=PACKAGE_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def has_ended(self):
        return self._child.poll() is not None

    def signal(self, number):
        self._child.send_signal(number)

    def end(self, timeout_s=120):
        """Wait for the end. Returns the exit code and the output."""
        output, _ = self._child.communicate(timeout=timeout_s)
        return self._child.returncode, output

    def stop(self):
        """Terminate it if it still runs. A process that is killed leaves 64 MiB of shared memory behind."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.communicate()


RECTANGLE_NODE = [str(HERE / 'rectangle_node.py')]
REAL_NODE = ['-m', 'vis_ros.node']
