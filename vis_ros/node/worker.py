"""Worker: the one thread that runs the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic

from vis_ros.node.latest_slots import Item, LatestSlots


class Worker(Generic[Item]):
    """Takes the newest item of each stream in turn and processes it, in a thread of its own.

    The executor of rclpy stays free to receive images and to answer services while a network runs.

    Args:
        streams: how many streams there are.
        process: called with the number of the stream and its item; must not raise.
    """

    def __init__(self, streams: int, process: Callable[[int, Item], None]) -> None:
        self.slots: LatestSlots[Item] = LatestSlots(streams)
        self._process = process
        self._in_hand: tuple[int, float] | None = None  # number of the stream, and when it was taken
        # A daemon: a network that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name='vis_worker', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (work := self.slots.take()) is not None:
            self._in_hand = work[0], time.monotonic()
            self._process(*work)
            self._in_hand = None

    @property
    def in_flight(self) -> tuple[int, float] | None:
        """The stream of the item in hand and the seconds since it was taken; None while the worker waits."""
        taken = self._in_hand
        return None if taken is None else (taken[0], time.monotonic() - taken[1])

    @property
    def is_running(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    def stop(self, patience_s: float) -> list[Item]:
        """Finish the item in hand, drop the others and end the thread. Returns what was insisted on and not done.

        Of an item that takes more than `patience_s` the end is not awaited: `is_running` is true then.
        """
        left = self.slots.close()
        self._thread.join(patience_s)
        return left
