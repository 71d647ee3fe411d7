"""New messages by the name of their type: of the classes that ROS generates, or plain ones where there is no ROS."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

NewMessage = Callable[[str], Any]
"""Makes a message of a type such as 'std_msgs/msg/Header', with the default value in each field."""


def ros_message(type: str) -> Any:
    """A message of the class that ROS generates, for rclpy. See `plain_message` for one without ROS."""
    return _generated(type)()


def message_class(type: str) -> Any:
    """The class that ROS generates for a type.

    Raises:
        ValueError: the package of the type is not installed; says how to install it.
    """
    package = type.partition('/')[0]
    try:
        return _generated(type)
    except ImportError as error:
        debian = f'ros-{os.environ.get("ROS_DISTRO", "<distribution>")}-{package.replace("_", "-")}'
        raise ValueError(f'messages of type {type} need {package}: sudo apt install {debian} ({error})') from error


@cache
def _generated(type: str) -> Callable[[], Any]:
    package, _, name = type.split('/')
    generated: Callable[[], Any] = getattr(import_module(f'{package}.msg'), name)
    return generated
