"""A library and its results at URLs: the results are those of the same library in folders."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import pytest
from helpers.in_this_process import in_this_process
from helpers.made_library import job, make_library, results, run

from vis_ros.fleet.library_replay import replay_library
from vis_ros.fleet.shared_storage import is_url, local_copy, units_at
from vis_ros.fleet.worker_processes import run_on_processes


@pytest.fixture(scope='module')
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without the bag of two cameras, which is one unit at a URL."""
    root = make_library(tmp_path_factory.mktemp('recorded') / 'library')
    (root / 'day1' / 'drive').rename(root.parent / 'two_cameras')
    return root


@pytest.fixture
def memory():
    system = fsspec.filesystem('memory')
    yield system
    system.rm('/', recursive=True)


def at(url: str, out: str, runner=in_this_process, **options: bool):
    return replay_library(units_at(url), replace(job(Path('unused')), out=out), runner, **options)


def test_only_urls_are_urls() -> None:
    assert is_url('s3://bucket/x') and is_url('file:///x')
    assert not any(map(is_url, ('x', '/x/y', 'C:/x', '')))


def test_results_are_those_of_a_folder(library: Path, tmp_path: Path, memory) -> None:
    memory.put(str(library), '/data/library', recursive=True)
    expected = run(library, job(tmp_path / 'folder'))
    summary = at('memory://data/library', 'memory://data/out')
    for own, other in zip(summary.rows, expected.rows, strict=True):
        for row in (own, other):
            del row['seconds'], row['identity']
        assert str(own).replace('/library', '') == str(other).replace(str(library), '') or own['error']
    memory.get('/data/out', str(tmp_path / 'url'), recursive=True)
    own, other = results(tmp_path / 'url'), results(tmp_path / 'folder')
    for each in (own, other):
        del each['library.json']
    different = {name for name in {*own, *other} if own.get(name) != other.get(name)}
    # A broken recording leaves nothing at a URL.
    assert {name.partition('/')[0] for name in different} == {'unreadable'}, (
        'a broken recording leaves nothing at a URL'
    )


def test_a_second_call_does_what_changed(library: Path, memory) -> None:
    memory.put(str(library), '/data/library', recursive=True)
    first = at('memory://data/library', 'memory://data/out')
    again = at('memory://data/library', 'memory://data/out')
    assert again.done == len([row for row in first.rows if row['frames']])
    memory.rm('/data/out/day2/run.json')
    assert at('memory://data/library', 'memory://data/out').done == again.done - 1
    memory.pipe('/data/library/frames/a/2.png', memory.cat('/data/library/frames/a/1.png'))
    with pytest.raises(ValueError, match=r'made differently \(frames/a: source\)'):
        at('memory://data/library', 'memory://data/out')
    redone = at('memory://data/library', 'memory://data/out', redo=True)
    assert redone.done == again.done - 1
    assert len(json.loads(memory.cat('/data/out/library.json'))['rows']) == len(first.rows)


def test_files_of_others_are_kept(library: Path, memory) -> None:
    memory.put(str(library / 'day2'), '/data/library/day2', recursive=True)
    memory.pipe('/data/out/own.txt', b'mine')
    with pytest.raises(FileExistsError, match='holds files that vis-ros did not write'):
        at('memory://data/library', 'memory://data/out')
    memory.pipe('/data/new/day2/own.txt', b'mine')
    memory.pipe('/data/new/.vis_ros', b'')
    (row,) = at('memory://data/library', 'memory://data/new').rows
    assert 'holds files that vis-ros did not write' in row['error']
    assert memory.cat('/data/out/own.txt') == memory.cat('/data/new/day2/own.txt') == b'mine'


def test_files_of_others_among_the_results_are_kept(library: Path, memory) -> None:
    memory.put(str(library / 'day2'), '/data/library/day2', recursive=True)
    at('memory://data/library', 'memory://data/out')
    first = set(memory.find('/data/out'))
    others = {f'/data/out/day2/{name}' for name in ('notes.txt', 'bag/notes.txt', 'mine/run.json', 'overlays/mine.png')}
    stale = {f'/data/out/day2/{name}' for name in ('bag/bag_7.db3', 'frames.parquet')}
    for name in others | stale:
        memory.pipe(name, b'mine')
    (bag,) = memory.glob('/data/library/day2/*.mcap')
    memory.pipe(bag, memory.cat(bag))
    assert at('memory://data/library', 'memory://data/out', redo=True).done == 0
    assert set(memory.find('/data/out')) == first | others


def test_a_url_of_one_recording(library: Path, memory) -> None:
    memory.put(str(library), '/data/library', recursive=True)
    for name in ('clip.mp4', 'frames/a', 'day2'):
        last = name.rpartition('/')[2]
        (row,) = at(f'memory://data/library/{name}', f'memory://data/out_{last}').rows
        assert (row['recording'], row['error']) == (last, '') and row['frames']
        assert memory.exists(f'/data/out_{last}/{last}/run.json')
    memory.pipe('/data/list.txt', b'clip.mp4')
    with pytest.raises(ValueError, match=r'memory://data/list\.txt is a list of recordings'):
        units_at('memory://data/list.txt')


def test_errors_name_the_recording_and_no_temporary_copy(library: Path, memory) -> None:
    memory.put(str(library), '/data/library', recursive=True)
    summary = at('memory://data/library', 'memory://data/out')
    assert len(summary.broken) == 3
    for row in summary.broken:
        assert '.vis_ros-' not in row['error']
        assert 'memory://data/library' in row['error']
    assert json.loads(memory.cat('/data/out/day2/run.json'))['source'] == 'memory://data/library/day2'
    (video,) = (row for row in summary.broken if row['recording'] == 'broken.mp4')
    assert video['error'].startswith('memory://data/library/broken.mp4 is not a video')


@pytest.mark.slow
def test_processes_read_and_write_urls(library: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    summary = at(f'file://{library}', f'file://{out}', partial(run_on_processes, workers=2))
    assert len(summary.broken) == 3 and (out / 'library.json').exists()
    run(library, job(tmp_path / 'folder'))
    own, other = results(out), results(tmp_path / 'folder')
    assert {name for name in own if own[name] != other.get(name)} == {'library.json'}


def test_copies_are_removed(library: Path, memory) -> None:
    memory.put(str(library), '/data/library', recursive=True)
    for name in ('clip.mp4', 'frames/a'):
        with local_copy(f'memory://data/library/{name}') as path:
            assert path.name == name.rpartition('/')[2]
            copied = [path] if path.is_file() else sorted(path.iterdir())
            source = library / name
            originals = [source] if source.is_file() else sorted(source.iterdir())
            assert [each.read_bytes() for each in copied] == [each.read_bytes() for each in originals]
        assert not path.exists()


def test_what_cannot_be_read_is_told() -> None:
    with pytest.raises(ValueError, match=r'nothing://x cannot be read: .*nothing'):
        units_at('nothing://x')
    with pytest.raises(FileNotFoundError, match='there is no library memory://absent'):
        units_at('memory://absent')
