"""The files of a bag: which paths are bags, and how to remove one."""

from __future__ import annotations

import shutil
from pathlib import Path

from vis_ros.image_files import is_hidden

SUFFIXES = ('.mcap', '.db3')
"""Suffixes of the storage files of a bag, in lower case. zstd may be appended: 'bag_0.db3.zstd'."""

METADATA = 'metadata.yaml'
PARTIAL_METADATA = 'metadata.yaml.tmp'
"""What rosbags writes the metadata to. A process that is killed or finds the disk full may leave it behind."""

INFORMATION = 'rosbag2_bagfile_information'
"""The key in metadata.yaml by which it belongs to a bag; other programs write files of this name too."""

MCAP_MAGIC = b'\x89MCAP0\r\n'
SQLITE_MAGIC = b'SQLite format 3\0'


class BagError(ValueError):
    """A bag cannot be read, or not to its end. Names the file, what is wrong and how to repair it."""


def is_bag(path: Path) -> bool:
    """Whether a path is a storage file of a bag, or a folder with such files or with their metadata."""
    if path.is_dir():
        return any(is_storage(file) for file in path.iterdir()) or has_metadata(path)
    return is_storage(path) or starts_as_bag(path)


def is_bag_file(name: str) -> bool:
    """Whether the name of a file in a bag folder is that of metadata or storage.

    >>> is_bag_file('drive_0.mcap.zstd'), is_bag_file('metadata.yaml'), is_bag_file('notes.txt'), is_bag_file('x/y.db3')
    (True, True, False, False)
    """
    return name in (METADATA, PARTIAL_METADATA) or ('/' not in name and _is_storage_name(name))


def _is_storage_name(name: str) -> bool:
    return name.lower().removesuffix('.zstd').endswith(SUFFIXES) and not is_hidden(Path(name))


def is_storage(file: Path) -> bool:
    """Whether a path is a storage file of a bag, by its suffix. Hidden files are not ('._drive.mcap' of macOS)."""
    return _is_storage_name(file.name) and file.is_file()


def storage_files(folder: Path) -> list[Path]:
    """The storage files in a folder, unordered; none if the path is a file."""
    return [file for file in folder.iterdir() if is_storage(file)] if folder.is_dir() else []


def starts_as_bag(file: Path) -> bool:
    """Whether the content of a file starts as that of a storage file of a bag."""
    return file.is_file() and first_bytes(file).startswith((MCAP_MAGIC, SQLITE_MAGIC))


def first_bytes(file: Path, count: int = 16) -> bytes:
    """The first bytes of a file."""
    with file.open('rb') as content:
        return content.read(count)


def has_metadata(folder: Path) -> bool:
    """Whether a folder has the metadata of a bag."""
    file = folder / METADATA
    return file.is_file() and INFORMATION.encode() in file.read_bytes()


def remove_bag(path: Path) -> None:
    """Remove a bag folder, if there is one.

    Raises:
        FileExistsError: the folder holds something other than a bag.
    """
    if not path.exists():
        return
    if not path.is_dir() or any(
        file.name not in (METADATA, PARTIAL_METADATA) and not is_storage(file) for file in path.iterdir()
    ):
        raise FileExistsError(f'{path} is not a bag folder and is not replaced; remove it or choose another place')
    shutil.rmtree(path)
