"""Reading ahead and writing behind, so that the network does not wait for decoders, encoders and disks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')

_AHEAD = 3
"""Items that are read ahead, or wait to be written: enough for a slow frame, and few enough for the memory."""

_END = object()


def read_ahead(items: Generator[Item]) -> Generator[Item]:
    """The same items, read in a thread. What ends the items early is raised in its turn.

    The thread alone runs the generator, because some readers (SQLite) stay in the thread that opened them.
    """
    with ThreadPoolExecutor(1, 'read ahead') as reader:
        waiting: deque[Future[object]] = deque()
        try:
            while True:
                while len(waiting) < _AHEAD:
                    waiting.append(reader.submit(next, items, _END))
                item = waiting.popleft().result()
                if item is _END:
                    return
                yield item  # type: ignore[misc]
        finally:
            reader.submit(items.close).result()


class WriteBehind:
    """Calls functions in a thread, one after the other in their order. A function that raises ends it."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, 'write behind')
        self._waiting: deque[Future[None]] = deque()

    def __call__(self, function: Callable[[], None]) -> None:
        """Call a function later; waits while too many are waiting. Raises what an earlier one has raised."""
        while len(self._waiting) >= _AHEAD:
            self._waiting.popleft().result()
        self._waiting.append(self._writer.submit(function))

    def finish(self) -> None:
        """Wait until everything is written. Raises what a function has raised; those after it are not called."""
        try:
            while self._waiting:
                self._waiting.popleft().result()
        except BaseException:
            for each in self._waiting:
                each.cancel()
            raise

    def close(self) -> None:
        """End the thread."""
        self._writer.shutdown(cancel_futures=True)
