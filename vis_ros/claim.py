"""Folders that a command writes into: empty or made by this package, so that nothing of anybody else is replaced."""

from __future__ import annotations

import os
from pathlib import Path

from vis_ros.whole_file import naming

MARKER = '.vis_ros'
"""A file of this name marks a folder that vis-ros has made. Files of known names in it are replaced."""

MARKER_TEXT = 'vis-ros made this folder. Another run with the same --out replaces the files that it writes itself.\n'


def check_free(folder: Path) -> None:
    """Check that a folder for output does not exist, is empty, or is marked as ours.

    Raises:
        FileExistsError: it holds files, and vis-ros did not make it; or the path or a part of it is a file.
    """
    check_parents(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise FileExistsError(f'{folder} is a file; give a folder for the output')
    if folder.is_dir() and not is_ours(folder) and any(folder.iterdir()):
        raise FileExistsError(
            f'{folder} already holds files that vis-ros did not write, and nothing in it is replaced: '
            'give a new or empty folder with --out'
        )


def check_new(path: Path, option: str) -> None:
    """Check that a file for output does not exist and that its folder can. `option`: that names another file.

    Raises:
        FileExistsError: it exists, or what its folder would be is a file.
    """
    check_parents(path)
    if os.path.lexists(path):
        raise FileExistsError(f'{path} already exists and is not replaced: give another file with {option}')


def check_outside(folder: Path, source: Path) -> None:
    """Check that a folder for output does not lie in what is read. Raises ValueError if it does."""
    if folder.resolve().is_relative_to(source.resolve()):
        raise ValueError(f'{folder} is in {source}, which is read: give a new or empty folder elsewhere')


def check_parents(path: Path) -> None:
    """Check that no part of a path above its name is a file. Raises FileExistsError otherwise."""
    above = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), path)
    if not above.is_dir():
        raise FileExistsError(f'{path} cannot be made: {above} is a file')


def claim(folder: Path) -> None:
    """Make a folder for output and mark it as ours. Raises FileExistsError as `check_free`."""
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with naming(folder / MARKER):
        (folder / MARKER).write_text(MARKER_TEXT, encoding='ascii')


def is_ours(folder: Path) -> bool:
    """Whether `claim` has marked a folder."""
    return (folder / MARKER).is_file()
