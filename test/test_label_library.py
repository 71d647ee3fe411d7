"""Ground truth of a library: found for each recording, and evaluated as the same videos one by one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.made_library import job, make_library, run

from vis_ros.datasets.label_library import open_label_library
from vis_ros.datasets.library_file import LIBRARY
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.video import AnnotatedVideos, PredictedVideo
from vis_ros.evaluation.alignment import pair_videos
from vis_ros.evaluation.compare_results import compare
from vis_ros.evaluation.evaluate_results import evaluate

GOOD = ['clip.mp4', 'day1/drive/front.image', 'day1/drive/rear.image', 'day2', 'frames/a', 'frames/b']


@pytest.fixture(scope='module')
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('library')
    run(make_library(root / 'library'), job(root / 'out'))
    return root / 'out'


@pytest.fixture
def labels(out: Path, tmp_path: Path) -> Path:
    """The results as ground truth: a file for each recording; that of clip.mp4 is called `clip`."""
    for name in GOOD:
        path = tmp_path / 'labels' / f'{name.removesuffix(".mp4")}.jsonl'
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / name / 'results.jsonl', path)
    return tmp_path / 'labels'


def switch(path: Path, begin: int) -> None:
    """Change the numbers of all tracks from one frame on."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[begin:]:
        for each in line['instances']:
            each['track_id'] += 10
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def evaluated(out: Path, labels: Path):
    truth = open_label_library(labels, out, open_annotations)
    return evaluate(open_annotations(out), truth)


def test_each_recording_has_its_labels(out: Path, labels: Path) -> None:
    evaluation = evaluated(out, labels)
    assert list(evaluation.per_video) == GOOD
    assert evaluation.agnostic['HOTA'] == evaluation.agnostic['AP'] == 1
    assert set(evaluation.per_camera) == {'front.image', 'rear.image'}
    assert any('3 recordings of the library broke: broken.mp4' in text for text in evaluation.inferred)


def test_figures_of_a_recording_are_those_of_the_recording_alone(out: Path, labels: Path, tmp_path: Path) -> None:
    out = shutil.copytree(out, tmp_path / 'out')
    switch(out / 'day2' / 'results.jsonl', 2)
    switch(out / 'day1' / 'drive' / 'rear.image' / 'results.jsonl', 1)
    evaluation = evaluated(out, labels)
    for name in ('day2', 'day1/drive/rear.image', 'frames/a'):
        alone = evaluate(open_annotations(out / name), open_annotations(labels / f'{name}.jsonl'))
        assert evaluation.per_video[name] == alone.agnostic
    assert evaluation.agnostic['IDSW'] == 4 and evaluation.per_camera['rear.image']['IDSW'] == 2
    assert {name for name, _ in evaluation.worst_first('HOTA')[:2]} == {'day1/drive/rear.image', 'day2'}


def test_a_library_is_compared_with_another(out: Path, labels: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / 'other')
    for name in GOOD[1:]:
        switch(tmp_path / 'other' / name / 'results.jsonl', 2)
    a, b = evaluated(tmp_path / 'other', labels), evaluated(out, labels)
    verdict = compare(a, b).verdict
    assert verdict.answer == 'better' and 'better in 5, worse in 0 of 6 videos' in verdict.sentence()


def test_the_labels_of_a_recording_hold_all_its_cameras(out: Path, labels: Path) -> None:
    """As a bag does: one ground truth with a video for each topic."""
    drive = labels / 'day1' / 'drive'
    for camera in ('front.image', 'rear.image'):
        (drive / camera).mkdir()
        (drive / f'{camera}.jsonl').rename(drive / camera / 'results.jsonl')
    assert list(evaluated(out, labels).per_video) == GOOD


def test_videos_of_a_single_ground_truth_belong_by_the_last_part_of_the_name() -> None:
    def some(*names: str, **cameras: str) -> AnnotatedVideos:
        return AnnotatedVideos('', '', ('object',), [PredictedVideo(name, []) for name in names], cameras=cameras)

    results = some('a/clip.mp4', 'b/run.mcap', 'c/run.mcap', 'd', x='')
    pairs = pair_videos(results, some('clip', 'run', 'd'))
    names = [(truth.name, None if found is None else found.name) for truth, found in pairs]
    assert names == [('clip', 'a/clip.mp4'), ('run', None), ('d', 'd')]
    with pytest.raises(ValueError, match='no video name in common'):
        pair_videos(some('a/clip.mp4', 'd'), some('clip', 'e'))


def test_what_belongs_to_nothing_is_told(out: Path, labels: Path) -> None:
    (labels / 'frames' / 'b.jsonl').rename(labels / 'frames' / 'c.jsonl')
    evaluation = evaluated(out, labels)
    assert 'labels without a recording: frames/c.jsonl' in evaluation.inferred
    assert 'frames/b' in evaluation.coverage.unlabeled_videos


def test_two_labels_of_a_recording_are_refused(out: Path, labels: Path) -> None:
    shutil.copy(labels / 'day2.jsonl', labels / 'day2.json')
    with pytest.raises(AnnotationError, match=r'several labels for day2: day2.json, day2.jsonl'):
        evaluated(out, labels)


@pytest.mark.parametrize('folder', ['../elsewhere', '/etc', '', 7])
def test_a_library_does_not_lead_out_of_its_folder(out: Path, tmp_path: Path, folder: object) -> None:
    content = json.loads((out / LIBRARY).read_text())
    content['rows'][0]['folder'] = folder
    (tmp_path / LIBRARY).write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=r"row 0.*'folder' is"):
        open_annotations(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / LIBRARY).write_text('{"version": 9, "rows": []}')
    with pytest.raises(AnnotationError, match='has version 9, and this vis_ros reads 1'):
        open_annotations(tmp_path)
