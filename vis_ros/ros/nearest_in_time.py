"""NearestInTime: of a stream of stamped items, the one nearest in time to a wanted stamp, in bounded memory."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar('Item')


class NearestInTime(Generic[Item]):
    """Keeps the newest items of a stream, and of all items since `want` the one nearest to the wanted stamp.

    Items come in any order of stamps. It does not wait and has no lock.

    >>> depths = NearestInTime(kept=2)
    >>> depths.want(100)
    >>> for stamp_ns in (80, 110, 150, 190):
    ...     depths.add(stamp_ns, f'image at {stamp_ns}')
    >>> depths.nearest()
    (110, 'image at 110')
    """

    def __init__(self, kept: int) -> None:
        """Keep at most the `kept` newest items and the nearest one."""
        self._newest: deque[tuple[int, Item]] = deque(maxlen=kept)
        self._nearest: tuple[int, Item] | None = None
        self._wanted: int | None = None

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, stamp_ns: int, item: Item) -> None:
        """Take the next item of the stream."""
        self._newest.append((stamp_ns, item))
        self._compare(stamp_ns, item)

    def want(self, stamp_ns: int | None) -> None:
        """Look for the item nearest to a stamp, among those kept and those to come; None: for no item."""
        self._wanted, self._nearest = stamp_ns, None
        for each in self._newest:
            self._compare(*each)

    def nearest(self) -> tuple[int, Item] | None:
        """Stamp and item nearest to the wanted stamp (the first added of several); None if there is none."""
        return self._nearest

    @property
    def latest_ns(self) -> int | None:
        """The stamp of the last item added; None before the first."""
        return self._newest[-1][0] if self._newest else None

    def forget_before(self, stamp_ns: int) -> None:
        """Drop the items with earlier stamps, except the nearest one."""
        self._newest = deque((each for each in self._newest if each[0] >= stamp_ns), self._newest.maxlen)

    def _compare(self, stamp_ns: int, item: Item) -> None:
        if self._wanted is None:
            return
        if self._nearest is None or abs(stamp_ns - self._wanted) < abs(self._nearest[0] - self._wanted):
            self._nearest = stamp_ns, item
