"""Launch files, run with recording stand-ins for launch and launch_ros: neither exists as a wheel."""

import ast
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / 'launch'


class Recorded:
    """Stands for any class of launch and launch_ros, and records its arguments."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.arguments, self.keywords = arguments, keywords


class LaunchConfiguration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.arguments[0]]


class DeclareLaunchArgument(Recorded):
    @property
    def name(self) -> str:
        return self.arguments[0]


OWN = {each.__name__: each for each in (LaunchConfiguration, DeclareLaunchArgument)}


def run_launch_file(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The globals of launch/NAME after running it."""
    for node in ast.parse((FOLDER / name).read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or '').partition('.')[0] in ('launch', 'launch_ros'):
            assert node.module is not None
            stand_in = types.ModuleType(node.module)
            for alias in node.names:
                kind = OWN.get(alias.name) or type(alias.name, (Recorded,), {})
                setattr(stand_in, alias.name, kind)
            monkeypatch.setitem(sys.modules, node.module, stand_in)
    monkeypatch.setitem(sys.modules, 'launch_ros', types.ModuleType('launch_ros'))
    return runpy.run_path(str(FOLDER / name))


def entities(launch_file: dict[str, Any], kind: str) -> list[Any]:
    """The actions of one class in the launch description."""
    (found,) = launch_file['generate_launch_description']().arguments
    return [entity for entity in found if type(entity).__name__ == kind]


def declared_arguments(launch_file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of each launch argument -> keywords of its declaration."""
    return {each.arguments[0]: each.keywords for each in entities(launch_file, 'DeclareLaunchArgument')}


def called_names(name: str) -> set[str]:
    """The functions that launch/NAME calls by their plain name."""
    calls = [node for node in ast.walk(ast.parse((FOLDER / name).read_text())) if isinstance(node, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}
