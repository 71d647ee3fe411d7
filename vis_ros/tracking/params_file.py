"""A ROS 2 parameter file, read without ROS: the settings of a tuned node, to use them offline."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from vis_ros.tracking.settings import NodeSettings, is_foreign
from vis_ros.yaml_file import read_yaml


def read_params_file(
    path: str | Path, node: str = '/vis_node', on_note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The settings in a parameter file that a node takes, as it would take them: later sections override earlier ones.

    Args:
        path: a YAML file with sections such as `/**`, `vis_node` or `/robot/vis_node`, each with `ros__parameters`.
        node: full name of the node. `/*` and `**` in the name of a section match as in ROS.
        on_note: called with a text for each section that other nodes share and that has parameters which this node
            does not have. They are ignored.

    Raises:
        ValueError: the file is not a parameter file, a section or parameter is there twice, no section is for this
            node, or its own section has an unknown parameter.
    """
    content = read_yaml(Path(path))
    try:
        sections = _sections(content, '')
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    if not sections:
        raise ValueError(f'{path} has no ros__parameters: it is not a ROS parameter file')
    matching = {name: parameters for name, parameters in sections.items() if _matches(name, node)}
    if not matching:
        raise ValueError(f'{path} has parameters of {", ".join(sections)}, but none of {node}')
    known = {each.name for each in fields(NodeSettings)}
    values: dict[str, Any] = {}
    for name, parameters in matching.items():
        unknown = ', '.join(each for each in parameters if each not in known and not is_foreign(each))
        if unknown and '*' not in name:
            raise ValueError(f'{path} has parameters that vis_node does not have: {unknown}')
        if unknown:
            on_note(f'{path}: section {name} has parameters that vis_node does not have; they are ignored: {unknown}')
        values |= {each: value for each, value in parameters.items() if each in known}
    return values


def _sections(content: Any, name: str) -> dict[str, dict[str, Any]]:
    """Name of the node -> its parameters, for every section, namespaces included."""
    if not isinstance(content, dict):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        if key == 'ros__parameters':
            if not isinstance(value, dict):
                raise ValueError(f'ros__parameters of {name or "/"} is {value!r}, but must be a mapping of parameters')
            own = {name: {str(each): setting for each, setting in value.items()}}
        else:
            own = _sections(value, f'{name}/{str(key).strip("/")}')
        if again := found.keys() & own.keys():
            raise ValueError(f'section {again.pop()} is there twice, with and without a leading slash: join them')
        found |= own
    return found


def _matches(pattern: str, node: str) -> bool:
    """Whether the name of a section covers a node: * stands for one part of a name, ** for any number of them."""
    parts = ['.*' if part == '**' else '[^/]*' if part == '*' else re.escape(part) for part in pattern.split('/')[1:]]
    expression = '/' + '/'.join(parts).replace('/.*', '(/.*)?').replace('.*/', '(.*/)?')
    return re.fullmatch(expression, node) is not None
