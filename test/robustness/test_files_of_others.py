"""What is not ours is never touched: the folders that commands write into, and other files that are no ours."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from helpers.rectangles import RED, RectangleEngine, draw

from vis_ros.claim import MARKER, claim
from vis_ros.cli import main
from vis_ros.instances import Instances
from vis_ros.networks.checkpoint_file import read_checkpoint
from vis_ros.networks.model_config import ModelConfig
from vis_ros.networks.named_weights import _NoDowngrade
from vis_ros.recordings.opening import open_recording, open_recordings
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.replay.offline.results_json import ResultsJson
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings
from vis_ros.visualization import identity_color

OWN = ('bag/drive.mcap', 'bag/metadata.yaml', 'results.json', 'run.json', 'instances.json', 'comparison.json')


@pytest.fixture
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp('frames')
    for index in range(3):
        cv2.imwrite(str(folder / f'{index}.png'), draw((index, 5, index + 10, 15, RED)))
    return folder


def run(source, out):
    return replay(open_recordings(source), Model(Settings(), engine_factory=RectangleEngine), out, codecs=('mp4v',))


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture
def own(tmp_path):
    """A folder with files of the user whose names are those that commands write."""
    for name in OWN:
        (tmp_path / 'mine' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'mine' / name).write_text('mine')
    return tmp_path / 'mine'


def test_a_replay_into_a_folder_of_others_touches_nothing(frames, own):
    before = content(own)
    with pytest.raises(FileExistsError, match=r'already holds files that vis-ros did not write.*--out'):
        run(frames, own)
    assert content(own) == before


@pytest.mark.parametrize(
    'arguments',
    [
        ('demo', '--out'),
        ('evaluate', '{truth}', '{truth}', '--out'),
        ('compare-models', '{truth}', '--model', 'first mask', '--out'),
        ('data', 'convert', '{truth}', '--to', 'davis'),
        ('data', 'synth'),
    ],
)
def test_every_command_refuses_a_folder_of_others_in_one_line(arguments, own, tmp_path, monkeypatch, capsys):
    (tmp_path / 'Annotations' / 'a').mkdir(parents=True)
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:20] = 255
    for number in range(2):
        cv2.imwrite(str(tmp_path / 'Annotations' / 'a' / f'{number}.png'), mask)
    before = content(own)
    filled = [each.format(truth=tmp_path / 'Annotations') for each in arguments]
    monkeypatch.setattr(sys, 'argv', ['vis-ros', *filled, str(own)])
    with pytest.raises(SystemExit) as caught:
        main.main()
    error = capsys.readouterr().err
    assert caught.value.code == 1 and error.startswith('vis-ros: ') and error.count('\n') == 1
    assert 'already' in error and content(own) == before


def test_a_run_json_of_others_names_no_files(frames, tmp_path):
    for name in ('other', 'out'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'results.jsonl').write_text('mine')
    (tmp_path / 'out' / MARKER).touch()
    cameras = {'../other': '', str(tmp_path / 'other'): ''}
    (tmp_path / 'out' / 'run.json').write_text(json.dumps({'cameras': cameras}))
    run(frames, tmp_path / 'out')
    assert (tmp_path / 'other' / 'results.jsonl').read_text() == 'mine'


def test_another_run_and_own_files_inside_the_folder_stay(frames, tmp_path):
    videos = tmp_path / 'videos'
    for name in ('a', 'b'):
        (videos / name).mkdir(parents=True)
        cv2.imwrite(str(videos / name / '0.png'), draw())
    run(videos, tmp_path / 'out')
    run(frames, tmp_path / 'out' / 'second')
    (tmp_path / 'out' / 'notes.txt').write_text('mine')
    kept = content(tmp_path / 'out' / 'second')
    run(frames, tmp_path / 'out')
    assert content(tmp_path / 'out' / 'second') == kept and (tmp_path / 'out' / 'notes.txt').exists()
    assert not list((tmp_path / 'out').glob('[ab]/results.jsonl'))
    (tmp_path / 'elsewhere' / 'a').mkdir(parents=True)
    (tmp_path / 'elsewhere' / 'a' / 'overlay.mp4').write_text('mine')
    (tmp_path / 'elsewhere' / MARKER).touch()
    with pytest.raises(FileExistsError, match='elsewhere/a already holds files'):
        run(videos, tmp_path / 'elsewhere')
    assert (tmp_path / 'elsewhere' / 'a' / 'overlay.mp4').read_text() == 'mine'


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / 'out').write_text('mine')
    with pytest.raises(FileExistsError, match='is a file'):
        claim(tmp_path / 'out')


# --- other findings ---------------------------------------------------------------------------------------------------


def instances(*boxes, ids):
    rois = np.array(boxes, np.int32).reshape(-1, 4)
    masks = [np.ones((y1 - y0, x1 - x0), np.uint8) for x0, y0, x1, y1 in rois.tolist()]
    count = len(boxes)
    return Instances(
        image_size=(10, 12), boxes=rois.astype(np.float32), scores=np.linspace(0.5, 0.9, count, dtype=np.float32),
        class_ids=np.zeros(count, int), rois=rois, masks=masks, track_ids=np.array(ids, np.uint32),
    )  # fmt: skip


def test_one_entry_a_frame_where_a_published_rule_gives_one_id_twice(tmp_path):
    first, second = (1, 1, 4, 4), (5, 5, 9, 9)
    with ResultsJson(tmp_path) as results:
        for frame in range(3):
            boxes = (first, second) if frame != 1 else (first,)
            results.add(1, frame, 0, instances(*boxes, ids=[7] * len(boxes)))
        assert not results.write()
    (row,) = json.loads((tmp_path / 'results.json').read_text())
    from pycocotools import mask as coco

    areas = [int(coco.area({**each, 'counts': each['counts'].encode()})) for each in row['segmentations']]
    assert areas == [16, 9, 16], 'the last one counts'
    assert row['score'] == pytest.approx((0.5 + 0.9 + 0.5 + 0.5 + 0.9) / 5)


def test_colors_of_the_first_ids_can_be_told_apart():
    colors = np.array([identity_color(number) for number in range(1, 17)], np.uint8)
    lab = cv2.cvtColor(colors[None], cv2.COLOR_BGR2LAB)[0].astype(float)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 999 * np.eye(16)
    assert distances.min() > 12
    assert min(distances[i, i + 1] for i in range(15)) > 60, 'neighbors differ most'


def test_a_path_with_brackets_is_printed_as_it_is(frames, tmp_path, monkeypatch, capsys):
    folder = tmp_path / 'a[' / 'b] [front]'
    folder.parent.mkdir()
    frames.rename(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('COLUMNS', '300')
    monkeypatch.setattr('vis_ros.tracking.model.load_engine', lambda *arguments, **_: RectangleEngine(*arguments))
    monkeypatch.setattr(sys, 'argv', ['vis-ros', 'replay', 'a[/b] [front]', '--out', 'out[/x]', '--codec', 'mp4v'])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert 'images a[/b] [front]' in output and 'out[/x]' in output


def test_a_replay_that_leaves_something_out_ends_with_status_1(frames, tmp_path, monkeypatch, capsys):
    (frames / 'clip.mp4').touch()
    monkeypatch.setenv('COLUMNS', '300')
    monkeypatch.setattr('vis_ros.tracking.model.load_engine', lambda *arguments, **_: RectangleEngine(*arguments))
    arguments = ['vis-ros', 'replay', str(frames), '--out', str(tmp_path / 'out'), '--codec', 'mp4v']
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 1 and 'also holds clip.mp4' in capsys.readouterr().out
    assert len((tmp_path / 'out' / 'results.jsonl').read_text().splitlines()) == 3


def test_without_a_home_directory(tmp_path):
    code = 'from vis_ros.user_cache import user_cache; p = user_cache("x"); p.mkdir(parents=True); print(p)'
    changed = "import pathlib\ndef home(): raise RuntimeError('no home')\npathlib.Path.home = home\n" + code
    environment = {key: value for key, value in os.environ.items() if key not in ('HOME', 'XDG_CACHE_HOME')}
    done = subprocess.run([sys.executable, '-c', changed], capture_output=True, text=True, env=environment, check=True)
    assert 'vis_ros' in done.stdout and not os.path.exists(done.stdout.strip()), 'it ends with the process'


@pytest.mark.parametrize(
    ('values', 'told'),
    [
        ({'mean': [1.0, 2.0, 3.0, 4.0]}, 'mean is .*expected a list of 3 numbers'),
        ({'mask_threshold': ''}, "mask_threshold is '', expected a number"),
        ({'score_threshold': 'low'}, "score_threshold is 'low', expected a number"),
        ({'max_detections': True}, 'max_detections is True, expected a whole number'),
        ({'anchor_scale': 10**400}, 'expected a number'),
        ({'class_names': 'abc'}, "class_names is 'abc', expected a list of texts"),
    ],
)
def test_a_model_config_has_types(values, told):
    with pytest.raises(ValueError, match=told):
        ModelConfig.from_dict({'name': 'x', 'class_names': ['a'], **values})


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        ('page.pth', b'<!DOCTYPE html>\n<html>', 'an HTML page: the file itself was not downloaded'),
        ('pointer.pth', b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n', 'a Git LFS pointer'),
        ('other.pkl', b'\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94\x8c\x05model\x94', 'a pickle of another program'),
        ('pointer.safetensors', b'version https://git-lfs.github.com/spec/v1\n', 'a Git LFS pointer'),
        ('archive.pth', b'\x1f\x8b\x08\0', 'compressed with gzip'),
    ],
)
def test_files_that_are_no_checkpoints_are_named_without_unsafe_advice(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        read_checkpoint(tmp_path / name)
    assert 'weights_only' not in str(caught.value)


def test_a_redirect_to_an_open_connection_is_refused():
    import urllib.request

    request = urllib.request.Request('https://example.org/a.pth')
    with pytest.raises(OSError, match=r'redirects to http://.*, which is not encrypted'):
        _NoDowngrade().redirect_request(request, None, 302, 'Found', {}, 'http://example.org/a.pth')
    assert _NoDowngrade().redirect_request(request, None, 302, 'Found', {}, 'https://example.org/b.pth')


def test_one_image_is_a_recording(frames):
    assert len(list(open_recording(frames / '0.png'))) == 1
