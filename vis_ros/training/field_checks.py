"""Checks of the names, types and choices of fields read from a YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    'int': int, 'float': (int, float), 'str': str, 'bool': bool, 'tuple': tuple, 'Mapping': Mapping,
}  # fmt: skip


def typed_fields(cls: type[Any], where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the types of the fields of a dataclass. ValueError names a value of another type."""
    kinds = {each.name: str(each.type).partition('[')[0] for each in fields(cls)}
    typed = {}
    for name, value in values.items():
        kind = kinds[name]
        given = tuple(value) if isinstance(value, list) else value
        if kind == 'float' and isinstance(given, str):  # YAML reads 1e-4, without a point, as text
            with suppress(ValueError):
                given = float(given)
        is_other = kind in _TYPES and not isinstance(given, _TYPES[kind])
        if is_other or (isinstance(given, bool) and kind in ('int', 'float')):
            words = {'tuple': 'list', 'Mapping': 'mapping', 'int': 'whole number', 'float': 'number'}
            raise ValueError(f'{where}{name} is {value!r}, expected a {words.get(kind, kind)}')
        typed[name] = given
    return typed


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
