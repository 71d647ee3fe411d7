"""Worker: the one thread that runs the network."""

from __future__ import annotations

import threading
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
        # A daemon: a network that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name='vis_worker', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (work := self.slots.take()) is not None:
            self._process(*work)

    def stop(self) -> list[Item]:
        """Finish the item in hand, drop the others and end the thread. Returns what was insisted on and not done."""
        left = self.slots.close()
        self._thread.join()
        return left
