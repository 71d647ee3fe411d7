"""Where vis_ros keeps files that it can make or fetch again."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
from functools import cache
from pathlib import Path

from vis_ros.scratch import ScratchFolder


def user_cache(*folders: str) -> Path:
    """The cache folder of this user: $XDG_CACHE_HOME/vis_ros, or ~/.cache/vis_ros, and `folders` below it.

    A user without a home directory has one that lasts as long as the process.
    """
    try:
        root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    except RuntimeError:
        root = _of_this_process().path
    return root.joinpath('vis_ros', *folders)


def delete_least_recently_used(folder: Path, limit: int, pattern: str = '*') -> None:
    """Delete files or folders of a cache until the rest has at most `limit` bytes; the one used last is kept.

    Args:
        folder: of the cache; all files and folders in it that match the pattern count.
        limit: in bytes.
        pattern: of `Path.glob`.
    """
    entries = [(entry.stat().st_mtime, entry) for entry in folder.glob(pattern)]
    total = 0
    for index, (_, entry) in enumerate(sorted(entries, reverse=True)):
        total += sum(file.stat().st_size for file in (entry, *entry.rglob('*')) if file.is_file())
        if index and total > limit:
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def mark_used(entry: Path) -> None:
    """Delete this file or folder of a cache later than those that were used before now."""
    with contextlib.suppress(OSError):  # a file of another user: it is only deleted sooner
        os.utime(entry)


@cache
def _of_this_process() -> ScratchFolder:
    folder = ScratchFolder()
    atexit.register(folder.close)
    return folder
