"""listed: names in a message, of which there may be thousands."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

_MOST = 20


def listed(names: Iterable[object], most: int = _MOST) -> str:
    """'a, b, c', or 'a, b and 998 more'."""
    rest = iter(names)
    text = ', '.join(str(name) for name in islice(rest, most))
    more = sum(1 for _ in rest)
    return text + (f' and {more} more' if more else '')
