"""ROS parameter files read without ROS, and the settings that a command takes from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vis_ros.cli.setting_options import settings_from
from vis_ros.tracking.params_file import read_params_file


def written(folder: Path, text: str) -> Path:
    path = folder / 'params.yaml'
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ('section', 'node', 'matches'),
    [
        ('/**', '/vis_node', True),
        ('/**', '/robot/vis_node', True),
        ('vis_node', '/vis_node', True),
        ('/vis_node', '/robot/vis_node', False),
        ('/robot/vis_node', '/robot/vis_node', True),
        ('/*/vis_node', '/robot/vis_node', True),
        ('/*', '/robot/vis_node', False),
        ('/**/vis_node', '/a/b/vis_node', True),
        ('/**/vis_node', '/vis_node', True),
        ('/other', '/vis_node', False),
    ],
)
def test_a_section_is_for_the_nodes_that_its_name_matches(
    tmp_path: Path, section: str, node: str, matches: bool
) -> None:
    path = written(tmp_path, f'{section}:\n  ros__parameters:\n    min_hits: 7\n')
    if matches:
        assert read_params_file(path, node) == {'min_hits': 7}
    else:
        with pytest.raises(ValueError, match=f'but none of {node}'):
            read_params_file(path, node)


def test_later_sections_and_options_override_earlier_ones(tmp_path: Path) -> None:
    text = """
/**:
  ros__parameters: {min_hits: 2, max_age_s: 1e1, use_sim_time: true, cameras: [front, left]}
robot:
  vis_node:
    ros__parameters: {min_hits: 9}
vis_node:
  ros__parameters: {min_hits: 3, qos_overrides: {/image: {depth: 1}}}
"""
    path = written(tmp_path, text)
    assert read_params_file(path)['min_hits'] == 3
    settings = settings_from(path, {'new_track_score': 0.4})
    assert (settings.min_hits, settings.max_age_s, settings.new_track_score) == (3, 10.0, 0.4)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'has no ros__parameters'),
        ('a: [', 'is not a YAML file'),
        ('/**: {ros__parameters: {weights: 2026-13-45}}', 'is not a valid YAML file'),
        ('/**: {ros__parameters: }', 'ros__parameters of .* is None, but must be a mapping'),
        ('vis_node: {ros__parameters: {3: []}}', 'parameters that vis_node does not have: 3'),
        ('/vis_node: {ros__parameters: {new_track_scor: 1}}', 'does not have: new_track_scor'),
        ('/**: {ros__parameters: {mask_encoding: jpeg}}', "mask_encoding is 'jpeg', but must be one of"),
        ('/**: {ros__parameters: {min_hits: many}}', "min_hits is 'many', but must be int"),
        (
            'vis_node: {ros__parameters: {min_hits: 1}}\nother: {}\nvis_node: {ros__parameters: {max_age_s: 1}}',
            "'vis_node' is there twice, in lines 1 and 3",
        ),
        (
            '/**:\n  ros__parameters:\n    min_hits: 1\n    min_hits: 2',
            "'min_hits' is there twice, in lines 3 and 4",
        ),
        (
            'robot: {vis_node: {ros__parameters: {min_hits: 1}}}\n/robot/vis_node: {ros__parameters: {min_hits: 2}}',
            'section /robot/vis_node is there twice',
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        settings_from(path, {})
    assert str(path) in str(caught.value)


def test_parameters_of_other_nodes_in_a_shared_section_are_ignored_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '/**: {ros__parameters: {min_hits: 2, use_sim_time: true, frame_rate: 30, base_frame: base_link}}'
    path = written(tmp_path, text)
    assert settings_from(path, {}).min_hits == 2
    note = capsys.readouterr().err
    assert f'{path}: section /** ' in note and 'ignored: frame_rate, base_frame' in note and 'use_sim_time' not in note
