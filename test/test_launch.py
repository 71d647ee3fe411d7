"""launch/vis.launch.py: every setting is an argument, and what was given reaches the node."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from helpers.launch_files import called_names, declared_arguments, run_launch_file

from vis_ros.tracking.settings import NodeSettings, setting

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {
    *('image', 'depth_image', 'camera_info', 'params_file', 'namespace', 'use_sim_time'),
    *('respawn', 'log_level', 'rviz', 'fixed_frame', 'node_name'),
}


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return run_launch_file('vis.launch.py', monkeypatch)


@pytest.fixture
def context(launch_file: dict[str, Any]) -> dict[str, str]:
    """The defaults of the arguments."""
    defaults = {name: keywords['default_value'] for name, keywords in declared_arguments(launch_file).items()}
    return defaults | {'params_file': str(ROOT / 'config' / 'vis.yaml')}


def start(launch_file: dict[str, Any], context: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """The node that is started, and the parameters it is given beside the parameter file."""
    assert launch_file['start_rviz'](context) == []
    (node,) = launch_file['start_node'](context)
    file, given = node.keywords['parameters']
    assert file == context['params_file']
    return node, {name: (value.arguments[0], value.keywords['value_type']) for name, value in given.items()}


def test_every_setting_is_an_argument_with_its_description_and_choices(launch_file: dict[str, Any]) -> None:
    declared = declared_arguments(launch_file)
    assert declared.keys() == OTHERS | {item.name for item in fields(NodeSettings)}
    for item in fields(NodeSettings):
        text = declared[item.name]['description']
        assert setting(item).description in text and all(choice in text for choice in setting(item).choices)
        assert declared[item.name]['default_value'] == '', 'the parameter file decides'
    for keywords in declared.values():
        assert keywords['description'].endswith('.')
        assert keywords['default_value'] in keywords.get('choices', [keywords['default_value']])


def test_without_arguments_the_parameter_file_decides(launch_file: dict[str, Any], context: dict[str, str]) -> None:
    node, given = start(launch_file, context)
    assert (node.keywords['package'], node.keywords['executable']) == ('vis_ros', 'vis_node')
    assert given == {} and node.keywords['respawn'] is False
    node, given = start(launch_file, context | {'respawn': 'true', 'use_sim_time': 'true'})
    assert node.keywords['respawn'] is True and given == {'use_sim_time': (True, bool)}


@pytest.mark.parametrize(
    ('name', 'text', 'value', 'kind'),
    [
        ('weights', '1', '1', str),
        ('threads', '2', 2, int),
        ('score_threshold', '1', 1.0, float),
        ('new_track_score', '0.25', 0.25, float),
        ('autostart', 'False', False, bool),
        ('bridge', 'feelvos', 'feelvos', str),
        ('cameras', '[front, left]', ['front', 'left'], list[str]),
    ],
)
def test_arguments_reach_the_node_with_the_type_of_the_setting(
    launch_file: dict[str, Any], context: dict[str, str], name: str, text: str, value: Any, kind: Any
) -> None:
    _, given = start(launch_file, context | {name: text})
    assert given == {name: (value, kind)} and type(given[name][0]) is type(value)


@pytest.mark.parametrize(
    ('name', 'text', 'allowed'),
    [
        ('score_threshold', '2', 'from 0.0 to 1.0'),
        ('threads', 'many', 'must be int'),
        ('model', 'yolo', "'mask_rcnn'"),
        ('autostart', 'maybe', 'must be bool'),
        ('cameras', 'front', 'a list of str'),
        ('cameras', '[front', 'a list of str'),
        ('device', 'gpu', 'cuda:N'),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_argument_and_what_is_allowed(
    launch_file: dict[str, Any], context: dict[str, str], name: str, text: str, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f'launch argument {name} ') as error:
        start(launch_file, context | {name: text})
    assert allowed in str(error.value)


def test_a_missing_parameter_file_is_an_error(launch_file: dict[str, Any], context: dict[str, str]) -> None:
    with pytest.raises(FileNotFoundError, match='/nowhere/vis'):
        launch_file['start_node'](context | {'params_file': '/nowhere/vis.yaml'})


@pytest.mark.parametrize(
    ('argument', 'hint'),
    [('score_treshold:=0.5', 'did you mean score_threshold'), ('foo:=1', 'see --show-args'), ('bag:=x', 'bag')],
)
def test_an_unknown_argument_is_an_error(
    launch_file: dict[str, Any], argument: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = SimpleNamespace(argv=['score_threshold:=0.5', 'sigterm_timeout:=3', argument])
    monkeypatch.setattr(sys, 'argv', ['ros2', 'launch', 'vis_ros', 'vis.launch.py', *given.argv])
    with pytest.raises(ValueError, match=argument.partition(':')[0]) as error:
        launch_file['check_arguments'](given)
    assert hint in str(error.value)
    monkeypatch.setattr(sys, 'argv', ['ros2', 'launch', 'my_robot', 'robot.launch.py', *given.argv])
    launch_file['check_arguments'](given)


def test_replay_may_be_given_its_own_arguments(launch_file: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    declared = declared_arguments(run_launch_file('replay.launch.py', monkeypatch))
    assert launch_file['OF_REPLAY'] == declared.keys()
    monkeypatch.setattr(sys, 'argv', ['ros2', 'launch', 'vis_ros', 'replay.launch.py', 'bag:=x'])
    launch_file['check_arguments'](SimpleNamespace(argv=['bag:=x', 'weights:=demo']))


def test_rviz_without_rviz2_says_what_to_install(
    launch_file: dict[str, Any], context: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/nowhere')
    with pytest.raises(RuntimeError, match='rviz:=true needs rviz2'):
        launch_file['start_rviz'](context | {'rviz': 'true'})


def test_rviz_takes_the_fixed_frame_of_the_camera_unless_one_is_given(
    launch_file: dict[str, Any], context: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = launch_file['start_rviz'].__globals__
    monkeypatch.setitem(names, 'get_package_prefix', lambda _: '/opt/ros')
    folder = SimpleNamespace(perform=lambda _: str(ROOT / 'config' / 'vis.rviz'))
    monkeypatch.setitem(names, 'share', lambda *_: folder)
    wanted = context | {'rviz': 'true', 'image': '/camera/image_raw'}
    (waiting,) = launch_file['start_rviz'](wanted)
    assert (waiting.keywords['package'], waiting.keywords['executable']) == ('vis_ros', 'rviz')
    assert waiting.keywords['arguments'][1] == '/camera/image_raw'
    (framed,) = launch_file['start_rviz'](wanted | {'fixed_frame': 'map'})
    assert (framed.keywords['package'], framed.keywords['arguments'][0]) == ('rviz2', '-d')
    written = yaml.safe_load(Path(framed.keywords['arguments'][1]).read_text())
    assert written['Visualization Manager']['Global Options']['Fixed Frame'] == 'map'


def test_it_only_describes() -> None:
    assert not called_names('vis.launch.py') & {'eval', 'exec', '__import__', 'open'}
