"""Check values from files against the type hints of the dataclass that they are for, and convert them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

_NAMES: dict[Any, tuple[str, str]] = {
    int: ('whole number', 'whole numbers'),
    float: ('number', 'numbers'),
    str: ('str', 'texts'),
    bool: ('bool', 'bools'),
}


class _OtherTypeError(ValueError):
    pass


def json_object(text: str, what: str) -> dict[str, Any]:
    """The object in a JSON text of another file. ValueError, which starts with `what`, if it is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{what} is not JSON: {error}') from error
    if not isinstance(values, dict):
        raise ValueError(f'{what} is {values!r:.60}, expected an object')
    return values


def typed_fields(cls: type[Any], where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the types of the fields of a dataclass.

    Lists become tuples, whole numbers become floats, and so does text like '1e-4', which YAML does not read as a
    number. Dataclasses inside are left as they are.

    Args:
        cls: the dataclass.
        where: start of an error message, such as 'model '.
        values: for some of its fields; others keep their value.

    Raises:
        ValueError: a value has another type, or a number is not finite. Names the field, the value and the type.
    """
    kinds = get_type_hints(cls)
    typed = {}
    for name, value in values.items():
        kind = kinds.get(name, Any)
        try:
            typed[name] = value if get_origin(kind) is ClassVar else _converted(kind, value)
        except _OtherTypeError:
            raise ValueError(f'{where}{name} is {value!r}, expected a {_name(kind)}') from None
    return typed


def _converted(kind: Any, value: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or is_dataclass(kind) or origin is Literal:  # choices are checked by the class
        return value
    if kind is type(None) and value is None:
        return value
    if origin in (Union, UnionType):
        for part in parts:
            with suppress(_OtherTypeError):
                return _converted(part, value)
        raise _OtherTypeError
    if origin is tuple:
        return _converted_tuple(parts, value)
    if kind is float:
        return _finite(value)
    expected = Mapping if _is_mapping(kind) else kind
    if not isinstance(value, expected) or (kind is int and isinstance(value, bool)):
        raise _OtherTypeError
    if expected is Mapping and parts:
        return {_converted(parts[0], name): _converted(parts[1], each) for name, each in value.items()}
    return value


def _converted_tuple(parts: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _OtherTypeError
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        raise _OtherTypeError
    return tuple(_converted(*each) for each in zip(parts, value, strict=True))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _OtherTypeError
    with suppress(ValueError, OverflowError):
        if math.isfinite(number := float(value)):
            return value if isinstance(value, int) else number
    raise _OtherTypeError


def _is_mapping(kind: Any) -> bool:
    return kind in (Mapping, dict) or get_origin(kind) in (Mapping, dict)


def _name(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return ' or '.join(_name(part) for part in parts)
    if origin is tuple:
        plural = _NAMES.get(parts[0], ('', ''))[1]
        count = '' if parts[-1] is Ellipsis else f'{len(parts)} '
        return f'list of {count}{plural}' if plural else 'list'
    if origin is Literal:
        return f'choice of {", ".join(map(str, parts))}'
    if kind is type(None):
        return 'null'
    return 'mapping' if _is_mapping(kind) else _NAMES.get(kind, (getattr(kind, '__name__', str(kind)), ''))[0]
