"""Replay of a library on real processes, with a detector that computes from the pixels."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from helpers.in_this_process import in_this_process
from helpers.made_library import job, load, make_library, results, run

from vis_ros.datasets.library_file import LIBRARY, read_library
from vis_ros.fleet.library_replay import replay_library
from vis_ros.fleet.recording_library import Unit, find_units, is_library, part_of
from vis_ros.fleet.unit_replay import ATTEMPTS, unit_row
from vis_ros.fleet.worker_processes import run_on_processes
from vis_ros.replay.run_identity import settings_identity
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings


def load_and_die_once(settings: Settings) -> Model:
    """As a process that the kernel kills for its memory; the file tells which have died."""
    died = Path(os.environ['VIS_ROS_TEST_DIED'])
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return load(settings)


@pytest.fixture(scope='module')
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp('recorded') / 'library')


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


def test_the_masks_of_a_data_set_are_no_recording(library: Path, tmp_path: Path, caplog) -> None:
    for folder in ('JPEGImages/480p/a', 'Annotations/480p/a', 'Annotations/480p/b'):
        shutil.copytree(library / 'frames' / 'a', tmp_path / folder)
    assert is_library(tmp_path)
    assert [unit.name for unit in find_units(tmp_path)] == ['JPEGImages/480p/a']
    assert caplog.messages == [f'{tmp_path}/Annotations is not replayed: it holds the masks of JPEGImages']
    assert [unit.name for unit in find_units(tmp_path / 'Annotations')] == ['480p/a', '480p/b'], 'if they are asked for'


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


def test_parts_are_the_library_and_leave_the_summary_to_the_last_call(library: Path, replayed, tmp_path: Path) -> None:
    out, units = tmp_path / 'out', find_units(library)
    parts = [part_of(units, f'{number}/3') for number in (1, 2, 3)]
    assert Counter(unit for part in parts for unit in part) == Counter(units)
    for part in parts:
        replay_library(part, job(out), in_this_process, whole=False)
    assert not (out / LIBRARY).exists()
    run(library, job(out))
    assert results(out) == results(replayed[0])


@pytest.mark.parametrize('part', ['0/3', '4/3', '1', 'a/b', '1/', '-1/3'])
def test_other_parts_are_refused(part: str) -> None:
    with pytest.raises(ValueError, match=r'is not I/N with I from 1 to N'):
        part_of([], part)


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


def load_on_a_full_disk_once(settings: Settings) -> Model:
    """The first process can write no file of more than 2,000 bytes, as on a full disk; the file tells which it is."""
    full = Path(os.environ['VIS_ROS_TEST_FULL'])
    with suppress(FileExistsError):
        full.touch(exist_ok=False)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    return load(settings)


@pytest.mark.slow
def test_a_full_disk_of_one_worker_costs_its_recordings_until_the_next_call(
    library: Path, replayed, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv('VIS_ROS_TEST_FULL', str(tmp_path / 'full'))
    out = tmp_path / 'out'
    wanted = replace(job(out), load=load_on_a_full_disk_once)
    summary = run(library, wanted, partial(run_on_processes, workers=2))
    full = {row['recording'] for row in summary.broken if 'File too large' in row['error']}
    always = {'broken.mp4', 'cut', 'unreadable'}
    assert full - always and {row['recording'] for row in summary.broken} == full | always
    again = run(library, wanted, partial(run_on_processes, workers=2))
    assert len(again.broken) == 3
    assert results(out) == results(replayed[0])


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
