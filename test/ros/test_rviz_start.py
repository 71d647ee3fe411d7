"""The executable `rviz`: it waits for the first image and starts RViz in its frame."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.processes import Process
from sensor_msgs.msg import CompressedImage, Image

from vis_ros.node import rviz_start

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """An installation whose rviz2 prints its arguments."""
    program = tmp_path / 'prefix' / 'lib' / 'rviz2' / 'rviz2'
    program.parent.mkdir(parents=True)
    program.write_text(f'#!{sys.executable}\nimport sys\nprint(*sys.argv[1:])\n')
    program.chmod(0o755)
    index = tmp_path / 'prefix' / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'rviz2').touch()
    return tmp_path / 'prefix'


@pytest.mark.parametrize(('kind', 'topic'), [(Image, '/camera/image'), (CompressedImage, '/camera/image/compressed')])
def test_rviz_starts_in_the_frame_of_the_camera(graph: Any, prefix: Path, kind: type, topic: str) -> None:
    config = prefix / 'vis.rviz'
    config.write_bytes((ROOT / 'config' / 'vis.rviz').read_bytes())
    publisher = graph.node.create_publisher(kind, topic, 1)
    nowhere, message = kind(), kind()
    message.header.frame_id = 'front_optical_frame'
    process = Process(
        ['-c', 'from vis_ros.node.rviz_start import main; main()', str(config), topic],
        *('-p', 'use_sim_time:=true'),
        AMENT_PREFIX_PATH=f'{prefix}:{os.environ["AMENT_PREFIX_PATH"]}',
    )
    while not process.has_ended:
        publisher.publish(nowhere)  # without a frame_id, as some drivers send
        publisher.publish(message)
        graph.spin_for(0.1)
    assert process.end() == (0, f'-d {config} --ros-args -p use_sim_time:=true\n')
    manager = yaml.safe_load(config.read_text())['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'] == 'front_optical_frame'
    assert {each['Name']: each['Enabled'] for each in manager['Displays']}['Positions']


def test_without_an_image_there_is_no_frame() -> None:
    assert rviz_start.frame_of('/nothing', 0.2) == ''
