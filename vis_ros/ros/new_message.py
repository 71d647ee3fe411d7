"""New messages by the name of their type: of the classes that ROS generates, or plain ones where there is no ROS."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

NewMessage = Callable[[str], Any]
"""Makes a message of a type such as 'std_msgs/msg/Header', with the default value in each field."""


def ros_message(type: str) -> Any:
    """A message of the class that ROS generates, for rclpy. See `plain_message` for one without ROS."""
    return _generated(type)()


@cache
def _generated(type: str) -> Callable[[], Any]:
    package, _, name = type.split('/')
    generated: Callable[[], Any] = getattr(import_module(f'{package}.msg'), name)
    return generated
