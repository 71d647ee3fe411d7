"""`vis-ros evaluate` as a process: its tables, its files, and its errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.annotated_memory import box
from helpers.python_path import python_path

from vis_ros.datasets.coco_rle import encode

ROOT = Path(__file__).resolve().parents[1]
SIZE, FRAMES = (60, 80), 10
A, B = (5, 5, 25, 30), (40, 20, 70, 50)


def run(*arguments):
    command = [sys.executable, '-m', 'vis_ros.cli', 'evaluate', *map(str, arguments)]
    variables = {**os.environ, 'PYTHONPATH': python_path(ROOT), 'COLUMNS': '160', 'NO_COLOR': '1'}
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=120)


def said(result):
    return ' '.join(result.stdout.split())


def segmentation(corners):
    code = encode(box(*corners, SIZE))
    return {'size': code['size'], 'counts': code['counts'].decode()}


def write_truth(folder, names):
    """Two objects, a cup and a ball, in each video, with images."""
    videos, annotations = [], []
    for number, name in enumerate(names, 1):
        files = [f'{name}/{index:05d}.png' for index in range(FRAMES)]
        videos.append({'id': number, 'width': SIZE[1], 'height': SIZE[0], 'length': FRAMES, 'file_names': files})
        for category, corners in ((1, A), (2, B)):
            rows = [segmentation(corners)] * FRAMES
            annotations.append(
                {'id': 2 * number + category, 'video_id': number, 'category_id': category, 'iscrowd': 0}
                | {'segmentations': rows, 'areas': [1] * FRAMES, 'bboxes': [[0, 0, 1, 1]] * FRAMES}
                | {'height': SIZE[0], 'width': SIZE[1], 'length': FRAMES}
            )
        (folder / name).mkdir(parents=True)
        for file in files:
            cv2.imwrite(str(folder / file), np.full((*SIZE, 3), 90, np.uint8))
    categories = [{'id': 1, 'name': 'cup'}, {'id': 2, 'name': 'ball'}]
    path = folder / 'truth.json'
    path.write_text(json.dumps({'videos': videos, 'annotations': annotations, 'categories': categories}))
    return path


def write_results(path, tracks):
    """Tracks are (video number, category, corners of a box or None for each frame)."""
    rows = [
        {'video_id': video, 'category_id': category, 'score': 0.9 - 0.01 * number}
        | {'segmentations': [each and segmentation(each) for each in boxes]}
        for number, (video, category, boxes) in enumerate(tracks)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Truth, perfect results, and results in which the two identities of the first video are exchanged half way."""
    folder = tmp_path_factory.mktemp('files')
    truth = write_truth(folder, ['first', 'second'])
    second = [(2, 1, [A] * 10), (2, 2, [B] * 10)]
    good = write_results(folder / 'good.json', [(1, 1, [A] * 10), (1, 2, [B] * 10), *second])
    swapped = [(1, 1, [A] * 5 + [B] * 5), (1, 2, [B] * 5 + [A] * 5), *second]
    return truth, good, write_results(folder / 'swapped.json', swapped)


def test_metrics_are_printed_and_written(files, tmp_path):
    truth, good, _ = files
    result = run(good, truth, '--out', tmp_path)
    assert result.returncode == 0, result.stderr
    assert '20 frames of 2 videos compared, matched by name.' in said(result)
    assert '│ HOTA │ 1.000 │ 1.000 │' in said(result) and '│ IDSW │ 0 │ 0 │' in said(result)
    evaluation = json.loads((tmp_path / 'evaluation.json').read_text())
    assert evaluation['agnostic']['AP'] == evaluation['aware']['AR1'] == 1
    assert (evaluation['results'], evaluation['truth']) == (str(good), str(truth))
    assert evaluation['per_class'].keys() == {'cup', 'ball'} and evaluation['per_video'].keys() == {'first', 'second'}
    assert '<html' in (tmp_path / 'report.html').read_text()[:1000]
    assert not (tmp_path / 'comparison.json').exists()


