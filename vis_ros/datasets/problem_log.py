"""ProblemLog: collects every problem of a file before raising, and reads typed fields of JSON records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.video import AnnotationError, Problem


class ProblemLog:
    """The problems of one file so far. `take` and its kin return None for a field that is not as it must be."""

    def __init__(self, file: str | Path) -> None:
        self.file = str(file)
        self.problems: list[Problem] = []

    def add(self, record: str, what: str) -> None:
        self.problems.append(Problem(self.file, record, what))

    def raise_any(self) -> None:
        """Raises AnnotationError with all problems where there are any."""
        if self.problems:
            raise AnnotationError(self.problems)

    def records(self, container: dict[str, Any], key: str, where: str = '') -> list[tuple[str, dict[str, Any]]]:
        """The JSON objects of a list, each with its place in words; what is no object is a problem and left out."""
        good = []
        for position, record in enumerate(self.take(container, key, list, where) or []):
            place = f'{where}, {key}[{position}]'.removeprefix(', ')
            if not isinstance(record, dict):
                self.add(place, f'is {shown(record)}, expected an object')
                continue
            if is_integer(record.get('id')):
                place += f', id {record["id"]}'
            good.append((place, record))
        return good

    def take(self, record: dict[str, Any], key: str, kind: type, where: str) -> Any:
        """A field of a JSON type (int does not take booleans)."""
        if key not in record:
            self.add(where, f'has no {key!r}')
            return None
        value = record[key]
        if not (is_integer(value) if kind is int else isinstance(value, kind)):
            self.add(where, f'{key!r} is {shown(value)}, expected {_JSON_NAMES[kind]}')
            return None
        return value

    def positive(self, record: dict[str, Any], key: str, where: str) -> int | None:
        """A whole number of at least 1 and at most LARGEST_SIDE."""
        value = self.take(record, key, int, where)
        if value is None or 1 <= value <= LARGEST_SIDE:
            return value
        self.add(where, f'{key!r} is {value}, expected 1 to {LARGEST_SIDE}')
        return None

    def score(self, record: dict[str, Any], where: str) -> float | None:
        """The field `score`, a number from 0 to 1."""
        if 'score' not in record:
            self.add(where, "has no 'score'")
            return None
        value = record['score']
        number = is_integer(value) or isinstance(value, float)
        if number and 0 <= value <= 1:  # false for NaN too
            return float(value)
        self.add(where, f"'score' is {shown(value)}, expected a number from 0 to 1")
        return None


LARGEST_SIDE = 1 << 15
"""No picture is wider or higher than this; a corrupt size must not make anything allocate more."""

_JSON_NAMES = {int: 'a whole number', str: 'a text', list: 'a list', dict: 'an object'}


def is_integer(value: Any) -> bool:
    """Whether a JSON value is a whole number that int64 holds."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def shown(value: Any) -> str:
    """A value in a message: at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def read_json(path: Path) -> Any:
    """The content of a JSON file; run lengths (a list `counts` of whole numbers from 0 on) as an array.

    Raises AnnotationError with line and column where it is none.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'), object_hook=_with_compact_counts)
    except json.JSONDecodeError as error:
        where = f'line {error.lineno}, column {error.colno}'
        raise AnnotationError([Problem(str(path), where, f'is not JSON: {error.msg}')]) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise AnnotationError([Problem(str(path), '', f'is not JSON: {error}')]) from error


def _with_compact_counts(record: dict[str, Any]) -> dict[str, Any]:
    """As Python numbers the run lengths of a long video would take most of the memory."""
    counts = record.get('counts')
    if isinstance(counts, list) and set(map(type, counts)) == {int} and min(counts) >= 0 and max(counts) < 1 << 32:
        record['counts'] = np.array(counts, np.min_scalar_type(max(counts)))
    return record
