"""Problems in annotations: each with its file and record, all of a file collected before the error is raised."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.image_headers import LARGEST_IMAGE

_SHOWN_PROBLEMS = 20

LARGEST_SIDE = 1 << 15
"""Largest image height and width accepted, so that a corrupt size cannot cause a huge allocation."""

_VALUES = re.compile(r"'[^']*'|\d+")

_JSON_NAMES = {int: 'an integer', str: 'a string', list: 'a list', dict: 'an object'}


@dataclass(frozen=True)
class Problem:
    """What is wrong with annotations, and where.

    Attributes:
        file: the file.
        record: the part of it ('annotations[3], id 17', 'line 12', ...); '' if the problem concerns the whole file.
        what: the fault, with the offending value.
    """

    file: str
    record: str
    what: str

    def __str__(self) -> str:
        return ': '.join(part for part in (self.file, self.record, self.what) if part)


class AnnotationError(ValueError):
    """Annotations that cannot be used. `problems` holds all problems; the message shows the first twenty kinds."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        groups = alike(self.problems)
        shown = [with_count(*group) for group in groups[:_SHOWN_PROBLEMS]]
        if len(groups) > len(shown):
            shown.append(f'... and {len(groups) - len(shown)} more kinds of problems; see `vis-ros data check`')
        super().__init__('\n'.join(shown))


def alike(problems: Sequence[Problem], most: int = 3) -> list[tuple[Problem, int]]:
    """The problems without those that differ from an earlier one only in numbers and quoted values: a file of another
    format has the same problem in each of its thousand lines.

    Args:
        problems: in order.
        most: number of problems of a kind that are all kept.

    Returns:
        the first of its kind, and how many there are, in order.
    """
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        kind = (problem.file, _VALUES.sub('#', problem.record), _VALUES.sub('#', problem.what))
        groups.setdefault(kind, []).append(problem)
    found = []
    for group in groups.values():
        if len(group) <= most:
            found += [(problem, 1) for problem in group]
        else:
            found.append((group[0], len(group)))
    return found


def with_count(problem: Problem, count: int) -> str:
    """A problem in words, with the number of those that are like it."""
    return str(problem) if count == 1 else f'{problem} (and {count - 1} more like it)'


class ProblemLog:
    """Collects the problems of one file.

    The methods that read a field of a JSON record return None and add a problem if the field is missing or invalid.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = str(file)
        self.problems: list[Problem] = []

    def add(self, record: str, what: str) -> None:
        self.problems.append(Problem(self.file, record, what))

    def raise_any(self) -> None:
        """Raise AnnotationError with all problems, if there are any."""
        if self.problems:
            raise AnnotationError(self.problems)

    def records(self, container: dict[str, Any], key: str, where: str = '') -> list[tuple[str, dict[str, Any]]]:
        """The JSON objects of a list, each with its place in words. Elements that are not objects are problems."""
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
        """A field of the given JSON type. Booleans are not integers here."""
        if key not in record:
            self.add(where, f'has no {key!r}')
            return None
        value = record[key]
        if not (is_integer(value) if kind is int else isinstance(value, kind)):
            self.add(where, f'{key!r} is {shown(value)}, expected {_JSON_NAMES[kind]}')
            return None
        return value

    def positive(self, record: dict[str, Any], key: str, where: str) -> int | None:
        """An integer from 1 to LARGEST_SIDE."""
        value = self.take(record, key, int, where)
        if value is None or 1 <= value <= LARGEST_SIDE:
            return value
        self.add(where, f'{key!r} is {value}, expected 1 to {LARGEST_SIDE}')
        return None

    def size(self, record: dict[str, Any], where: str) -> tuple[int, int]:
        """(height, width), each from 1 to LARGEST_SIDE, of at most LARGEST_IMAGE pixels; 0 for a wrong one."""
        height, width = self.positive(record, 'height', where), self.positive(record, 'width', where)
        if (height or 0) * (width or 0) > LARGEST_IMAGE:
            self.add(where, f'the image has {width}x{height} pixels, more than the limit of {LARGEST_IMAGE}')
            return 0, 0
        return height or 0, width or 0

    def score(self, record: dict[str, Any], where: str) -> float | None:
        """The field `score`, a number from 0 to 1."""
        if 'score' not in record:
            self.add(where, "has no 'score'")
            return None
        value = record['score']
        number = is_integer(value) or isinstance(value, float)
        if number and 0 <= value <= 1:  # False for NaN as well
            return float(value)
        self.add(where, f"'score' is {shown(value)}, expected a number from 0 to 1")
        return None

    def reference(self, record: dict[str, Any], key: str, targets: dict[int, Any], name: str, where: str) -> Any:
        """The target that the id in a field refers to. An unknown id is a problem.

        Args:
            record, key: the field.
            targets: by id.
            name: of the targets, for the message.
            where: the place of the record.
        """
        identity = self.take(record, key, int, where)
        if identity is not None and identity not in targets:
            self.add(where, f'{key!r} is {identity}, which is not among {name}')
        return None if identity is None else targets.get(identity)


def is_integer(value: Any) -> bool:
    """Whether a JSON value is an integer that fits into int64."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def is_unicode(text: str) -> bool:
    """Whether a text can be written to a file: JSON can escape halves of a character."""
    return not any('\ud800' <= character <= '\udfff' for character in text)


def shown(value: Any) -> str:
    """A value for a message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def plural(count: int, noun: str) -> str:
    """'1 frame', '2 frames'."""
    return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def read_json(path: Path) -> Any:
    """The content of a JSON file. Run lengths (a list `counts` of non-negative integers) are returned as an array.

    Raises:
        AnnotationError: the file is not JSON; the problem names line and column.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'), object_hook=_with_compact_counts)
    except json.JSONDecodeError as error:
        where = f'line {error.lineno}, column {error.colno}'
        raise AnnotationError([Problem(str(path), where, f'is not JSON: {error.msg}')]) from error
    except (ValueError, RecursionError) as error:  # text of another encoding, a number of thousands of digits
        raise AnnotationError([Problem(str(path), '', f'is not JSON: {error}')]) from error


def _with_compact_counts(record: dict[str, Any]) -> dict[str, Any]:
    """Store run lengths as an array: as Python integers those of a long video would take most of the memory."""
    counts = record.get('counts')
    if isinstance(counts, list) and set(map(type, counts)) == {int} and min(counts) >= 0 and max(counts) < 1 << 32:
        record['counts'] = np.array(counts, np.min_scalar_type(max(counts)))
    return record
