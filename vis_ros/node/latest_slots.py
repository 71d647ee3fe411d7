"""LatestSlots: the newest item of each of several streams, taken in turn."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar('Item')


class LatestSlots(Generic[Item]):
    """One slot a stream, each holding only the newest item: a slow reader skips items instead of falling behind.

    One thread (or several) puts, another takes. Streams are served round-robin: a fast one cannot starve the others.
    What was put by `insist` is served before and never replaced.
    """

    def __init__(self, count: int) -> None:
        self._items: list[Item | None] = [None] * count
        self._insisted: deque[tuple[int, Item]] = deque()
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, stream: int, item: Item) -> bool:
        """Make `item` the newest of its stream. Returns whether it replaced one that nobody took."""
        with self._changed:
            replaced = self._items[stream] is not None
            self._items[stream] = item
            self._changed.notify()
            return replaced

    def insist(self, stream: int, item: Item) -> bool:
        """Serve an item before everything else. Returns False, and does nothing, once `close` was called."""
        with self._changed:
            if not self._closed:
                self._insisted.append((stream, item))
                self._changed.notify()
            return not self._closed

    def take(self) -> tuple[int, Item] | None:
        """Wait for an item; returns its stream and the item, or None once `close` was called."""
        with self._changed:
            while not self._closed:
                if self._insisted:
                    return self._insisted.popleft()
                for offset in range(len(self._items)):
                    stream = (self._next + offset) % len(self._items)
                    item = self._items[stream]
                    if item is not None:
                        self._items[stream] = None
                        self._next = stream + 1
                        return stream, item
                self._changed.wait()
            return None

    def discard(self, stream: int) -> bool:
        """Empty the slot of a stream. Returns whether it held an item."""
        with self._changed:
            held = self._items[stream] is not None
            self._items[stream] = None
            return held

    def close(self) -> list[Item]:
        """Wake the reader and give it nothing more. Returns what was insisted on and not taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            left = [item for _, item in self._insisted]
            self._insisted.clear()
            return left
