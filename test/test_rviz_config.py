"""The configuration of RViz for the topics of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vis_ros.ros.rviz_config import image_topics, resolved, rviz_config, with_fixed_frame

TEMPLATE = yaml.safe_load((Path(__file__).resolve().parents[1] / 'config' / 'vis.rviz').read_text())


def topics(config: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Name and topic of each display, and whether it is shown."""
    displays = config['Visualization Manager']['Displays']
    return [(each['Name'], each['Topic']['Value'], each['Enabled']) for each in displays]


def test_one_camera_without_a_name() -> None:
    config = rviz_config(TEMPLATE, '/vis_node', image_topics([''], '/camera/image_raw', '', 'raw'))
    assert topics(config) == [
        ('Overlay', '/vis_node/overlay', True),
        ('Camera', '/camera/image_raw', True),
        ('Classes', '/vis_node/class_image', False),
        ('Positions', '/vis_node/markers', False),
    ]
    assert config['Window Geometry'] == TEMPLATE['Window Geometry']


def test_several_compressed_cameras_in_a_namespace_with_a_fixed_frame() -> None:
    images = image_topics(['front', 'left'], 'image', '/robot/', 'compressed')
    config = with_fixed_frame(rviz_config(TEMPLATE, '/robot/tracker', images), 'front_optical_frame')
    assert topics(config) == [
        ('Overlay front', '/robot/tracker/front/overlay', True),
        ('Camera front', '/robot/front/image/compressed', True),
        ('Classes front', '/robot/tracker/front/class_image', False),
        ('Positions front', '/robot/tracker/front/markers', True),
        ('Overlay left', '/robot/tracker/left/overlay', True),
        ('Camera left', '/robot/left/image/compressed', True),
        ('Classes left', '/robot/tracker/left/class_image', False),
        ('Positions left', '/robot/tracker/left/markers', True),
    ]
    assert config['Visualization Manager']['Global Options']['Fixed Frame'] == 'front_optical_frame'
    assert TEMPLATE['Visualization Manager']['Global Options']['Fixed Frame'] == 'map', 'the template is not changed'


@pytest.mark.parametrize(
    ('namespace', 'name', 'full'),
    [('', 'a', '/a'), ('robot', 'a', '/robot/a'), ('/r/s/', 'a', '/r/s/a'), ('r', '/a', '/a')],
)
def test_names_are_resolved(namespace: str, name: str, full: str) -> None:
    assert resolved(namespace, name) == full
