"""Damage to bytes and to JSON values, drawn from a random generator with a fixed seed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

_NUMBERS = (b'\0' * 4, b'\xff' * 4, b'\xff\xff\xff\x7f', b'\0\0\0\x80', b'\1\0\0\0', b'\xff' * 8, b'\0' * 8)

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, -(2**70), 10**400, 0.5, float('nan'), float('inf'), '', 'x', '1e-2'),
    *('../../../etc/passwd', '/etc/passwd', 'a\\b.jpg', '\0', 'é' * 300, [], {}, [[]], [None], [0] * 50, {'a': {}}),
)


def cut(data: bytes, chance: random.Random) -> bytes:
    """The start of a file, as of a copy that was interrupted."""
    return data[: chance.randrange(len(data))]


def damage(data: bytes, chance: random.Random) -> bytes:
    """Bytes with one to four faults: flipped bits, extreme numbers, zeros, repeated, moved, lost or foreign parts."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if not changed:
            break
        place = chance.randrange(len(changed)) if chance.random() < 0.6 else chance.randrange(min(len(changed), 200))
        length = chance.choice((1, 2, 8, 64, 512))
        kind = chance.randrange(7)
        if kind == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place : place + 4] = chance.choice(_NUMBERS)
        elif kind == 2:
            changed[place : place + length] = bytes(len(changed[place : place + length]))
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = chance.randbytes(length)
        elif kind == 5:
            source = chance.randrange(len(changed))
            changed[place : place + length] = changed[source : source + length]
        else:
            changed[place : place + length] = chance.randbytes(length)
    return bytes(changed)


def changed_value(value: Any, chance: random.Random) -> Any:
    """A JSON value with one to three places changed, removed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        container, key = chance.choice(places)
        kind = chance.random()
        if kind < 0.2:
            del container[key]
        elif kind < 0.3 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every place in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])
