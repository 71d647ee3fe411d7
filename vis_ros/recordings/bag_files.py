"""The files of a bag: which paths are bags, and how to remove one."""

from __future__ import annotations

import shutil
from pathlib import Path

SUFFIXES = ('.mcap', '.db3')
"""Suffixes of the storage files of a bag."""

METADATA = 'metadata.yaml'


class BagError(ValueError):
    """A bag cannot be read, or not to its end. Names the file, what is wrong and how to repair it."""


def is_bag(path: Path) -> bool:
    """Whether a path is a storage file of a bag, or a folder with such files or with their metadata."""
    if path.is_dir():
        return (path / METADATA).is_file() or any(is_storage(file) for file in path.iterdir())
    return is_storage(path)


def is_storage(file: Path) -> bool:
    """Whether a path is a storage file of a bag."""
    return file.is_file() and file.suffix in SUFFIXES


def remove_bag(path: Path) -> None:
    """Remove a bag folder, if there is one.

    Raises:
        FileExistsError: the folder holds something other than a bag.
    """
    if not path.exists():
        return
    if not path.is_dir() or any(file.name != METADATA and not is_storage(file) for file in path.iterdir()):
        raise FileExistsError(f'{path} is not a bag folder and is not replaced; remove it or choose another place')
    shutil.rmtree(path)
