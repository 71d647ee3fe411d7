"""The package as a whole: what imports what, what runs without torch, and that what is written twice says the same."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.checkout import ROOT, pyproject, run_python
from helpers.python_path import python_path

import vis_ros

FLOORS = (
    {'vocabulary'},
    {'datasets', 'networks', 'recordings', 'ros', 'synthetic', 'video'},
    {'engines', 'export', 'propagation'},
    {'tracking'},
    {'cli', 'demo', 'evaluation', 'fleet', 'node', 'replay', 'training', 'view'},
)
"""The rooms of the package by floor, from the ground: vocabulary, data, models, tracking, programs. A room imports from
lower floors, and from its own floor as long as no two rooms need each other. The vocabulary is every single file right
below vis_ros/, the masks, the drawing and the generated messages."""

LIVE = {'demo', 'replay', 'view'}
"""What besides `node` may import rclpy: the camera and the recorder of the demo, the live replay and the live view are
ROS nodes."""

ROS_PACKAGES = re.compile(r'(rclpy|cv_bridge|.*_msgs|std_srvs|builtin_interfaces|.*_interfaces|ament_index_python)$')


def modules() -> Iterator[tuple[str, Path]]:
    """Every source file, and the file or directory right below vis_ros/ that it belongs to."""
    package = ROOT / 'vis_ros'
    for path in sorted(package.rglob('*.py')):
        yield path.relative_to(package).parts[0].removesuffix('.py'), path


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute here'
            module = node.module or ''
            names |= {f'vis_ros.{alias.name}' for alias in node.names} if module == 'vis_ros' else {module}
    return names


def libraries(path: Path) -> set[str]:
    return {name.split('.')[0] for name in imports(path)}


# --- walls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'module',
    [
        'vis_ros',
        'vis_ros.instances',
        'vis_ros.masks',
        'vis_ros.images',
        'vis_ros.visualization',
        'vis_ros.synthetic.scene',
        'vis_ros.tracking.identity_memory',
        'vis_ros.engines.loading',
        'vis_ros.tracking.detect_and_track',
        'vis_ros.tracking.propagate',
        'vis_ros.tracking.detect_and_propagate',
        'vis_ros.engines.propagation_model',
        'vis_ros.engines.openvino.openvino_parts',
        'vis_ros.propagation.feelvos.propagator',
        'vis_ros.propagation.maskrnn.propagator',
        'vis_ros.propagation.rgmp.propagator',
        'vis_ros.datasets.video',
        'vis_ros.ros.messages',
        'vis_ros.replay.offline.offline_replay',
        'vis_ros.recordings.opening',
        'vis_ros.datasets.open_annotations',
        'vis_ros.cli.main',
    ],
)
def test_importing_loads_neither_torch_nor_ros(module: str) -> None:
    heavy = ('torch', 'torchvision', 'timm', 'rclpy', 'std_msgs', 'sensor_msgs', 'builtin_interfaces', 'vis_ros.msg')
    result = run_python(f'import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))')
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_the_node_needs_no_library_of_the_data_tools() -> None:
    tools = ('mcap', 'pycocotools', 'rosbags', 'jinja2')
    result = run_python(f'import sys, vis_ros.node.vis_node; print(*(name for name in {tools} if name in sys.modules))')
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_only_the_node_imports_rclpy() -> None:
    importing = {part for part, path in modules() if 'rclpy' in libraries(path)}
    assert 'node' in importing
    assert importing <= {'node'} | LIVE


def test_torch_stays_in_networks_training_and_its_engine() -> None:
    outside = {
        path.relative_to(ROOT / 'vis_ros').as_posix()
        for part, path in modules()
        if part not in {'export', 'networks', 'propagation', 'training'}
        and libraries(path) & {'timm', 'torch', 'torchvision'}
    }
    assert all(path.startswith('engines/torch/') for path in outside), outside


def test_other_engines_stay_in_their_files() -> None:
    homes = {'openvino': 'engines/openvino/', 'tensorrt': 'engines/tensorrt/', 'cuda': 'engines/tensorrt/'}
    for library, home in homes.items():
        importing = {
            path.relative_to(ROOT / 'vis_ros').as_posix() for _, path in modules() if library in libraries(path)
        }
        assert all(path.startswith(home) for path in importing), f'{library} is imported in {importing}'


def room_of(name: str) -> str:
    """The room of a file or directory right below vis_ros/."""
    is_vocabulary = name in ('masks', 'visualization') or not (ROOT / 'vis_ros' / name / '__init__.py').is_file()
    return 'vocabulary' if is_vocabulary else name


def room_imports() -> Iterator[tuple[str, str, str]]:
    """Room, imported room and the import in words, for every import between two rooms."""
    for part, path in modules():
        for name in imports(path):
            if part != '__init__' and name.startswith('vis_ros.'):
                room, imported = room_of(part), room_of(name.split('.')[1])
                if room != imported:
                    yield room, imported, f'{path.relative_to(ROOT)} imports {name}'


def test_imports_go_down() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    forbidden = []
    for room, imported, text in room_imports():
        assert {room, imported} <= floor.keys(), f'{room} or {imported} has no floor: give it one in FLOORS'
        if floor[imported] > floor[room]:
            forbidden.append(text)
    assert forbidden == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    needs: dict[str, set[str]] = {}
    for room, imported, _ in room_imports():
        needs.setdefault(room, set()).add(imported)
    while free := [room for room in needs if not needs[room] & needs.keys()]:
        for room in free:
            del needs[room]
    assert needs == {}


SYSTEM_FILES = {'config', 'losses', 'network', 'parts', 'propagator'}
"""Files that every folder of a propagation system has."""


def test_names_of_files_and_classes_are_unique() -> None:
    files = [path for _, path in modules() if path.stem not in {'__init__', '__main__', 'main'}]
    stems = [path.stem for path in files if not (path.stem in SYSTEM_FILES and 'propagation' in path.parts)]
    trees = [ast.parse(path.read_text()) for path in files]
    classes = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for names in (stems, classes):
        assert [name for name, count in Counter(names).items() if count > 1] == []


# --- without torch ----------------------------------------------------------------------------------------------------


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """Environment of a process, and of all that it starts, in which torch and its like cannot be imported."""
    folder = tmp_path / 'blocked'
    folder.mkdir()
    blocked = {'torch', 'torchvision', 'timm', 'onnx', 'onnxruntime', 'tensorboard'}
    (folder / 'sitecustomize.py').write_text(f'import sys\nsys.modules |= dict.fromkeys({blocked})\n')
    return os.environ | {
        'PYTHONPATH': python_path(folder, ROOT),
        'XDG_CACHE_HOME': str(tmp_path / 'cache'),
        'COLUMNS': '200',
    }


def vis_ros_command(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'vis_ros.cli', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_a_recording_is_tracked_and_scored_without_torch(without_torch: dict[str, str], tmp_path: Path) -> None:
    made = vis_ros_command(without_torch, 'data', 'synth', tmp_path / 'truth', '--videos', 1, '--frames', 6)
    assert made.returncode == 0, made.stderr
    truth = tmp_path / 'truth' / 'bag'
    tracked = vis_ros_command(without_torch, 'replay', truth, '--out', tmp_path / 'out', '--codec', 'mp4v')
    assert tracked.returncode == 0, tracked.stderr
    run = json.loads((tmp_path / 'out' / 'run.json').read_text())
    assert run['engine'].startswith('OpenVINO')
    scored = vis_ros_command(without_torch, 'evaluate', tmp_path / 'out', truth)
    assert scored.returncode == 0, scored.stderr


@pytest.mark.slow
def test_the_demo_and_its_node_run_without_torch(without_torch: dict[str, str], tmp_path: Path) -> None:
    result = vis_ros_command(without_torch, 'demo', '--frames', 30, '--out', tmp_path / 'demo')
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / 'demo' / 'metrics.json').read_text())
    assert metrics['frames_received'] > 0
    assert metrics['engine']['engine'].startswith('OpenVINO')
    assert metrics['engine']['engine precision'] in ('fp32', 'bf16')


@pytest.mark.parametrize(
    ('command', 'extra'),
    [
        (('train', 'config/train_demo.yaml'), 'train'),
        (('weights', 'convert', 'absent.pth'), 'torch'),
        (('weights', 'fetch', 'coco_r50'), 'torch'),
        (('export', 'demo'), 'export'),
        (('replay', 'absent.mp4', '--engine', 'torch'), 'torch'),
    ],
)
def test_what_needs_torch_says_so(without_torch: dict[str, str], command: tuple[str, ...], extra: str) -> None:
    if command[0] == 'replay':
        picture = Path(without_torch['XDG_CACHE_HOME']).parent / 'pictures' / '0.png'
        picture.parent.mkdir()
        cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
        command = ('replay', str(picture.parent), '--engine', 'torch', '--out', str(picture.parents[1] / 'out'))
    result = vis_ros_command(without_torch, *command)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert 'needs torch, torchvision, timm' in result.stderr
    assert ', which are not installed: pip install' in result.stderr
    assert f'vis_ros with the extra [{extra}]' in result.stderr


# --- without ROS ------------------------------------------------------------------------------------------------------

HIDE_ROS = """
import re, sys

