"""Messages for bags without ROS: plain objects with the fields that the definitions of their types list."""

from __future__ import annotations

import array
from collections.abc import Callable
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from rosbags.interfaces import Nodetype

from vis_ros.recordings.cdr import typestore
from vis_ros.ros.stamps import to_time


def plain_message(type: str) -> SimpleNamespace:
    """A message of a type such as 'std_msgs/msg/Header', with the default value in each field.

    Sequences of uint8 are arrays of the module `array`, as in the messages of ROS.
    """
    return SimpleNamespace(**{name: default() for name, default in _defaults(type)})


def plain_header(stamp_ns: int, frame_id: str) -> SimpleNamespace:
    """A std_msgs/Header."""
    return SimpleNamespace(stamp=to_time(stamp_ns, plain_message), frame_id=frame_id)


@cache
def _defaults(type: str) -> tuple[tuple[str, Callable[[], Any]], ...]:
    """The fields of a type, each with what makes its default value."""
    return tuple((name, _default(kind, detail)) for name, (kind, detail) in typestore().fielddefs[type][1])


def _default(kind: Nodetype, detail: Any) -> Callable[[], Any]:
    if kind == Nodetype.NAME:
        return partial(plain_message, detail)
    if kind == Nodetype.BASE:
        return str if detail[0] == 'string' else float if detail[0].startswith('float') else int
    if kind == Nodetype.ARRAY:
        raise TypeError('plain messages have no fields of fixed length')
    return partial(array.array, 'B') if detail[0] == (Nodetype.BASE, ('uint8', 0)) else list
