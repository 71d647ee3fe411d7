"""The output folder of a replay, offline or live."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vis_ros.claim import MARKER, check_free, claim, is_ours
from vis_ros.datasets.library_file import LIBRARY_FILES
from vis_ros.recordings.bag_files import is_bag_file, remove_bag
from vis_ros.replay.offline.photo_files import OVERLAYS
from vis_ros.replay.offline.video_files import NAMES

_RUN = 'run.json'
_OF_FOLDER = ('results.json', _RUN, *LIBRARY_FILES)


def check_room(folder: Path, recordings: Iterable[Path]) -> None:
    """Check that a folder can hold the results of a replay, before anything is loaded or written.

    Raises:
        ValueError: the folder and one of the recordings overlap.
        FileExistsError: the folder holds files that vis-ros has not written.
    """
    for path in (recording.resolve() for recording in recordings):
        written = [folder.resolve() / name for name in ('bag', *NAMES)]
        if folder.resolve().is_relative_to(path) or any(path.is_relative_to(each) for each in written):
            raise ValueError(
                f'{folder} cannot hold the results: it overlaps the recording {path}; choose another --out'
            )
    check_free(folder)


@contextmanager
def room(folder: Path, recordings: Collection[Path], videos: Iterable[str]) -> Iterator[None]:
    """As `make_room`, and no other process can make room in the folder until the end of the block.

    Raises:
        ValueError, FileExistsError: as `make_room`, or another process writes into the folder.
    """
    check_room(folder, recordings)
    claim(folder)
    with (folder / MARKER).open('r+b') as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileExistsError(
                f'another replay writes into {folder}: wait until it has ended, or choose another --out'
            ) from None
        except OSError:  # the file system has no locks
            pass
        make_room(folder, recordings, videos)
        yield


def make_room(folder: Path, recordings: Iterable[Path], videos: Iterable[str]) -> None:
    """Create the folder and one for each of several videos, without the files of an earlier replay.

    Only files of known names are removed, in folders that are marked as ours.

    Args:
        folder: for the results.
        recordings: that are replayed.
        videos: names of the folders in it.

    Raises:
        ValueError: the folder and one of the recordings overlap.
        FileExistsError: one of the folders holds files that vis-ros has not written, or `folder/bag` is not a bag.
    """
    check_room(folder, recordings)
    claim(folder)
    remove_bag(folder / 'bag')
    for video in (folder, *_videos_of(folder)):
        for name in NAMES:
            (video / name).unlink(missing_ok=True)
        if is_ours(video / OVERLAYS):
            shutil.rmtree(video / OVERLAYS)
    for name in _OF_FOLDER:  # what reads a library would not see the new results
        (folder / name).unlink(missing_ok=True)
    for path in sorted(folder / video for video in videos):
        for part in reversed((path, *path.parents)):
            if part.is_relative_to(folder) and part != folder:
                claim(part)


def replaceable(files: Collection[str]) -> list[str]:
    """Of the files in a folder of ours, by their paths in it: those that `make_room` removes for one video."""
    overlays = f'{OVERLAYS}/{MARKER}' in files
    return [
        file
        for file in files
        if file in (*NAMES, *_OF_FOLDER)
        or (file.startswith('bag/') and is_bag_file(file.removeprefix('bag/')))
        or (overlays and file.startswith(f'{OVERLAYS}/'))
    ]


def _videos_of(folder: Path) -> Iterator[Path]:
    """The folders of the videos of an earlier replay. Other runs, with their own run.json, are none."""
    for inside in folder.iterdir():
        if inside.is_dir() and not inside.is_symlink() and not (inside / _RUN).exists():
            if is_ours(inside):
                yield inside
            yield from _videos_of(inside)
