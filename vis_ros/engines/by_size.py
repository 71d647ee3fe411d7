"""BySize: what an engine makes once for each padded image size, such as a compiled network."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from vis_ros.engines.engine import CompilingError

T = TypeVar('T')
Size = tuple[int, int]
"""(height, width) in pixels, multiples of 32."""

MAX_SIZES_IN_MEMORY = 8
"""Beyond this number of sizes, the least recently used one is dropped."""
MOST_AT_ONCE = 2
"""Items that are made in the background at once. A camera whose images have ever new sizes would start any number."""


class BySize(Generic[T]):
    """Makes one item for each size when it is first needed. Not thread-safe, but makes items in threads of its own.

    Args:
        make: makes an item, which may take minutes.

    in_background: make items in another thread, and return larger ones meanwhile.
    """

    def __init__(self, make: Callable[[Size], T]) -> None:
        self.in_background = False
        self._make = make
        self._items: OrderedDict[Size, T] = OrderedDict()
        self._being_made: dict[Size, Future[T]] = {}

    def of_size(self, size: Size) -> T:
        """The item for a size.

        Raises:
            CompilingError: it is being made in the background, and there is no larger one.
        """
        if size not in self._items:
            self._keep_those_made()
        if size not in self._items:
            if self.in_background and not self._is_made(size):
                return self._larger(size)
            finished = self._being_made.pop(size, None)
            self._keep(size, finished.result() if finished else self._make(size))
        self._items.move_to_end(size)
        return self._items[size]

    def items(self) -> list[T]:
        """All items in memory, the least recently used first."""
        return list(self._items.values())

    def _keep(self, size: Size, item: T) -> None:
        self._items[size] = item
        if len(self._items) > MAX_SIZES_IN_MEMORY:
            self._items.popitem(last=False)

    def _keep_those_made(self) -> None:
        """Keep what has been made in the background, whether or not it will be needed again. An error is raised for
        whoever needs the item.
        """
        for size, future in list(self._being_made.items()):
            if future.done() and future.exception() is None:
                self._keep(size, self._being_made.pop(size).result())

    def _is_made(self, size: Size) -> bool:
        """Whether an item has been made in the background; if nobody has begun, that begins now or after others."""
        if size not in self._being_made:
            if sum(not future.done() for future in self._being_made.values()) >= MOST_AT_ONCE:
                return False
            future = self._being_made[size] = Future()

            def make() -> None:
                try:
                    future.set_result(self._make(size))
                except Exception as error:
                    future.set_exception(error)

            # A daemon thread, because a compilation that takes minutes must not keep the process alive.
            threading.Thread(target=make, name='vis_compile', daemon=True).start()
        return self._being_made[size].done()

    def _larger(self, size: Size) -> T:
        """The smallest item that is large enough."""
        large = [other for other in self._items if other[0] >= size[0] and other[1] >= size[1]]
        if not large:
            raise CompilingError(f'the network is being compiled for images of {size[1]}x{size[0]}')
        return self._items[min(large, key=lambda other: other[0] * other[1])]
