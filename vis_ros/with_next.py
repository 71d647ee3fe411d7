"""with_next: pairs each item with the one that follows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


def with_next(items: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Each item and the one that follows it, None after the last one. Reads one item ahead."""
    iterator = iter(items)
    for item in iterator:
        for following in iterator:
            yield item, following
            item = following
        yield item, None
