"""The command line as a process, with a small network of random weights made here; and what the doctor finds."""

import json
import os
import re
import subprocess
import sys
from math import nan
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers.python_path import python_path

from vis_ros import __version__
from vis_ros.cli import doctor
from vis_ros.cli.main import main
from vis_ros.networks import named_weights as weights
from vis_ros.networks.masktrack_rcnn import build_network
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.model_file import save_model
from vis_ros.node import image_arrival
from vis_ros.node.image_arrival import ImageArrival
from vis_ros.ros import shared_memory

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A network that finds something everywhere."""
    torch.manual_seed(0)
    config = ModelConfig(
        name='random',
        class_names=('thing', 'other'),
        backbone='tf_efficientnet_lite0',
        input_height=96,
        input_width=128,
        fpn_channels=32,
        box_head_channels=64,
        mask_channels=32,
        mask_layers=1,
        score_threshold=0.05,
    )
    path = tmp_path_factory.mktemp('model') / 'random.safetensors'
    save_model(build_network(config), path)
    return path


@pytest.fixture(scope='module')
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp('recording')
    random = np.random.default_rng(0)
    picture = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
    for index in range(6):
        cv2.imwrite(str(folder / f'{index}.png'), np.roll(picture, 4 * index, axis=1))
    return folder


def run(*arguments, **environment):
    command = [sys.executable, '-m', 'vis_ros.cli', *map(str, arguments)]
    variables = {**os.environ, 'PYTHONPATH': python_path(ROOT), 'COLUMNS': '200', 'NO_COLOR': '1', **environment}
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_version_and_help():
    assert run('--version').stdout == f'vis_ros {__version__}\n'
    text = run('--help').stdout
    for command in ('demo', 'replay', 'evaluate', 'data', 'train', 'weights', 'doctor'):
        assert re.search(rf'\b{command}\b', text)


def test_replay_writes_its_files_the_same_twice_and_prints_a_summary(model, frames, tmp_path):
    for out in ('a', 'b'):
        result = run('replay', frames, '--weights', model, '--out', tmp_path / out, '--codec', 'mp4v', '--stride', '2')
        assert result.returncode == 0, result.stderr
    assert re.search(r'images +│ 3 ', result.stdout) and 'mp4v: MPEG-4' in result.stdout
    files = [path.relative_to(tmp_path / 'a') for path in sorted((tmp_path / 'a').rglob('*')) if path.is_file()]
    assert [path.as_posix() for path in files] == [
        '.vis_ros', 'bag/bag.mcap', 'bag/metadata.yaml', 'contact_sheet.png', 'overlay.mp4', 'results.json',
        'results.jsonl', 'run.json',
    ]  # fmt: skip
    runs = [json.loads((tmp_path / out / 'run.json').read_text()) for out in ('a', 'b')]
    assert all(run.pop('date') for run in runs) and runs[0] == runs[1]
    for file in files[:-1]:
        assert (tmp_path / 'a' / file).read_bytes() == (tmp_path / 'b' / file).read_bytes(), file
    lines = (tmp_path / 'a' / 'results.jsonl').read_bytes()
    assert [json.loads(line)['name'] for line in lines.splitlines()] == ['0.png', '2.png', '4.png']
    assert json.loads((tmp_path / 'a' / 'run.json').read_text())['source'] == str(frames)


def test_replay_options_reach_the_engine(model, frames, tmp_path):
    counts = []
    for threshold in ('0.0001', '1'):
        options = ('--score-threshold', threshold, '--association', 'paper', '--codec', 'mp4v', '--max-frames', '1')
        result = run('replay', frames, '--weights', model, '--out', tmp_path / threshold, *options)
        assert result.returncode == 0, result.stderr
        (record,) = map(json.loads, (tmp_path / threshold / 'results.jsonl').read_text().splitlines())
        counts.append(len(record['instances']))
    assert counts[0] > 0 == counts[1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['replay', 'nowhere.mp4'], 'there is no file or folder nowhere.mp4'),
        (['replay', '{frames}', '--weights', 'nowhere.safetensors'], 'vis-ros weights fetch NAME'),
        (['replay', '{frames}', '--weights', 'coco_r50'], 'vis-ros weights fetch coco_r50'),
        (['replay', '{frames}', '--weights', '{model}', '--model', 'yolo'], "model is 'yolo', but must be one of"),
        (
            ['replay', '{frames}', '--association', 'best'],
            "association is 'best', but must be one of 'one_to_one'",
        ),
        (['replay', '{frames}', '--weights', '{model}', '--codec', 'none'], "--codec 'none' is not one of auto"),
        (['weights', 'fetch', 'coco'], "there are no weights 'coco'; known names are demo"),
        (['weights', 'convert', 'nowhere.pth'], 'nowhere.pth'),
        (['train', 'nowhere.yaml'], 'nowhere.yaml'),
    ],
)
def test_what_a_person_can_mend_is_one_message_and_exit_code_1(
    arguments, message, frames, model, tmp_path, monkeypatch, capsys
):
    filled = [argument.format(frames=frames, model=model) for argument in arguments]
    out = ['--out', str(tmp_path / 'out')] if arguments[0] == 'replay' else []
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(sys, 'argv', ['vis-ros', *filled, *out])
    with pytest.raises(SystemExit) as end:
        main()
    error = capsys.readouterr().err
    assert end.value.code == 1 and error.startswith('vis-ros: ') and message in error


def test_debug_shows_the_traceback():
    result = run('--debug', 'replay', 'nowhere.mp4')
    assert result.returncode == 1
    assert 'Traceback' in result.stderr and 'FileNotFoundError' in result.stderr


def test_an_option_out_of_range_is_a_usage_error(frames):
    result = run('replay', frames, '--stride', '0')
    assert result.returncode == 2 and '--stride' in result.stderr


def test_weights_list_names_every_row_and_says_what_is_here(tmp_path):
    (tmp_path / 'vis_ros').mkdir()
    (tmp_path / 'vis_ros' / 'coco_r50.safetensors').write_bytes(bytes(3_000_000))
    text = run('weights', 'list', XDG_CACHE_HOME=str(tmp_path)).stdout
    for name in weights.WEIGHTS:
        assert name in text
    assert re.search(r'coco_r50 .*3 MB', text) and not re.search(r'youtubevis2019_r50 .* MB', text)


# --- doctor -----------------------------------------------------------------------------------------------------------


ARRIVED, LOST = ImageArrival(30, 30, 9.0, 'shared memory', ''), ImageArrival(30, 2, 9.0, 'the network stack', '')


@pytest.fixture
def arrivals(monkeypatch):
    """What becomes of the images that a driver without and with the profile sends; without this, processes find out."""
    found = {False: ARRIVED, True: ARRIVED}
    monkeypatch.setattr(image_arrival, 'measure_arrival', lambda camera_has_profile: found[camera_has_profile])
    return found


def checks_of(subject):
    return [check for check in doctor.run_checks() if check.subject.startswith(subject)]


def test_the_doctor_finds_what_is_installed_here(model, monkeypatch, arrivals):
    monkeypatch.setattr(doctor, 'WEIGHTS', {'mine': weights.NamedWeights('for the test', url='somewhere')})
    monkeypatch.setattr(doctor, 'path_of', lambda name: model)
    monkeypatch.setenv('XDG_CACHE_HOME', str(model.parent))
    found = {check.subject: check for check in doctor.run_checks()}
    for subject, version in (('numpy', np.__version__), ('cv2', cv2.__version__), ('torch', torch.__version__)):
        assert found[subject].state == 'good' and found[subject].value == str(version)
    assert found['rclpy'].state == found['vis_ros.msg'].state == 'good'
    assert found['openvino'].state == 'good'
    assert re.search(r'random.*M parameters, 2 classes; runs on OpenVINO .* ms per image', found['weights mine'].value)


def test_the_doctor_says_what_is_missing_and_what_to_do(monkeypatch, arrivals):
    for module in ('torch', 'openvino', 'vis_ros.msg'):
        monkeypatch.setitem(sys.modules, module, None)  # its import fails
    monkeypatch.setattr(doctor, 'WEIGHTS', {})
    found = {check.subject: check for check in doctor.run_checks()}
    assert found['torch'].state == 'absent' and 'pip install torch torchvision timm' in found['torch'].hint
    assert found['openvino'].state == 'bad' and 'pip install openvino' in found['openvino'].hint
    assert found['vis_ros.msg'].state == 'bad' and 'colcon build' in found['vis_ros.msg'].hint
    assert found['numpy'].state == 'good', 'the other checks are made all the same'


def test_the_doctor_tries_tensorrt_only_where_there_is_a_gpu(tmp_path, monkeypatch, arrivals):
    """Without one it can end the process; and its loader raises more than ImportError."""
    (tmp_path / 'tensorrt.py').write_text('raise OSError("libnvinfer.so.10: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, 'WEIGHTS', {})
    found = {check.subject: check for check in doctor.run_checks()}
    assert found['tensorrt'].value == 'unknown version, not loaded because there is no GPU'
    monkeypatch.setattr(doctor, 'nvidia_gpus', lambda: ('Fake GPU',))
    found = {check.subject: check for check in doctor.run_checks()}
    assert found['tensorrt'].state == 'absent' and 'cannot be imported: libnvinfer.so.10' in found['tensorrt'].value
    assert 'tensorrt_rtx_bindings' in found and 'packages' not in found


def test_the_doctor_tells_damaged_and_missing_weights(tmp_path, monkeypatch, arrivals):
    damaged = tmp_path / 'damaged.safetensors'
    damaged.write_bytes(b'damaged')
    rows = {'fetched': weights.NamedWeights('', url='somewhere'), 'packaged': weights.NamedWeights('')}
    monkeypatch.setattr(doctor, 'WEIGHTS', rows)
    monkeypatch.setattr(doctor, 'path_of', {'fetched': damaged, 'packaged': tmp_path / 'nowhere'}.get)
    fetched, packaged = checks_of('weights')
    assert fetched.state == 'bad' and f'delete {damaged}' in fetched.hint
    assert packaged.state == 'bad' and 'reinstall vis_ros' in packaged.hint


@pytest.mark.parametrize(('free', 'state'), [(10, 'weak'), (60, 'good')])
def test_little_shared_memory_is_a_hint(free, state, monkeypatch, arrivals):
    monkeypatch.setattr(doctor, 'WEIGHTS', {})
    monkeypatch.setattr(shared_memory.shutil, 'disk_usage', lambda folder: SimpleNamespace(free=free << 20))
    (check,) = checks_of('shared memory')
    assert check.state == state and '--shm-size' in check.hint


def test_the_doctor_says_whether_images_arrive_and_what_to_do(monkeypatch, arrivals):
    monkeypatch.setattr(doctor, 'WEIGHTS', {})
    (check,) = checks_of('images')
    assert check.state == 'good' and 'over shared memory, 9 ms' in check.value and not check.hint
    arrivals[False] = LOST
    (check,) = checks_of('images')
    assert check.state == 'weak' and '2 of 30' in check.value and '30 of 30' in check.value
    assert 'export FAST' in check.hint
    arrivals[True] = LOST
    (check,) = checks_of('images')
    assert check.state == 'weak' and '30 of 30' not in check.value and check.hint == doctor.transport.advice()
    arrivals[True] = ImageArrival(0, 0, nan, 'unknown', '')
    (check,) = checks_of('images')
    assert check.state == 'weak' and 'multicast' in check.hint


def test_what_the_doctor_advises_can_be_copied(monkeypatch, capsys):
    """A table of 80 columns would break a long line into pieces."""
    advice = f'before you start the camera driver: export PROFILE={"/a/long/path" * 20}/profile.xml'
    monkeypatch.setattr(doctor, 'run_checks', lambda: [doctor.Check('images', 'weak', 'few arrive', advice)])
    doctor.doctor()
    assert f'\nimages: {advice}\n' in capsys.readouterr().out


@pytest.mark.parametrize(('rows', 'code'), [({}, 0), ({'packaged': weights.NamedWeights('')}, 1)])
def test_the_exit_code_of_the_doctor_says_whether_something_essential_is_missing(
    tmp_path, monkeypatch, capsys, rows, code
):
    monkeypatch.setattr(doctor, 'WEIGHTS', rows)
    monkeypatch.setattr(doctor, 'path_of', lambda name: tmp_path / 'nowhere')
    monkeypatch.setattr(sys, 'argv', ['vis-ros', 'doctor'])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    assert ('missing' in capsys.readouterr().out) == bool(code)
