"""`vis-ros data check` and `convert` as processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.python_path import python_path
from helpers.random_annotations import content, random_videos
from test_annotations_youtube_vis import truth

from vis_ros.datasets.davis import write_davis
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.youtube_vis import write_youtube_vis
from vis_ros.datasets.youtube_vis_results import write_youtube_vis_results

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments):
    command = [sys.executable, '-m', 'vis_ros.cli', 'data', *map(str, arguments)]
    variables = {**os.environ, 'PYTHONPATH': python_path(ROOT), 'COLUMNS': '200', 'NO_COLOR': '1'}
    return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_check_prints_a_summary(tmp_path):
    write_youtube_vis(random_videos(ignored=True, stamps=True, images=True), tmp_path)
    result = run('check', tmp_path)
    assert result.returncode == 0, result.stderr
    for name, value in [
        ('format', 'YouTube-VIS JSON'),
        ('videos', '2'),
        ('frames', '10'),
        ('sizes', '36x24'),
        ('objects', r'8, in \d\d masks'),
        ('objects by class', r'car \d, pedestrian \d'),
        ('frames with ignored regions', '10'),
        ('frames with an image', '10'),
        ('frames with a stamp', '10'),
    ]:
        assert re.search(rf'│ {name} +│ {value} +│', result.stdout), name


def test_check_lists_every_problem_and_fails(tmp_path):
    record = truth()
    record['annotations'] = [record['annotations'][0] | {'id': k, 'video_id': 100 + k} for k in range(30)]
    (tmp_path / 'x.json').write_text(json.dumps(record))
    result = run('check', tmp_path / 'x.json')
    assert result.returncode == 1 and result.stderr == ''
    assert '30 problems' in result.stdout
    for k in range(30):
        assert re.search(
            rf"annotations\[{k}\], id {k} +│ 'video_id' is {100 + k}, which is not among videos", result.stdout
        )


def test_convert_twice(tmp_path):
    made = random_videos(disjoint=True, images=True)
    write_davis(made, tmp_path / 'davis')
    result = run('convert', tmp_path / 'davis', tmp_path / 'vis', '--to', 'youtube-vis')
    assert result.returncode == 0, result.stderr
    assert f'wrote {tmp_path}/vis: DAVIS mask images as youtube-vis' in result.stdout
    (tmp_path / 'vis' / 'JPEGImages').rename(tmp_path / 'pictures')
    result = run('convert', tmp_path / 'vis', tmp_path / 'mots', '--to', 'mots', '--images', tmp_path / 'pictures')
    assert result.returncode == 0, result.stderr
    assert 'lost in conversion: ids of 8 of 8 objects (they got new ones)' in result.stdout
    assert 'lost in conversion: class names (object is 3)' in result.stdout
    read = open_annotations(tmp_path / 'mots')
    held = {'ids': False, 'classes': False}
    assert content(read, **held) == content(made, **held)
    assert all(each.read_image is not None for one in read.videos for each in one)


def test_results_are_checked_and_converted_with_their_truth(tmp_path):
    write_youtube_vis(random_videos(), tmp_path / 'truth')
    write_youtube_vis_results(random_videos(1, scores=True), tmp_path / 'rows.json')
    assert 'does not list the frames: give the ground truth too' in run('check', tmp_path / 'rows.json').stdout
    assert run('check', tmp_path / 'rows.json', '--truth', tmp_path / 'truth').returncode == 0
    result = run('convert', tmp_path / 'rows.json', tmp_path / 'out', '--to', 'bag', '--truth', tmp_path / 'truth')
    assert result.returncode == 0, result.stderr
    assert open_annotations(tmp_path / 'out').kind == 'bag'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['check', 'nowhere'], 'there is no file or folder nowhere'),
        (['convert', 'nowhere', '{out}', '--to', 'davis'], 'there is no file or folder nowhere'),
        (['convert', '{bad}', '{out}', '--to', 'davis'], 'x.json: line 1, column 1: is not JSON'),
        (['convert', '{good}', '{out}', '--to', 'voc'], "cannot write the format 'voc'"),
        (['convert', '{good}', '{good}', '--to', 'davis'], 'give a new or empty folder'),
    ],
)
def test_errors_that_a_user_can_fix_are_one_message_and_exit_code_1(tmp_path, arguments, message):
    (tmp_path / 'x.json').write_text('?')
    write_youtube_vis(random_videos(), tmp_path / 'good')
    places = {'out': tmp_path / 'out', 'bad': tmp_path / 'x.json', 'good': tmp_path / 'good'}
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.returncode == 1
    assert result.stderr.startswith('vis-ros: ') and message in result.stderr
    assert 'Traceback' not in result.stderr + result.stdout
