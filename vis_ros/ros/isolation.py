"""A private ROS graph, and the environment of the processes in it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import vis_ros
from vis_ros.ros.environment import prepare_environment


def isolate() -> None:
    """Give this process and its children a private ROS domain on this machine."""
    # Ports of higher domains may collide with ephemeral UDP ports.
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def child_environment() -> dict[str, str]:
    """The environment for child processes that use ROS. A checkout, which is not installed, is put on their path."""
    prepare_environment()
    root = Path(vis_ros.__file__).parents[1]
    paths = [str(root)] if (root / 'pyproject.toml').is_file() else []
    paths += filter(None, [os.environ.get('PYTHONPATH')])
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)} if paths else dict(os.environ)
