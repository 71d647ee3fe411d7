"""The report of a library: a table of the recordings that links to a report for each."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from helpers import annotated_memory as memory

from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.evaluation.evaluate_results import evaluate
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.evaluation.report.library_report import write_library_report

SIZE = (60, 80)
NAMES = ('day1/good & fast.mcap', '../lost', 'switched')
FRAMES = 8


def box(index: int):
    return memory.box(10 + 2 * index, 20, 30 + 2 * index, 45, SIZE)


def videos(object_of) -> AnnotatedVideos:
    """Three videos of one object; `object_of` (name, frame) is its number, or None where it is not there."""
    made = []
    for name in NAMES:
        frames = []
        for index in range(FRAMES):
            number = object_of(name, index)
            frame = memory.frame([] if number is None else [(number, box(index))], index, size=SIZE)
            frames.append(replace(frame, read_image=lambda index=index: np.full((*SIZE, 3), 20 * index, np.uint8)))
        made.append(memory.MemoryVideo(name, frames))
    return memory.videos(*made)


def found_object(name: str, frame: int) -> int | None:
    if name == '../lost':
        return 1 if frame < 2 else None
    return 2 if name == 'switched' and frame >= 4 else 1


@pytest.fixture
def library() -> tuple[Evaluation, AnnotatedVideos, AnnotatedVideos]:
    truth, results = videos(lambda name, frame: 1), videos(found_object)
    return evaluate(results, truth), truth, results


def rows_of(page: str) -> list[str]:
    table = page.split('class="recordings wide"')[1].split('</table>')[0]
    return re.findall(r'<tr>(?:(?!<tr>).)*</tr>', table.split('<tbody>')[1], re.DOTALL)


def test_recordings_are_listed_the_worst_first_and_have_their_own_reports(tmp_path: Path, library) -> None:
    evaluation, truth, results = library
    write_library_report(evaluation, tmp_path / 'report.html', truth=truth, results=results)
    rows = rows_of((tmp_path / 'report.html').read_text())
    assert [re.search(r'data-value="([^"]*)"', row)[1] for row in rows] == [
        '../lost',
        'switched',
        NAMES[0].replace('&', '&amp;'),
    ]
    figures = [[float(value) for value in re.findall(r'<td data-value="([^"]*)"', row)] for row in rows]
    expected = sorted(evaluation.per_video.values(), key=lambda each: each['HOTA'])
    assert [set(own) <= set(each.values()) for own, each in zip(figures, expected, strict=True)] == [True] * 3
    for row in rows:
        own = (tmp_path / unquote(re.search(r'href="([^"]*)"', row)[1])).resolve()
        assert own.is_relative_to(tmp_path / 'recordings') and own.read_text().startswith('<!DOCTYPE html>')
        assert 'There are no true objects' not in own.read_text(), 'precision is known of all videos together only'
    assert len(list((tmp_path / 'recordings').glob('*.html'))) == 3


def test_the_worst_moment_is_shown(tmp_path: Path, library) -> None:
    evaluation, truth, results = library
    write_library_report(evaluation, tmp_path / 'report.html', truth=truth, results=results)
    pictures = []
    for row in rows_of((tmp_path / 'report.html').read_text()):
        found = re.search(r'src="data:image/jpeg;base64,([^"]*)"', row)
        pictures.append(None if found is None else cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), 1))
    lost, switched, good = pictures
    assert good is None, 'nothing went wrong there'
    assert np.median(lost) == pytest.approx(20 * 4, abs=6), 'the middle of the loss, frames 2 to 7'
    assert np.median(switched) == pytest.approx(20 * 4, abs=6), 'the first frame after the switch'


def test_a_recording_without_results_has_a_report(tmp_path: Path) -> None:
    truth, results = videos(lambda name, frame: 1), videos(found_object)
    results = replace(results, videos=[video for video in results.videos if video.name != '../lost'])
    evaluation = evaluate(results, truth)
    write_library_report(evaluation, tmp_path / 'report.html', truth=truth, results=results)
    assert len(rows_of((tmp_path / 'report.html').read_text())) == 3


def test_the_report_of_a_recording_is_that_of_the_recording_alone(library) -> None:
    evaluation, truth, results = library
    for name in NAMES:
        alone = evaluate(
            *(replace(side, videos=[video for video in side.videos if video.name == name]) for side in (results, truth))
        )
        part = evaluation.of_video(name)
        assert part.agnostic == pytest.approx(alone.agnostic)
        assert (part.objects, part.switches, part.lengths) == (alone.objects, alone.switches, alone.lengths)
