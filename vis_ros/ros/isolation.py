"""A private ROS graph, and the environment of the processes in it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import vis_ros
from vis_ros.ros.environment import prepare_environment


def random_domain() -> str:
    """A ROS domain that hardly anybody else uses. Ports of domains above 101 may collide with ephemeral UDP ports."""
    return str(random.SystemRandom().randint(1, 101))


def isolate() -> None:
    """Give this process and its children a private ROS domain on this machine."""
    os.environ['ROS_DOMAIN_ID'] = random_domain()
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def child_environment() -> dict[str, str]:
    """The environment for child processes that use ROS, and of this process. A checkout, which is not installed, is put
    on their path.
    """
    prepare_environment()
    return {**os.environ, **python_path()}


def python_path() -> dict[str, str]:
    """The variable PYTHONPATH with the checkout that this process runs from, nothing where vis_ros is installed."""
    root = Path(vis_ros.__file__).parents[1]
    if not (root / 'pyproject.toml').is_file():
        return {}
    return {'PYTHONPATH': os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')]))}
