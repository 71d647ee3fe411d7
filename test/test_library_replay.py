"""Replay of a library on real processes, with a detector that computes from the pixels."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import pytest
from helpers.in_this_process import in_this_process
from helpers.rectangles import BLUE, RED, RectangleEngine, draw

from vis_ros.fleet.library_replay import LIBRARY, read_library, replay_library
from vis_ros.fleet.recording_library import Unit, find_units, is_library
from vis_ros.fleet.unit_replay import ATTEMPTS, Job, UnitOptions, options_identity, unit_row
from vis_ros.fleet.worker_processes import run_on_processes
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import serialize
from vis_ros.recordings.plain_messages import plain_header, plain_message
from vis_ros.recordings.topics import IMAGE_TYPE
from vis_ros.recordings.video_writer import VideoWriter
from vis_ros.replay.run_identity import settings_identity
from vis_ros.ros.messages import to_image
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings


def load(settings: Settings) -> Model:
    return Model(settings, engine_factory=RectangleEngine)


def load_and_die_once(settings: Settings) -> Model:
    """As a process that the kernel kills for its memory; the file tells which have died."""
    died = Path(os.environ['VIS_ROS_TEST_DIED'])
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return load(settings)


def pictures(seed: int, count: int) -> list:
    return [draw((4 + index + seed, 10, 14 + index + seed, 20, RED), (40, 30, 52, 40, BLUE)) for index in range(count)]


def write_bag(path: Path, topics: tuple[str, ...], count: int = 4) -> None:
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, IMAGE_TYPE)
        for index, image in enumerate(pictures(len(topics), count)):
            for topic in topics:
                message = to_image(image, 'bgr8', plain_header(10**9 + index * 10**8, 'camera'), plain_message)
                bag.write(topic, index * 10**8, serialize(message, IMAGE_TYPE))


def write_images(folder: Path, seed: int = 0, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(pictures(seed, count)):
        cv2.imwrite(str(folder / f'{index}.png'), image)


@pytest.fixture(scope='module')
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag with two cameras, one with one, a video, two folders of images; three that are broken in different ways."""
    root = tmp_path_factory.mktemp('recorded') / 'library'
    write_bag(root / 'day1' / 'drive', ('/front/image', '/rear/image'))
    write_bag(root / 'day2', ('/image',))
    write_images(root / 'frames' / 'a')
    write_images(root / 'frames' / 'b', 5)
    with VideoWriter(root / 'clip.mp4', 10.0, ('mp4v',)) as video:
        for image in pictures(0, 3):
            video.write(image)
    write_images(root / 'unreadable', count=1)
    (root / 'unreadable' / '0.png').write_bytes(b'no picture')
    (root / 'broken.mp4').write_bytes(b'no video at all')
    write_bag(root / 'cut', ('/image',), count=40)
    (file,) = (root / 'cut').glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return root


def job(out: Path, **options: object) -> Job:
    settings, chosen = Settings(weights='rectangles'), UnitOptions(codecs=('mp4v',), **options)
    return Job(str(out), settings, chosen, settings_identity(settings, options_identity(chosen, None)), load)


def run(library: Path, wanted: Job, runner=in_this_process, **options: object):
    return replay_library(find_units(library), wanted, runner, **options)


def results(out: Path) -> dict[str, bytes]:
    files = {path.relative_to(out).as_posix(): path for path in out.rglob('*') if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name != 'run.json'}


