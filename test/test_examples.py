"""The programs in examples/ run as they are, on data that is made here."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.processes import RECTANGLE_NODE, Process

from vis_ros.ros.isolation import free_domain

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / 'examples'
LONGEST = 39
FRAMES = 12


def load(name):
    """An example as a module, without running it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    """A labeled synthetic video: JPEGImages/scene_0003/*.jpg and instances.json."""
    folder = tmp_path_factory.mktemp('scene')
    command = [sys.executable, '-m', 'vis_ros.cli', 'data', 'synth', str(folder), '--seed', '3', '--videos', '1']
    size = ['--frames', str(FRAMES), '--height', '180', '--width', '320']
    subprocess.run([*command, *size], check=True, cwd=ROOT, capture_output=True, timeout=120)
    return folder


def test_each_example_is_tested_and_fits_on_a_page():
    tested = {name.removeprefix('test_') for name in globals() if name.startswith('test_')}
    for path in EXAMPLES.glob('*.py'):
        assert path.stem in tested
        assert len(path.read_text().splitlines()) <= LONGEST, path
        assert f'python examples/{path.name}' in path.read_text(), f'{path} does not say how to run it'


def test_track_a_video(scene, tmp_path, capsys):
    load('track_a_video').main(str(scene / 'JPEGImages' / 'scene_0003'), str(tmp_path / 'pictures'))
    pictures = sorted((tmp_path / 'pictures').iterdir())
    assert len(pictures) == FRAMES
    output = capsys.readouterr().out
    assert output.count(' s\n') == FRAMES
    assert re.search(r'^1 shape 0\.\d\d', output, re.MULTILINE)
    source = cv2.imread(str(scene / 'JPEGImages' / 'scene_0003' / '00011.jpg'))
    assert np.abs(cv2.imread(str(pictures[-1])).astype(int) - source).max() > 100, 'nothing is drawn'


def test_subscribe_and_decode(tmp_path):
    """Against the real node, with a detector of colored rectangles, and a camera: three processes."""
    environment = {'ROS_DOMAIN_ID': str(free_domain()), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
        environment['AMENT_PREFIX_PATH'] = sys.prefix
    camera = [str(ROOT / 'test' / 'helpers' / 'camera_process.py')]
    log = tmp_path / 'log.txt'
    processes = []
    try:
        processes.append(Process(RECTANGLE_NODE, '-r', 'image:=/camera/image', **environment))
        processes.append(Process(camera, **environment))
        variables = os.environ | environment | {'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
        with log.open('wb') as file:
            subscriber = subprocess.Popen(
                [sys.executable, str(EXAMPLES / 'subscribe_and_decode.py')], env=variables, stdout=file, stderr=file
            )
        try:
            end = time.monotonic() + 60
            while 'pixels' not in log.read_text():
                assert subscriber.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.2)
        finally:
            subscriber.terminate()
            subscriber.wait(20)
    finally:
        for process in processes:
            process.stop()
    assert re.search(r'\w+ \d+/1: 1600 pixels from \(300, 200\)', log.read_text())
    assert subscriber.returncode in (0, -15) and 'Traceback' not in log.read_text()


@pytest.mark.slow
def test_prompt_an_object(scene, capsys):
    pytest.importorskip('torch')
    x, y, width, height = largest_box(scene)
    recording = str(scene / 'JPEGImages' / 'scene_0003')
    load('prompt_an_object').main(recording, *map(str, (x, y, x + width, y + height)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('following track 1 from ')
    found = [line for line in lines[1:] if re.search(r' 1 (shape|object) 0?\.?\d', line)]
    assert len(found) == len(lines) - 1 == FRAMES - 1


def test_prompt_that_is_not_possible(scene):
    pytest.importorskip('torch')
    with pytest.raises(SystemExit, match='not inside the image'):
        load('prompt_an_object').main(str(scene / 'JPEGImages' / 'scene_0003'), '0', '0', '9999', '50')


def test_evaluate_a_folder(scene, capsys):
    """The labels themselves are perfect results."""
    labels = str(scene / 'instances.json')
    load('evaluate_a_folder').main(labels, labels)
    output = capsys.readouterr().out
    assert "'HOTA': 1.0" in output and "'IDSW': 0" in output
    assert f'{FRAMES} frames of 1 video' in output
    assert 'scene_0003: J 1.000, 0 id switches' in output


@pytest.mark.slow
def test_compare_two_settings(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recording, labels = str(scene / 'JPEGImages'), str(scene / 'instances.json')
    load('compare_two_settings').main(recording, labels, 'new_track_score', '0.6', '1')
    output = capsys.readouterr().out
    found = re.search(r'^J: (\S+) with 0\.6, (\S+) with 1$', output, re.MULTILINE)
    assert found and float(found[1]) > 0.3 and float(found[2]) == 0, 'no detection scores 1'
    assert 'is kept by 0.6 only' in output and 'is kept by 1 only' not in output


@pytest.mark.slow
def test_finetune_on_own_images(tmp_path, capsys):
    pytest.importorskip('torch')
    images, labels = write_images(tmp_path)
    load('finetune_on_own_images').main(str(images), str(labels), str(tmp_path / 'run'), '1')
    assert 'mine_best.safetensors knows mug, disc' in ' '.join(capsys.readouterr().out.split())
    assert (tmp_path / 'run' / 'mine_best.safetensors').is_file()


def largest_box(scene):
    """x, y, width, height of the object that is largest in the first frame and is there to the end."""
    tracks = json.loads((scene / 'instances.json').read_text())['annotations']
    return max((each['bboxes'][0] for each in tracks if all(each['bboxes'])), key=lambda box: box[2] * box[3])


def write_images(folder):
    """Twelve images with two rectangles each, labeled as COCO JSON."""
    random = np.random.default_rng(0)
    records, annotations = [], []
    (folder / 'images').mkdir()
    for number in range(1, 13):
        image = random.integers(90, 130, (120, 160, 3)).astype(np.uint8)
        for category, (x, y) in ((1, (15, 20)), (2, (90, 50))):
            cv2.rectangle(image, (x, y), (x + 49, y + 39), (40 * number % 255, 200, 80 * category), -1)
            polygon = [x, y, x + 50, y, x + 50, y + 40, x, y + 40]
            annotations.append(
                {'id': 2 * number + category, 'image_id': number, 'category_id': category, 'iscrowd': 0}
                | {'bbox': [x, y, 50, 40], 'area': 2000, 'segmentation': [polygon]}
            )
        cv2.imwrite(str(folder / 'images' / f'{number}.jpg'), image)
        records.append({'id': number, 'file_name': f'{number}.jpg', 'width': 160, 'height': 120})
    categories = [{'id': 1, 'name': 'mug'}, {'id': 2, 'name': 'disc'}]
    labels = folder / 'annotations.json'
    labels.write_text(json.dumps({'images': records, 'annotations': annotations, 'categories': categories}))
    return folder / 'images', labels
