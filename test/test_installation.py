"""The package as it is installed, by pip or by colcon: its messages, files, executables and transport profile."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shutil
from pathlib import Path

import pytest
from helpers.checkout import ROOT, pyproject, run_python

from vis_ros import instances
from vis_ros.masks import ENCODINGS
from vis_ros.ros.share import share_file

# --- messages ---------------------------------------------------------------------------------------------------------

INSTANCE_MASK = {
    'track_id': 'uint32',
    'state': 'uint8',
    'hits': 'uint32',
    'first_seen': 'builtin_interfaces/Time',
    'class_id': 'uint16',
    'class_name': 'string',
    'score': 'float',
    'match_score': 'float',
    'roi': 'sensor_msgs/RegionOfInterest',
    'area': 'uint32',
    'centroid_x': 'float',
    'centroid_y': 'float',
    'position': 'geometry_msgs/Point',
    'mask_encoding': 'uint8',
    'mask_data': 'sequence<uint8>',
}
INSTANCE_MASK_ARRAY = {
    'header': 'std_msgs/Header',
    'image_height': 'uint32',
    'image_width': 'uint32',
    'epoch': 'uint32',
    'sequence': 'uint32',
    'dropped': 'uint32',
    'latency': 'builtin_interfaces/Duration',
    'model': 'string',
    'instances': 'sequence<vis_ros/InstanceMask>',
}


def test_messages_have_the_designed_fields() -> None:
    from vis_ros.msg import InstanceMask, InstanceMaskArray

    assert list(InstanceMask.get_fields_and_field_types().items()) == list(INSTANCE_MASK.items())
    assert list(InstanceMaskArray.get_fields_and_field_types().items()) == list(INSTANCE_MASK_ARRAY.items())


def test_message_constants_equal_those_of_the_library() -> None:
    from vis_ros.msg import InstanceMask

    assert (InstanceMask.TENTATIVE, InstanceMask.CONFIRMED, InstanceMask.LOST) == (0, 1, 2)
    assert (instances.TENTATIVE, instances.CONFIRMED) == (InstanceMask.TENTATIVE, InstanceMask.CONFIRMED)
    for name, number in ENCODINGS.items():
        assert getattr(InstanceMask, f'MASK_{name.upper()}') == number


def test_a_subscriber_needs_nothing_but_the_message() -> None:
    result = run_python('from vis_ros.msg import InstanceMaskArray; print(InstanceMaskArray().instances)')
    assert result.stdout.split() == ['[]'], result.stderr


# --- shared files -----------------------------------------------------------------------------------------------------


def test_share_file_in_a_checkout() -> None:
    checkout = runpy.run_path(str(ROOT / 'vis_ros' / 'ros' / 'share.py'))
    assert checkout['share_file']('config/vis.yaml') == ROOT / 'config' / 'vis.yaml'


@pytest.mark.parametrize('layout', ['lib/python3.12/site-packages', 'local/lib/python3.10/dist-packages'])
def test_share_file_under_an_install_prefix(tmp_path: Path, layout: str) -> None:
    package = tmp_path / layout / 'vis_ros'
    config = tmp_path / 'share' / 'vis_ros' / 'config' / 'vis.yaml'
    for directory in (package / 'ros', config.parent):
        directory.mkdir(parents=True)
    shutil.copy(ROOT / 'vis_ros' / 'ros' / 'share.py', package / 'ros')
    config.touch()
    installed = runpy.run_path(str(package / 'ros' / 'share.py'))
    assert installed['share_file']('config/vis.yaml') == config


def test_share_file_names_what_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match=r'config/nowhere\.yaml'):
        share_file('config/nowhere.yaml')


def test_installation_is_complete() -> None:
    """Of pip or colcon, whichever these tests see."""
    from vis_ros import msg

    package = Path(msg.__file__).parents[1]
    prefix = package.parents[3]
    share = prefix / 'share' / 'vis_ros'
    modules_and_data = [path for path in (ROOT / 'vis_ros').rglob('*') if path.is_file() and path.suffix != '.pyc']
    wanted = [package / path.relative_to(ROOT / 'vis_ros') for path in modules_and_data]
    wanted += [share / path.relative_to(ROOT) for path in (ROOT / 'config').iterdir()]
    wanted += [share / 'launch' / 'vis.launch.py', share / 'package.xml', package / 'py.typed']
    assert [path for path in wanted if not path.is_file()] == []
    programs = [prefix / 'lib' / 'vis_ros' / name for name in executables()]
    assert [path for path in programs if not os.access(path, os.X_OK)] == []


def executables() -> dict[str, tuple[str, str]]:
    """Name of each executable in lib/vis_ros -> the (module, function) that it calls."""
    text = (ROOT / 'CMakeLists.txt').read_text()
    return {
        name: (module, function)
        for name, module, function in re.findall(r'install_executable\((\w+) (\S+) (\w+)\)', text)
    }


def test_executables_call_functions_that_exist() -> None:
    calls = executables()
    assert calls.keys() == {'rviz', 'vis_node', 'vis_ros'}
    console_scripts = pyproject()['project']['scripts']
    assert console_scripts == {'vis-ros': ':'.join(calls['vis_ros'])}
    for module, function in calls.values():
        assert callable(getattr(importlib.import_module(module), function))
