"""read_yaml: the content of a YAML file, with limits that no file of a person reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LARGEST_FILE = 1 << 24
"""Bytes."""

_DEEPEST = 50
"""Levels of lists and mappings in each other."""

_MOST_VALUES = 1_000_000
"""Values after every alias was replaced by what it stands for: a few lines of aliases can stand for billions."""

_SAFE_LOADER: type[Any] = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class _UniqueKeyLoader(_SAFE_LOADER):  # type: ignore[misc]
    """Reads YAML, in which a key that occurs twice in a mapping is an error; PyYAML takes the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise ValueError(f'{name!r} is there twice, in lines {lines[name]} and {line}: join them')
            lines[name] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: it is not YAML, a key occurs twice, or it is larger, deeper or with more values than any file of a
            person; names the file.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f'{path} has {path.stat().st_size} bytes, more than the limit of {LARGEST_FILE}')
    try:
        text = path.read_text(encoding='utf-8')
        _check_limits(text)
        return yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ValueError(f'{path} is not a YAML file: {" ".join(str(error).split())}') from error
    except ValueError as error:  # such as a date that does not exist
        raise ValueError(f'{path} is not a valid YAML file: {error}') from error


def _check_limits(text: str) -> None:
    """Raise ValueError for values that are too deep, too many, or contain themselves."""
    sizes: dict[str, int] = {}  # anchor -> values that it stands for
    open_ones: list[tuple[str | None, int]] = []  # anchor of each list or mapping, and its values so far
    for event in yaml.parse(text, _SAFE_LOADER):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in open_ones}:
                raise ValueError(f'&{event.anchor} contains itself')
            size, anchor = sizes.get(str(event.anchor), 1), None
        elif isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, 1))
            if len(open_ones) > _DEEPEST:
                raise ValueError(f'it is nested deeper than {_DEEPEST} levels')
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_ones.pop()
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = 1, event.anchor
        else:
            continue
        if size > _MOST_VALUES:
            raise ValueError(f'it stands for more than {_MOST_VALUES} values')
        if anchor is not None:
            sizes[anchor] = size
        if open_ones:
            open_ones[-1] = open_ones[-1][0], open_ones[-1][1] + size
