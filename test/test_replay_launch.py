"""launch/replay.launch.py: what it starts, and that its arguments reach `vis-ros replay-live`."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main
from helpers.launch_files import LaunchConfiguration, called_names, declared_arguments, entities, run_launch_file

from vis_ros.cli.main import app


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return run_launch_file('replay.launch.py', monkeypatch)


def command(launch_file: dict[str, Any], **given: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the program that is started, with launch configurations by value, and the other keywords."""
    context = {name: keywords.get('default_value', '') for name, keywords in declared_arguments(launch_file).items()}
    context |= {'namespace': '', 'node_name': 'vis_node'} | given
    (process,) = launch_file['start_replay'](context)
    return [text(part, context) for part in process.keywords['cmd'][1:]], process.keywords


def text(part: Any, context: dict[str, str]) -> str:
    if isinstance(part, list):
        return ''.join(text(each, context) for each in part)
    return part.perform(context) if isinstance(part, LaunchConfiguration) else part


def test_every_argument_is_described_and_only_the_bag_is_needed(launch_file: dict[str, Any]) -> None:
    declared = declared_arguments(launch_file)
    assert declared.keys() == {'bag', 'out', 'topic', 'rate', 'loop', 'copy_images'}
    assert [name for name, keywords in declared.items() if 'default_value' not in keywords] == ['bag']
    for keywords in declared.values():
        assert keywords['description'].endswith('.')
        assert keywords.get('default_value') in keywords.get('choices', [keywords.get('default_value')])


def test_the_node_is_that_of_the_other_launch_file_on_simulated_time(
    launch_file: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (included,) = entities(launch_file, 'IncludeLaunchDescription')
    given = dict(included.keywords['launch_arguments'])
    assert given['use_sim_time'] == 'true' and set(given) == {'use_sim_time', 'sigterm_timeout', 'sigkill_timeout'}
    (path,) = included.arguments[0].arguments
    assert path.arguments[0][1:] == ['launch', 'vis.launch.py']
    theirs = declared_arguments(run_launch_file('vis.launch.py', monkeypatch)).keys()
    assert {'use_sim_time', 'namespace'} <= theirs and not theirs & declared_arguments(launch_file).keys()


def test_the_arguments_reach_the_command(launch_file: dict[str, Any]) -> None:
    arguments, keywords = command(launch_file, bag='/b')
    assert arguments == ['replay-live', '/b', '--node', '//vis_node', '--rate', '1.0', '--loop', '1']
    assert type(keywords['on_exit']).__name__ == 'Shutdown'
    given = {'out': '/o', 'topic': '/t', 'rate': '2', 'loop': '3', 'copy_images': 'true', 'namespace': 'robot'}
    arguments, _ = command(launch_file, bag='/b', **given)
    assert arguments[3:] == [
        *('/robot/vis_node', '--out', '/o', '--topic', '/t', '--rate', '2', '--loop', '3', '--copy-images'),
    ]


def test_the_command_has_these_options(launch_file: dict[str, Any]) -> None:
    program: Any = typer.main.get_command(app)
    known = {option for parameter in program.commands['replay-live'].params for option in parameter.opts}
    arguments, _ = command(
        launch_file, bag='/b', out='/o', topic='/t', rate='2', loop='3', copy_images='true', namespace='robot'
    )
    assert {argument for argument in arguments if argument.startswith('--')} <= known


def test_it_only_describes() -> None:
    assert not called_names('replay.launch.py') & {'eval', 'exec', '__import__', 'open'}
