"""Checks of the names and choices of fields read from a YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def check_names(where: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise ValueError for names that do not exist, with the most similar name that does."""
    known = list(known)
    unknown = []
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            unknown.append(f'{name} (did you mean {near[0]}?)' if near else str(name))
    if unknown:
        raise ValueError(f'unknown fields {", ".join(unknown)}{f" of {where}" if where else ""}')


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError if a value is not one of the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise ValueError(f'{name} {value!r} is not one of {", ".join(choices)}')
