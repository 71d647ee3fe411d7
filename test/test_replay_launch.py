"""launch/replay.launch.py, run with recording stand-ins for launch and launch_ros: the wheels have neither."""

from __future__ import annotations

import ast
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer.main

from vis_ros.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'launch' / 'replay.launch.py'


class Recorded:
    """Stands for any class of launch and launch_ros: remembers what it was made of."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.arguments, self.keywords = arguments, keywords


class LaunchConfiguration(Recorded):
    def perform(self, context: dict[str, str]) -> str:
        return context[self.arguments[0]]


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for node in ast.parse(FILE.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            stand_in = types.ModuleType(node.module)
            for alias in node.names:
                kind = LaunchConfiguration if alias.name == 'LaunchConfiguration' else type(alias.name, (Recorded,), {})
                setattr(stand_in, alias.name, kind)
            monkeypatch.setitem(sys.modules, node.module, stand_in)
    monkeypatch.setitem(sys.modules, 'launch_ros', types.ModuleType('launch_ros'))
    return runpy.run_path(str(FILE))


def entities(launch_file: dict[str, Any], kind: str) -> list[Any]:
    (found,) = launch_file['generate_launch_description']().arguments
    return [entity for entity in found if type(entity).__name__ == kind]


def command(launch_file: dict[str, Any], **given: str) -> tuple[list[Any], dict[str, Any]]:
    """What is run, with launch configurations by value, and the other keywords."""
    declared = entities(launch_file, 'DeclareLaunchArgument')
    context = {argument.arguments[0]: argument.keywords.get('default_value', '') for argument in declared}
    context |= {'namespace': ''} | given
    (process,) = launch_file['start_replay'](context)
    return [text(part, context) for part in process.keywords['cmd'][1:]], process.keywords


def text(part: Any, context: dict[str, str]) -> str:
    if isinstance(part, list):
        return ''.join(text(each, context) for each in part)
    return part.perform(context) if isinstance(part, LaunchConfiguration) else part


def test_every_argument_is_described_and_only_the_bag_is_needed(launch_file: dict[str, Any]) -> None:
    declared = {each.arguments[0]: each.keywords for each in entities(launch_file, 'DeclareLaunchArgument')}
    assert declared.keys() == {'bag', 'out', 'topic', 'rate', 'loop', 'copy_images'}
    assert [name for name, keywords in declared.items() if 'default_value' not in keywords] == ['bag']
    for keywords in declared.values():
        assert keywords['description'].endswith('.')
        assert keywords.get('default_value') in keywords.get('choices', [keywords.get('default_value')])


def test_the_node_is_that_of_the_other_launch_file_on_simulated_time(launch_file: dict[str, Any]) -> None:
    (included,) = entities(launch_file, 'IncludeLaunchDescription')
    given = dict(included.keywords['launch_arguments'])
    assert given['use_sim_time'] == 'true' and set(given) == {'use_sim_time', 'sigterm_timeout', 'sigkill_timeout'}
    (path,) = included.arguments[0].arguments
    assert path.arguments[0][1:] == ['launch', 'vis.launch.py']
    theirs = ast.parse((ROOT / 'launch' / 'vis.launch.py').read_text())
    names = {node.value for node in ast.walk(theirs) if isinstance(node, ast.Constant)}
    assert {'use_sim_time', 'namespace'} <= names


def test_the_arguments_reach_the_command(launch_file: dict[str, Any]) -> None:
    arguments, keywords = command(launch_file, bag='/b')
    assert arguments == ['replay', '/b', '--live', '--node', '//vis_node', '--rate', '1.0', '--loop', '1']
    assert type(keywords['on_exit']).__name__ == 'Shutdown'
    given = {'out': '/o', 'topic': '/t', 'rate': '2', 'loop': '3', 'copy_images': 'true', 'namespace': 'robot'}
    arguments, _ = command(launch_file, bag='/b', **given)
    assert arguments[4:] == [
        *('/robot/vis_node', '--out', '/o', '--topic', '/t', '--rate', '2', '--loop', '3', '--copy-images'),
    ]


def test_the_command_has_these_options(launch_file: dict[str, Any]) -> None:
    program: Any = typer.main.get_command(app)
    known = {option for parameter in program.commands['replay'].params for option in parameter.opts}
    arguments, _ = command(
        launch_file, bag='/b', out='/o', topic='/t', rate='2', loop='3', copy_images='true', namespace='robot'
    )
    assert {argument for argument in arguments if argument.startswith('--')} <= known


def test_it_only_describes() -> None:
    called = {
        node.func.id
        for node in ast.walk(ast.parse(FILE.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {'eval', 'exec', '__import__', 'open'}
