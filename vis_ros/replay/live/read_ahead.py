"""ReadAhead: takes items out of an iterable in a thread of its own, a few before they are wanted."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar('T')

_DEPTH = 16
_POLL_S = 0.1


class _End:
    """Stands behind the last item: there are no more, or reading failed with an error."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class ReadAhead(Generic[T]):
    """Iterate inside the context, once; leaving it ends the thread. An error of the iterable comes where it happened.

    Args:
        items: is iterated in the thread, and nowhere else.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._queue: queue.Queue[T | _End] = queue.Queue(_DEPTH)
        self._wanted = True
        self._thread = threading.Thread(target=self._read, name='read ahead', daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._wanted = False
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
        """Wait for room; False once nobody wants more."""
        while self._wanted:
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                pass
        return False
