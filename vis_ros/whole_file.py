"""whole_file: write a file that appears complete or not at all, also after kill -9, a full disk or a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to. At the end of the block its content is on the disk and replaces `path`.

    After an error `path` is unchanged and nothing is left behind; after kill -9 one `.part` file is, which the next
    call for the same path replaces.

    Raises:
        OSError: the file could not be written, whatever error the block raised for it; names the file.
    """
    partial = path.with_name(path.name + '.part')
    try:
        yield partial
        with partial.open('r+b') as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except Exception as error:  # libraries report a full disk as RuntimeError, SafetensorError and others
        partial.unlink(missing_ok=True)
        raise OSError(f'{path} could not be written: {error}. Is the disk full?') from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
