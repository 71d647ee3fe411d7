"""ReadAhead: reads the items of an iterable ahead of time, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar('T')

_DEPTH = 16
_POLL_S = 0.1


class _End:
    """Follows the last item. error: why reading failed; None if there are no more items."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class ReadAhead(Generic[T]):
    """A context manager to iterate over once. The thread ends when the context is left.

    An exception of the iterable is raised after the items before it.

    Args:
        items: iterated in the thread only.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(_DEPTH)
        self._is_open = True
        self._thread = threading.Thread(target=self._read, name='read ahead', daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_open = False
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _read(self) -> None:
        error = None
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except Exception as caught:
            error = caught
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        """Wait until the queue has room. Returns False once the context has been left."""
        while self._is_open:
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                pass
        return False