@pytest.fixture(scope='module')
def replayed(library: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp('replayed') / 'one'
    return out, run(library, job(out))


# --- what a library holds ---------------------------------------------------------------------------------------------

NAMES = [
    *('broken.mp4', 'clip.mp4', 'cut', 'day1/drive/front.image', 'day1/drive/rear.image', 'day2'),
    *('frames/a', 'frames/b', 'unreadable'),
]


def test_a_unit_for_each_camera_of_each_recording(library: Path) -> None:
    units = {unit.name: unit for unit in find_units(library)}
    assert list(units) == NAMES
    front = units['day1/drive/front.image']
    assert (front.recording, front.topic, front.camera) == ('day1/drive', '/front/image', 'front.image')
    assert front.frames == 4 and front.seconds == pytest.approx(0.4)
    assert units['frames/a'].frames == 3 and units['frames/a'].seconds == pytest.approx(0.1)


def test_a_pattern_and_a_text_file(library: Path) -> None:
    assert [unit.name for unit in find_units(library / 'frames' / '*')] == ['a', 'b']
    (library.parent / 'list.txt').write_text('# two\nlibrary/clip.mp4\n\nlibrary/frames/b\n')
    assert [unit.name for unit in find_units(library.parent / 'list.txt')] == ['clip.mp4', 'frames/b']
    (library.parent / 'twice.txt').write_text('library/clip.mp4\nlibrary/clip.mp4\n')
    with pytest.raises(ValueError, match=r'names recordings twice: .*clip\.mp4'):
        find_units(library.parent / 'twice.txt')
    with pytest.raises(ValueError, match='holds no recording'):
        find_units(library / '*.nothing')
    with pytest.raises(FileNotFoundError):
        find_units(library / 'absent')


def test_bags_side_by_side_are_several_and_numbered_parts_are_one(library: Path, tmp_path: Path) -> None:
    (file,) = (library / 'day2').glob('*.mcap')
    for folder, names in (('separate', ('a.mcap', 'b.mcap')), ('parts', ('x_0.mcap', 'x_1.mcap'))):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(file, tmp_path / folder / name)
    assert [unit.name for unit in find_units(tmp_path)] == ['parts', 'separate/a.mcap', 'separate/b.mcap']
    assert is_library(tmp_path / 'separate') and not is_library(tmp_path / 'parts')


def test_single_recordings_are_no_library(library: Path) -> None:
    assert is_library(library) and is_library(library / '*.mp4')
    assert not any(is_library(library / name) for name in ('frames', 'frames/a', 'day2', 'clip.mp4'))


# --- results ----------------------------------------------------------------------------------------------------------


def test_broken_recordings_cost_their_own_row(replayed) -> None:
    out, summary = replayed
    rows = {row['folder']: row for row in read_library(out)}
    assert list(rows) == NAMES and len(summary.rows) == len(NAMES) and summary.done == 0
    assert {row['recording'] for row in summary.broken} == {'broken.mp4', 'cut', 'unreadable'}
    assert 'is not a video that OpenCV can read' in rows['broken.mp4']['error']
    assert 'no frame can be read' in rows['unreadable']['error']
    assert rows['cut']['frames'] > 0 and rows['cut']['error'], 'what is before the cut is there'
    good = [row for row in rows.values() if not row['error']]
    assert [row['frames'] for row in good] == [3, 4, 4, 4, 3, 3]
    assert {row['tracks'] for row in good} == {2} and {row['incomplete'] for row in good} == {''}
    assert (out / 'day1' / 'drive' / 'rear.image' / 'bag').is_dir()


def test_a_second_call_does_what_is_missing(library: Path, replayed, tmp_path: Path) -> None:
    out = tmp_path / 'again'
    shutil.copytree(replayed[0], out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('run.json')}
    shutil.rmtree(out / 'frames' / 'a')
    (out / LIBRARY).unlink()
    made: list[Unit] = []
    summary = run(library, job(out), on_frame=made.append)
    assert {unit.name for unit in made} == {'frames/a'}
    assert summary.done == 6, 'all but those without results'
    assert results(out) == results(replayed[0])
    assert all(path.stat().st_mtime_ns == when for path, when in before.items() if path.parent.name != 'a')


def test_other_settings_are_refused_or_replace(library: Path, replayed, tmp_path: Path) -> None:
    out = tmp_path / 'again'
    shutil.copytree(replayed[0], out)
    other = job(out, stride=2)
    with pytest.raises(ValueError, match=r'made differently \(clip.mp4: settings; .*--redo'):
        run(library, other)
    assert results(out) == results(replayed[0]), 'nothing was touched'
    assert next(row for row in run(library, other, redo=True).rows if row['recording'] == 'day2')['frames'] == 2


def test_a_recording_that_changed_is_named(library: Path, replayed, tmp_path: Path) -> None:
    shutil.copytree(replayed[0], tmp_path / 'out')
    changed = tmp_path / 'library'
    shutil.copytree(library, changed)
    os.utime(changed / 'frames' / 'a' / '0.png', (1, 1))
    with pytest.raises(ValueError, match='frames/a: source'):
        run(changed, job(tmp_path / 'out'))


def test_the_number_of_threads_is_no_other_setting() -> None:
    one, two = (settings_identity(Settings(threads=threads), {}) for threads in (1, 2))
    assert one == two != settings_identity(Settings(min_hits=7), {})


# --- processes that end -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_give_the_same_bytes(library, replayed, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv('VIS_ROS_TEST_DIED', str(tmp_path / 'died'))
    out, frames = tmp_path / 'out', Counter()
    wanted = replace(job(out), load=load_and_die_once)
    run(library, wanted, partial(run_on_processes, workers=2), on_frame=lambda unit: frames.update([unit.name]))
    assert (tmp_path / 'died').exists()
    assert results(out) == results(replayed[0])
    assert frames['day2'] == 4, 'progress comes from the processes'


def die(settings: Settings) -> Model:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.mark.slow
def test_a_recording_that_always_kills_its_process_is_broken(library: Path, tmp_path: Path) -> None:
    (row,) = run(library / 'day2', replace(job(tmp_path / 'out'), load=die), partial(run_on_processes, workers=1)).rows
    assert row['error'] == f'its process ended {ATTEMPTS} times: killed by SIGKILL'


def test_an_interruption_keeps_what_is_finished(library: Path, tmp_path: Path) -> None:
    interrupted, out = threading.Event(), tmp_path / 'out'
    summary = run(library, job(out), on_done=lambda unit: interrupted.set(), interrupted=interrupted)
    assert summary.interrupted and len(summary.rows) == 1
    assert not (out / LIBRARY).exists()
    assert json.loads(next(out.rglob('run.json')).read_text())['frames'] > 0
    assert run(library, job(out)).done == 1


def test_a_folder_that_cannot_be_written_costs_its_own_row(library: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    (out / '.vis_ros').touch()
    (out / 'day2').write_text('in the way')
    errors = {row['recording']: row['error'] for row in run(library, job(out)).rows}
    assert 'day2 is a file' in errors['day2'] and errors['frames/a'] == ''


def test_every_error_becomes_a_row(library: Path, tmp_path: Path) -> None:
    def fail(settings: Settings) -> Model:
        raise MemoryError('no memory is left')

    row = unit_row(find_units(library / 'day2')[0], replace(job(tmp_path / 'out'), load=fail))
    assert row['error'] == 'MemoryError: no memory is left'
