"""A ROS 2 parameter file, read without ROS: the settings of a tuned node, to use them offline."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from vis_ros.tracking.settings import NodeSettings, is_foreign


def read_params_file(path: str | Path, node: str = '/vis_node') -> dict[str, Any]:
    """The settings in a parameter file that a node takes, as it would take them: later sections override earlier ones.

    Args:
        path: a YAML file with sections such as `/**`, `vis_node` or `/robot/vis_node`, each with `ros__parameters`.
        node: full name of the node. `/*` and `**` in the name of a section match as in ROS.

    Raises:
        ValueError: the file is not a parameter file, no section is for this node, or it has an unknown parameter.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # such as a date that does not exist
        raise ValueError(f'{path} is not a YAML file: {error}') from error
    try:
        sections = _sections(content, '')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    if not sections:
        raise ValueError(f'{path} has no ros__parameters: it is not a ROS parameter file')
    values: dict[str, Any] = {}
    matching = [parameters for name, parameters in sections if _matches(name, node)]
    if not matching:
        raise ValueError(f'{path} has parameters of {", ".join(name for name, _ in sections)}, but none of {node}')
    for parameters in matching:
        values |= parameters
    known = {each.name for each in fields(NodeSettings)}
    unknown = [name for name in values if name not in known and not is_foreign(name)]
    if unknown:
        raise ValueError(f'{path} has parameters that vis_node does not have: {", ".join(unknown)}')
    return {name: value for name, value in values.items() if name in known}


def _sections(content: Any, name: str) -> list[tuple[str, dict[str, Any]]]:
    """(name of the node, its parameters) of every section, namespaces included."""
    if not isinstance(content, dict):
        return []
    found = []
    for key, value in content.items():
        if key == 'ros__parameters':
            if not isinstance(value, dict):
                raise ValueError(f'ros__parameters of {name or "/"} is {value!r}, but must be a mapping of parameters')
            found.append((name, {str(each): setting for each, setting in value.items()}))
        else:
            found += _sections(value, f'{name}/{str(key).strip("/")}')
    return found


def _matches(pattern: str, node: str) -> bool:
    """Whether the name of a section covers a node: * stands for one part of a name, ** for any number of them."""
    parts = ['.*' if part == '**' else '[^/]*' if part == '*' else re.escape(part) for part in pattern.split('/')[1:]]
    expression = '/' + '/'.join(parts).replace('/.*', '(/.*)?').replace('.*/', '(.*/)?')
    return re.fullmatch(expression, node) is not None
