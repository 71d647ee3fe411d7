"""The parameters of the node, declared on it, read from it and checked: one for each field of `NodeSettings`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vis_ros.tracking.settings import NodeSettings, convert, is_foreign, objection, setting, setting_type

_FIELDS = {item.name: item for item in fields(NodeSettings)}


def declare(node: Node) -> dict[str, str]:
    """Declare every parameter on a node.

    Returns:
        The name of each parameter whose value in a file or on the command line is invalid, and why. Such a parameter
        gets its default, so that the node can report the problem instead of dying in its constructor.
    """
    faults = {}
    for name, item in _FIELDS.items():
        default = ros_default(item)
        try:
            node.declare_parameter(name, default, descriptor(item))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            given = node._parameter_overrides[name].value  # rclpy's own words name no parameter
            faults[name] = objection(item, convert(item, given)) or f'parameter {name}: {error}'
            node.declare_parameter(name, default, descriptor(item), ignore_override=True)
    return faults


def unknown(node: Node) -> list[str]:
    """What was given in a file or on the command line and is no parameter of the node, in words."""
    given = node._parameter_overrides
    found = []
    for name in sorted(given.keys() - _FIELDS.keys()):
        if not is_foreign(name):
            close = difflib.get_close_matches(name, _FIELDS, 1)
            found.append(f'{name} (did you mean {close[0]}?)' if close else name)
    return found


def read(node: Node) -> NodeSettings:
    """The current values."""
    return NodeSettings(**{name: node.get_parameter(name).value for name in _FIELDS})


def changed(settings: NodeSettings, changes: Iterable[Parameter[Any]]) -> NodeSettings:
    """The settings with some parameters changed; parameters of rclpy itself (use_sim_time) are ignored."""
    values = {change.name: change.value for change in changes if change.name in _FIELDS}
    return NodeSettings(**{**{name: getattr(settings, name) for name in _FIELDS}, **values})


def check(changes: Iterable[Parameter[Any]], configured: bool) -> SetParametersResult:
    """Whether parameters may take new values: allowed values, and what may change only while unconfigured."""
    for change in changes:
        item = _FIELDS.get(change.name)
        reason = '' if item is None else _refusal(item, change.value, configured)
        if reason:
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _refusal(item: Field[Any], value: Any, configured: bool) -> str:
    if reason := objection(item, convert(item, value)):
        return reason
    if configured and setting(item).change == 'unconfigured':
        return f'{item.name} can change only while the node is unconfigured: deactivate and clean up the node first'
    return ''


def ros_default(item: Field[Any]) -> Any:
    """The default of a field as a parameter value."""
    assert item.default is not MISSING
    return list(item.default) if isinstance(item.default, tuple) else item.default


def descriptor(item: Field[Any]) -> ParameterDescriptor:
    """What `ros2 param describe` prints about a field."""
    described = setting(item)
    found = ParameterDescriptor(
        name=item.name, description=described.description, read_only=described.change == 'at start'
    )
    constraints = []
    if described.choices:
        constraints.append(f'One of {", ".join(map(repr, described.choices))}.')
    if described.change == 'unconfigured':
        constraints.append('Can change only while the node is unconfigured.')
    found.additional_constraints = ' '.join(constraints)
    if described.limits is not None:
        low, high = described.limits
        if setting_type(item) is float:
            found.dynamic_typing = True  # otherwise rclpy refuses an int; `check` does what it would do
            found.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        else:
            found.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return found
