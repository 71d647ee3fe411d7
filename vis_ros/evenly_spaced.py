"""EvenlySpaced: a few evenly spaced items of a stream of unknown length."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

Item = TypeVar('Item')


class EvenlySpaced(Generic[Item]):
    """Keeps evenly spaced items of a stream whose length is not known, in bounded memory.

    kept: in order, the first item among them. At least `count` once the stream has that many, fewer than twice as many.

    >>> numbers = EvenlySpaced(2)
    >>> for number in range(10):
    ...     numbers.add(number)
    >>> numbers.kept
    [0, 4, 8]
    """

    def __init__(self, count: int) -> None:
        self.kept: list[Item] = []
        self._count = count
        self._stride = 1
        self._seen = 0

    def add(self, item: Item) -> None:
        """Take the next item; whether it is kept is decided by the items after it."""
        if self._seen % self._stride == 0:
            self.kept.append(item)
            if len(self.kept) == 2 * self._count:
                self.kept = self.kept[::2]
                self._stride *= 2
        self._seen += 1

    def chosen(self) -> list[Item]:
        """At most `count` of the items kept, evenly spaced, from the first to the last."""
        places = np.linspace(0, len(self.kept) - 1, min(self._count, len(self.kept)))
        return [self.kept[round(place)] for place in places]
