"""A ROS graph of one's own, and the environment of the processes in it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import vis_ros
from vis_ros.ros.environment import prepare_environment


def isolate() -> None:
    """Give this process and its children a ROS domain of their own on this machine."""
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))  # higher ones meet ephemeral UDP ports
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def child_environment() -> dict[str, str]:
    """For children that use ROS: a checkout, which no process finds by itself, is put on their path."""
    prepare_environment()
    root = Path(vis_ros.__file__).parents[1]
    paths = [str(root)] if (root / 'pyproject.toml').is_file() else []
    paths += filter(None, [os.environ.get('PYTHONPATH')])
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)} if paths else dict(os.environ)
