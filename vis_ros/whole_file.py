"""whole_file: write a file that appears complete or not at all, also after kill -9, a full disk or a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vis_ros.scratch import ScratchFolder


class _NotWrittenError(OSError):
    """A file could not be written; says which and why."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, with the name of `path`. At the end of the block its content is on the disk and replaces it.

    After an error `path` is unchanged and nothing is left behind. What kill -9 leaves is removed by the next call for
    the same folder. The path is in a folder of its own: libraries have temporary files beside what they write.

    Raises:
        OSError: the file could not be written, whatever error the block raised for it; names the file. One that an
            inner block raised for its own file is not changed.
    """
    try:
        with ScratchFolder(path.parent) as folder:
            partial = folder / path.name
            yield partial
            put(partial, path)
    except _NotWrittenError:
        raise
    except Exception as error:  # libraries report a full disk as RuntimeError, SafetensorError and others
        reason = str(error) if isinstance(error, ValueError) else f'{error}. Is the disk full?'
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise _NotWrittenError(f'{path} could not be written: {reason}') from error


def write_whole(path: Path, text: str) -> None:
    r"""Write a text as `whole_file` does, in UTF-8. What is not Unicode, as in some names of files, becomes \udcff."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding='utf-8', errors='backslashreplace', newline='\n')


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of writing to an open file the path of that file, so that its message names it."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def put(partial: Path, path: Path) -> None:
    """Replace `path` by a complete file of the same file system, once its content is on the disk."""
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
