"""A private ROS graph, and the environment of the processes in it."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import vis_ros
from vis_ros.ros.environment import prepare_environment


def isolate() -> None:
    """Give this process and its children a private ROS domain on this machine."""
    os.environ['ROS_DOMAIN_ID'] = str(free_domain())
    if os.environ.get('ROS_DISTRO') == 'humble':
        os.environ['ROS_LOCALHOST_ONLY'] = '1'
    else:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def free_domain() -> int:
    """A ROS domain in which no process of this machine is."""
    domains = random.SystemRandom().sample(range(1, 102), 101)  # ports of higher ones may collide with ephemeral ports
    return next(filter(_is_free, domains), domains[0])


def _is_free(domain: int) -> bool:
    """Whether the port of the first DDS participant of a domain is free (RTPS 2.2, 9.6.1.1)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        try:
            port.bind(('', 7410 + 250 * domain))
        except OSError:
            return False
    return True


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