def test_the_same_files_give_the_same_bytes(files, tmp_path):
    truth, good, swapped = files
    outs = [tmp_path / 'one', tmp_path / 'two']
    for out in outs:
        assert run(swapped, truth, '--compare', good, '--out', out).returncode == 0
    names = sorted(path.relative_to(outs[0]).as_posix() for path in outs[0].rglob('*') if path.is_file())
    assert names == [
        '.vis_ros', 'comparison.json', 'evaluation.json', 'report.html', 'sheets/.vis_ros', 'sheets/first.png',
        'sheets/second.png',
    ]  # fmt: skip
    for name in names:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()


def test_two_results_for_one_truth(files, tmp_path):
    truth, good, swapped = files
    result = run('--compare', good, swapped, truth, '--out', tmp_path)
    assert result.returncode == 0, result.stderr
    # Two of four objects have lost their identities after 5 of 10 frames: AssA is (20 * 1/3 + 20 * 1) / 40 = 2/3.
    assert '│ AssA │ 1.000 │ 0.667 │ -0.333 │' in said(result)
    assert '│ IDSW │ 0 │ 2 │ +2 │' in said(result)
    comparison = json.loads((tmp_path / 'comparison.json').read_text())
    assert (comparison['a'], comparison['b']) == (str(good), str(swapped))
    assert comparison['per_video'].keys() == {'first'}
    losses = [(loss['video'], loss['first'], loss['last'], loss['lost_in']) for loss in comparison['losses']]
    assert losses == [('first', 5, 5, 'b')] * 2
    assert json.loads((tmp_path / 'evaluation.json').read_text())['results'] == str(swapped), 'of RESULTS'


def test_a_folder_of_masks_is_truth_without_classes(files, tmp_path):
    folder = tmp_path / 'masks'
    folder.mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f'{index:05d}.png'), box(*A, SIZE) + 2 * box(*B, SIZE))
    tracks = [(1, 1, [A] * 10), (1, 1, [B] * 5 + [None] * 5)]
    result = run(write_results(tmp_path / 'results.json', tracks), folder, '--out', tmp_path / 'out')
    assert result.returncode == 0, result.stderr
    assert '│ J │ 0.750 │ - │' in said(result)
    assert 'No class-aware metrics' in said(result)


def test_errors_are_one_message(files, tmp_path):
    truth, *_ = files
    result = run(tmp_path / 'nowhere', truth, '--out', tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip() == f'vis-ros: there is no file or folder {tmp_path / "nowhere"}'
    twice = write_results(tmp_path / 'results.json', [(1, 1, [A] * 9)])
    result = run(twice, truth, '--out', tmp_path)
    assert result.returncode == 1 and result.stderr.startswith('vis-ros: ') and 'Traceback' not in result.stderr
    assert list(tmp_path.iterdir()) == [twice], 'nothing is written'


def test_the_verdict_comes_first_and_decides_the_exit_status(tmp_path):
    names = [f'video{number}' for number in range(6)]
    truth = write_truth(tmp_path / 'truth', names)
    whole = [(video, category, [box] * 10) for video in range(1, 7) for category, box in ((1, A), (2, B))]
    good = write_results(tmp_path / 'good.json', whole)
    half = [(video, category, [*boxes[: 4 + video % 3], *[None] * (6 - video % 3)]) for video, category, boxes in whole]
    short = write_results(tmp_path / 'short.json', half)
    result = run(short, truth, '--compare', good, '--fail-if-worse', '--out', tmp_path / 'out')
    assert result.returncode == 3, result.stderr
    lines = [line for line in result.stdout.splitlines() if line and not line.startswith('evaluating')]
    assert (
        lines[0].startswith('b is worse than a: HOTA 1.000 -> 0.') and 'better in 0, worse in 6 of 6 videos' in lines[0]
    )
    assert lines[1] == 'By HOTA: several objects with identities are labeled.'
    assert 'The settings of a and b are not known: there is no run.json.' in lines
    verdict = json.loads((tmp_path / 'out' / 'comparison.json').read_text())['verdict']
    assert verdict['sentence'] == lines[0] and (verdict['answer'], verdict['worse']) == ('worse', 6)
    result = run(good, truth, '--compare', short, '--fail-if-worse', '--by', 'IDSW', '--out', tmp_path / 'out')
    assert result.returncode == 0 and 'Undecided' in said(result) and 'By IDSW: chosen with --by.' in said(result)
    result = run(good, truth, '--by', 'HOTA', '--out', tmp_path / 'out')
    assert result.returncode == 1 and 'add --compare' in result.stderr