class HiddenRos:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if re.match(PATTERN, name):
            raise ModuleNotFoundError(f'{name} is hidden', name=name)

sys.meta_path.insert(0, HiddenRos)
sys.modules |= {'rclpy': None, 'vis_ros.msg': None}
"""


@pytest.fixture(scope='module')
def without_ros(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process, and of all that it starts, in which no package of ROS can be imported."""
    folder = tmp_path_factory.mktemp('hidden')
    pattern = ROS_PACKAGES.pattern.removesuffix('$') + '|vis_ros[.](msg|srv)$'
    (folder / 'sitecustomize.py').write_text(HIDE_ROS.replace('PATTERN', repr(pattern)))
    return os.environ | {'PYTHONPATH': python_path(folder, ROOT), 'COLUMNS': '200'}


@pytest.mark.slow
def test_a_recording_is_tracked_and_scored_without_ros(without_ros: dict[str, str], tmp_path: Path) -> None:
    truth, out = tmp_path / 'truth' / 'bag', tmp_path / 'out'
    made = vis_ros_command(without_ros, 'data', 'synth', tmp_path / 'truth', '--videos', 1, '--frames', 4)
    assert made.returncode == 0, made.stderr
    tracked = vis_ros_command(without_ros, 'replay', truth, '--out', out, '--codec', 'mp4v')
    assert tracked.returncode == 0, tracked.stderr
    scored = vis_ros_command(without_ros, 'evaluate', out / 'bag', truth, '--out', tmp_path / 'scores')
    assert scored.returncode == 0, scored.stderr
    assert (tmp_path / 'scores' / 'evaluation.json').is_file()


