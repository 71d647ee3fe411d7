"""Shared memory of Fast DDS in /dev/shm: how much is free, and removing what killed processes left behind."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from vis_ros.scratch import is_locked

FOLDER = Path('/dev/shm')

_LOCK = re.compile(r'fast(?:dds|rtps)_[0-9a-f]{16}_el')
_NEW_S = 10.0
"""A segment that is younger may not have been locked yet."""


def free_bytes(folder: Path = FOLDER) -> int:
    """Free shared memory; 0 if there is none."""
    return shutil.disk_usage(folder).free if folder.is_dir() else 0


def remove_stale_segments(folder: Path = FOLDER) -> int:
    """Remove the segments of processes that have ended without removing them. Returns the number of bytes.

    A process locks a file beside its segment for as long as it lives, whichever container it runs in.
    """
    removed = 0
    for lock in _stale_locks(folder):
        segment = lock.with_name(lock.name.removesuffix('_el'))
        with suppress(OSError):  # removed meanwhile, or of another user
            size = segment.stat().st_size
            segment.unlink()
            removed += size
        with suppress(OSError):
            lock.unlink()
    return removed


def _stale_locks(folder: Path) -> Iterator[Path]:
    """Lock files that no process holds."""
    for lock in folder.glob('fast*_el'):
        with suppress(OSError):
            if _LOCK.fullmatch(lock.name) and time.time() - lock.stat().st_mtime > _NEW_S and not is_locked(lock):
                yield lock
