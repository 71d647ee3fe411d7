"""StallWatch: whether the worker comes back from an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from vis_ros.node.worker import Worker

STALLED_S = 5.0
"""An image in work for so many seconds is an error."""


class StallWatch:
    """Looks at a worker once in a while, and logs when an image keeps it for too long and when it is back."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._told = False

    def look(self, worker: Worker[Any] | None, topics: Sequence[str]) -> str:
        """What to say of an image that the worker does not come back from, or ''.

        Args:
            worker: None where there is none at present.
            topics: of its streams.
        """
        in_flight = None if worker is None else worker.in_flight
        if in_flight is None or in_flight[1] < STALLED_S:
            if self._told and worker is not None:
                self._logger.warning('the network is back')
            self._told = False
            return ''
        stream, seconds = in_flight
        text = (
            f'the network has been at one image of {topics[stream]} for {seconds:.0f} s, and nothing else is answered. '
            'It may be compiling for images of a new size; otherwise the device hangs, and the node must be restarted'
        )
        if not self._told:
            self._told = True
            self._logger.error(text)
        return text