@pytest.mark.parametrize(
    ('command', 'subject'), [('node', 'the node'), ('demo', 'the demo'), ('replay-live', 'a live replay')]
)
def test_what_needs_ros_says_so(without_ros: dict[str, str], command: str, subject: str) -> None:
    arguments = ['absent.mp4'] if command == 'replay-live' else []
    result = vis_ros_command(without_ros, command, *arguments)
    assert result.returncode == 1
    assert f'{subject} needs ROS 2 (rclpy), which is not found' in result.stderr
    assert 'vis_ros with the extra [ros]' in result.stderr
    assert 'Traceback' not in result.stderr


# --- dependencies -----------------------------------------------------------------------------------------------------


def test_every_imported_library_is_declared() -> None:
    project = pyproject()['project']
    extras = project['optional-dependencies']
    requirements = [*project['dependencies'], *(line for name in extras if name != 'test' for line in extras[name])]
    declared = {re.split(r'[<>=!;\[ ]', requirement)[0].lower() for requirement in requirements}
    other_names = {'cuda': 'cuda-python', 'cv2': 'opencv-python-headless', 'rerun': 'rerun-sdk', 'yaml': 'pyyaml'}
    imported = {library for _, path in modules() for library in libraries(path) if not ROS_PACKAGES.match(library)}
    imported -= set(sys.stdlib_module_names) | {'vis_ros'}
    assert {'cv2', 'numpy', 'openvino', 'torch'} <= imported
    assert {other_names.get(library, library) for library in imported} <= declared


def test_every_imported_ros_package_is_in_package_xml() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {element.text for kind in ('depend', 'exec_depend') for element in package.iter(kind)}
    imported = {library for _, path in modules() for library in libraries(path) if ROS_PACKAGES.match(library)}
    imported |= {library for library in libraries(ROOT / 'launch' / 'vis.launch.py') if library.startswith('launch')}
    assert {'rclpy', 'sensor_msgs', 'launch_ros'} <= imported
    assert imported <= declared


def test_one_version() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('version') == vis_ros.__version__
    assert pyproject()['tool']['setuptools']['dynamic']['version'] == {'attr': 'vis_ros.__version__'}
    newest = re.search(r'^(\d+\.\d+\.\d+) \(.+\)\n-+$', (ROOT / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == vis_ros.__version__
