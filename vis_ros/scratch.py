"""Temporary files and folders that do not outlive their process: what a killed one leaves, the next one removes."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = '.vis_ros-'
_NAME = re.compile(re.escape(_PREFIX) + '[0-9a-f]{8}')


class ScratchFolder:
    """A temporary folder, removed by `close`, at the end of a `with` block, or with this object.

    A process locks it for as long as it lives, whichever container it runs in. What a killed process has left in the
    same parent is removed when the next one is made there.

    path: of the folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Make a folder in `parent`, which exists; None is the system's folder for temporary files."""
        self.path, self._lock = _new(parent or Path(tempfile.gettempdir()), Path.mkdir)

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it could not be made
            self.close()


@contextmanager
def scratch_file(parent: Path) -> Iterator[Path]:
    """An empty temporary file in a folder, for what must be beside others; else as `ScratchFolder`. It may be moved."""
    path, lock = _new(parent, lambda new: new.touch(exist_ok=False))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def is_locked(path: Path) -> bool:
    """Whether a living process holds a lock on a file or folder; also if this cannot be known."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or the file system has no locks
        return True
    finally:
        os.close(descriptor)  # which gives up the lock
    return False


def _new(parent: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    """A new file or folder, and the descriptor that locks it."""
    remove_abandoned(parent)
    while True:
        path = parent / f'{_PREFIX}{secrets.token_hex(4)}'
        make(path)
        with suppress(FileNotFoundError):  # taken for abandoned before it was locked
            lock = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # without locks nobody removes it
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if path.exists():
                return path, lock
            os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove what killed processes have left in a folder."""
    for path in parent.glob(f'{_PREFIX}*'):
        with suppress(OSError):  # removed meanwhile, or of another user
            if _NAME.fullmatch(path.name) and not path.is_symlink() and not is_locked(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
