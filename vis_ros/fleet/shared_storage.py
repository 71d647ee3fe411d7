"""Recordings and results in storage that fsspec reads (s3://, gs://, file:// and others), or in local folders.

A place is a path or a URL. What is at a URL is copied: a recording to the worker that replays it, its results back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vis_ros.claim import MARKER, MARKER_TEXT, claim
from vis_ros.extras import require
from vis_ros.fleet.recording_library import Unit, find_units
from vis_ros.recordings.bag_files import METADATA
from vis_ros.replay.output_folder import replaceable
from vis_ros.replay.run_identity import source_identity
from vis_ros.scratch import ScratchFolder
from vis_ros.whole_file import write_whole

_RUN = 'run.json'


def is_url(place: str) -> bool:
    """Whether a place is a URL.

    >>> is_url('s3://bucket/drives'), is_url('drives/day1')
    (True, False)
    """
    return '://' in place


def joined(place: str, *names: str) -> str:
    """A place below another one."""
    return '/'.join([place.rstrip('/'), *names]) if is_url(place) else str(Path(place, *names))


def units_at(place: str, topic: str | None = None) -> list[Unit]:
    """The units of a library, see `find_units`.

    Of one at a URL only the names are looked at: a bag is one unit, and its duration is not known.

    Raises:
        FileNotFoundError, ValueError: as `find_units`, or the URL cannot be read.
    """
    if not is_url(place):
        return find_units(Path(place), topic)
    files, root = _files(place)
    if not files:
        raise FileNotFoundError(f'there is no library {place}')
    parent, _, name = place.rstrip('/').rpartition('/')
    if files == [''] and Path(name).suffix.lower() == '.txt':
        raise ValueError(f'{place} is a list of recordings, which must be on this machine')
    with ScratchFolder() as scratch:
        library = scratch / (name or 'library')
        for file in files:
            path = library / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(root.cat_file(file) if path.name == METADATA else b'')
        with _naming(library, place):
            units = find_units(library, topic)
        return [replace(unit, path=joined(parent, Path(unit.path).relative_to(scratch).as_posix())) for unit in units]


@contextmanager
def local_copy(place: str) -> Iterator[Path]:
    """The path of a recording; of one at a URL, that of a copy that is removed afterwards."""
    if not is_url(place):
        yield Path(place)
        return
    files, root = _files(place)
    with ScratchFolder() as scratch:
        copy = scratch / place.rstrip('/').rpartition('/')[2]
        for file in files:
            target = copy / file if file else copy
            target.parent.mkdir(parents=True, exist_ok=True)
            root.get_file(file, str(target))
        with _naming(copy, place):
            yield copy


def name_place(file: Path, copy: Path, place: str) -> None:
    """In a JSON file about a local copy of a recording, name the place instead."""
    text, (old, new) = file.read_text(encoding='utf-8'), (json.dumps(each)[1:-1] for each in (str(copy), place))
    write_whole(file, text.replace(old, new))


@contextmanager
def results_folder(out: str, name: str) -> Iterator[Path]:
    """The folder for the results of a unit. Those for a URL are copied there at the end, `run.json` last.

    Raises:
        FileExistsError: at the URL are files that vis-ros did not write.
    """
    if not is_url(out):
        yield Path(out, name)
        return
    with ScratchFolder() as scratch:
        folder = scratch / 'results'
        yield folder
        remove_results(joined(out, name))
        _, root = _files(joined(out, name))
        paths = sorted((path for path in folder.rglob('*') if path.is_file()), key=lambda path: path.name == _RUN)
        for path in paths:
            _write(root, path.relative_to(folder).as_posix(), path.read_bytes())


@contextmanager
def local_tables(out: str, names: Sequence[str]) -> Iterator[Path]:
    """The folder of a library for its tables. Of one at a URL, a copy of its files of these names, in any folder below;
    what is written into it is copied back.
    """
    if not is_url(out):
        yield Path(out)
        return
    files, root = _files(out)
    with ScratchFolder() as scratch:
        copied = {file for file in files if file.rpartition('/')[2] in names}
        for file in copied:
            (scratch / file).parent.mkdir(parents=True, exist_ok=True)
            root.get_file(file, str(scratch / file))
        yield scratch
        for path in scratch.rglob('*'):
            name = path.relative_to(scratch).as_posix()
            if path.is_file() and name not in copied:
                _write(root, name, path.read_bytes())


def remove_results(place: str) -> None:
    """Remove the results of an earlier replay at a URL. Files of other names stay, as in a folder.

    Raises:
        FileExistsError: there are files that vis-ros did not write.
    """
    files, root = _files(place)
    if files and MARKER not in files:
        raise FileExistsError(f'{place} already holds files that vis-ros did not write, and nothing in it is replaced')
    for file in sorted(replaceable(files), key=lambda file: file != _RUN):
        root.rm_file(file)


def claim_place(place: str) -> None:
    """As `claim`, of a place.

    Raises:
        FileExistsError: it holds files that vis-ros did not write.
    """
    if not is_url(place):
        claim(Path(place))
        return
    files, _ = _files(place)
    if files and MARKER not in files:
        raise FileExistsError(
            f'{place} already holds files that vis-ros did not write, and nothing in it is replaced: '
            'give a new or empty place with --out'
        )
    write_text(joined(place, MARKER), MARKER_TEXT)


def read_text(place: str) -> str:
    """The text of a file. FileNotFoundError if there is none."""
    if not is_url(place):
        return Path(place).read_text(encoding='utf-8')
    folder, _, name = place.rpartition('/')
    _, root = _files(folder, listed=False)
    return str(root.cat_file(name).decode())


def write_text(place: str, text: str) -> None:
    """Write a whole file."""
    if not is_url(place):
        write_whole(Path(place), text)
        return
    folder, _, name = place.rpartition('/')
    _write(_files(folder, listed=False)[1], name, text.encode())


def remove(place: str) -> None:
    """Remove a file, if there is one."""
    if not is_url(place):
        Path(place).unlink(missing_ok=True)
        return
    folder, _, name = place.rpartition('/')
    files, root = _files(folder)
    if name in files:
        root.rm_file(name)


def identity_of(place: str) -> dict[str, str]:
    """As `source_identity`; of a URL by what its storage tells of each file: size, time, checksum."""
    if not is_url(place):
        return source_identity(Path(place))
    files, root = _files(place)
    if not files:
        raise FileNotFoundError(f'there is no recording {place}')
    lines = [f'{file} {root.ukey(file)}\n' for file in files]
    return {'source': hashlib.sha256(''.join(lines).encode()).hexdigest()}


@contextmanager
def _naming(copy: Path, place: str) -> Iterator[None]:
    """Name the place in errors about a copy of it, which nobody can look at afterwards."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(str(error).replace(str(copy), place)) from error


def _write(root: Any, name: str, content: bytes) -> None:
    root.makedirs(name.rpartition('/')[0], exist_ok=True)
    root.pipe_file(name, content)


def _files(url: str, listed: bool = True) -> tuple[list[str], Any]:
    """The names of all files below a URL in order, '' for a file itself, and the file system of these names."""
    require('storage', f'storage at {url}')
    from fsspec.core import url_to_fs
    from fsspec.implementations.dirfs import DirFileSystem

    try:
        system, root = url_to_fs(url)
        system.invalidate_cache()
        names = sorted(system.find(root)) if listed else []
    except (ImportError, ValueError, OSError) as error:
        raise ValueError(f'{url} cannot be read: {error}') from error
    below = [name.removeprefix(root).lstrip('/') for name in names]
    return below, DirFileSystem(path=root, fs=system)
