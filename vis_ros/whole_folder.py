"""whole_folder: write a folder whose content appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vis_ros.claim import check_parents
from vis_ros.scratch import ScratchFolder, remove_abandoned


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A path to write a new folder to, with the name of `out`. At the end of the block `out` gets its content.

    After an error nothing is left of it. What kill -9 leaves is removed by the next call for the same folder.

    Raises:
        FileExistsError: `out` exists and is not an empty folder.
    """
    check_parents(out)
    is_new = not os.path.lexists(out)
    if out.is_dir():
        remove_abandoned(out)
    if not is_new and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} already exists; give a new or empty folder')
    out.mkdir(parents=True, exist_ok=True)
    try:
        with ScratchFolder(out) as scratch:
            written = scratch / out.resolve().name
            with _naming(written, out):
                yield written
            for path in written.iterdir():
                path.replace(out / path.name)
    except BaseException:
        if is_new:
            out.rmdir()
        raise


@contextmanager
def _naming(written: Path, out: Path) -> Iterator[None]:
    """Name the file that an OSError is about by the place where it would have been; `out` where it names none."""
    try:
        yield
    except OSError as error:
        names = [Path(name) for name in (error.filename2, error.filename) if isinstance(name, str | Path)]
        inside = [out / name.relative_to(written) for name in names if name.is_relative_to(written)]
        if error.errno is None or (names and not inside):
            raise
        raise OSError(error.errno, error.strerror, str((inside or [out])[0])) from error
