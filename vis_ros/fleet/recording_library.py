"""The recordings of a library: a folder, a pattern or a text file of them; each camera of a bag is a unit of work."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vis_ros.datasets.frame_images import folder_names
from vis_ros.image_files import VIDEO_SUFFIXES, natural_order
from vis_ros.recordings.bag_files import has_metadata, is_bag, is_storage
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.folder_recording import images_in
from vis_ros.recordings.opening import open_recording

_RUN = 'run.json'
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unit:
    """One camera of one recording, whose frames are processed one after the other.

    name: of its folder in the results, unique in the library: the path of the recording in the library, and for one of
        several cameras the topic with dots for slashes.
    recording: the path of the recording in the library; path: its path.
    topic: the image topic of one of several cameras, else ''.
    frames: number of frames, seconds: duration of the recording; 0 if only reading it tells.
    """

    name: str
    recording: str
    path: str
    topic: str = ''
    frames: int = 0
    seconds: float = 0.0

    @property
    def camera(self) -> str:
        """The name of the camera: its topic with dots for slashes, '' for the only one."""
        return self.name.removeprefix(f'{self.recording}/') if self.name != self.recording else camera_name(self.topic)


def camera_name(topic: str) -> str:
    """A topic as the name of a folder.

    >>> camera_name('/front/image_raw')
    'front.image_raw'
    """
    return topic.strip('/').replace('/', '.')


def is_library(source: Path) -> bool:
    """Whether a source names several recordings that are no single replay.

    That is a pattern, a text file, or a folder with bags or videos in it. A folder of image folders is a single replay.
    """
    if not source.is_dir():
        return (not source.exists() and _is_pattern(source)) or source.suffix.lower() == '.txt'
    if _is_one(source):
        return False
    return any(not path.is_dir() or is_bag(path) or path.parent != source for path in _recordings_in(source))


def find_units(source: Path, topic: str | None = None) -> list[Unit]:
    """The units of a library in natural order of their names.

    A recording that cannot be opened is a unit too: replaying it tells why.

    Args:
        source: a folder, which is searched through, without the results of replays; a glob pattern; or a text file with
            a recording in each line, relative to the file. Empty lines and lines that start with # mean nothing.
        topic: of all bags; None: each image topic is a unit.

    Raises:
        FileNotFoundError: `source` does not exist.
        ValueError: it holds no recording, or a text file names one twice.
    """
    root, paths = _paths(source)
    if not paths:
        raise ValueError(f'{source} holds no recording: no bag, no video and no folder of images')
    if twice := sorted({str(path) for path in paths if paths.count(path) > 1}):
        raise ValueError(f'{source} names recordings twice: {", ".join(twice)}')
    units = [unit for path in paths for unit in _units(path, path.relative_to(root).as_posix(), topic)]
    return sorted(units, key=lambda unit: natural_order(unit.name))


def part_of(units: Sequence[Unit], part: str) -> list[Unit]:
    """The units of part 'I/N' of a library, in parts of about the same duration. ValueError for another form."""
    number, _, count = part.partition('/')
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f'--part {part!r} is not I/N with I from 1 to N, such as 3/20')
    return sorted(units, key=lambda unit: -unit.seconds)[int(number) - 1 :: int(count)]


def _paths(source: Path) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the recordings."""
    if source.is_dir():
        return (source.parent, [source]) if _is_one(source) else (source, list(_recordings_in(source, _tell_masks)))
    if _is_pattern(source) and not source.exists():
        paths = [Path(path) for path in sorted(glob.glob(str(source), recursive=True), key=natural_order)]
    elif source.suffix.lower() == '.txt':
        lines = [line.strip() for line in source.read_text(encoding='utf-8').splitlines()]
        paths = [source.parent / line for line in lines if line and not line.startswith('#')]
    elif source.exists():
        paths = [source]
    else:
        raise FileNotFoundError(f'there is no library {source}')
    paths = [Path(os.path.abspath(path)) for path in paths]
    return Path(os.path.commonpath([path.parent for path in paths])) if paths else source, paths


def _tell_masks(folder: Path) -> None:
    _logger.warning('%s is not replayed: it holds the masks of JPEGImages', folder)


def _is_pattern(source: Path) -> bool:
    return glob.has_magic(str(source))


def _recordings_in(
    folder: Path, on_masks: Callable[[Path], None] = lambda path: None, seen: set[Path] | None = None
) -> Iterator[Path]:
    """The recordings below a folder that is none itself, in natural order.

    Links may lead to a folder again: it is searched once. `seen`: the real paths of those that were. The masks of a
    DAVIS folder are no recordings; `on_masks` is called with their folder.
    """
    seen = set() if seen is None else seen
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    for path in sorted(folder.iterdir(), key=lambda each: natural_order(each.name)):
        if path.name.startswith('.'):
            continue
        if not path.is_dir():
            if is_storage(path) or path.suffix.lower() in VIDEO_SUFFIXES:
                yield path
        elif (path / _RUN).exists():
            continue
        elif path.name.startswith('Annotations') and (path.parent / 'JPEGImages').is_dir():
            on_masks(path)
        elif _is_one(path):
            yield path
        else:
            yield from _recordings_in(path, on_masks, seen)


def _is_one(folder: Path) -> bool:
    """Whether a folder is one bag or one folder of images."""
    return bool(images_in(folder)) or (is_bag(folder) and not _are_separate(folder))


def _are_separate(folder: Path) -> bool:
    """Whether the storage files in a folder are bags of their own: without metadata, and not numbered parts of one."""
    if has_metadata(folder):
        return False
    names = {file.name.split('.')[0].rstrip('0123456789') for file in folder.iterdir() if is_storage(file)}
    return len(names) > 1


def _units(path: Path, recording: str, topic: str | None) -> list[Unit]:
    topics: Sequence[str] = ['']
    try:
        if topic is None and path.exists() and is_bag(path):
            used = list(dict.fromkeys(each.name for each in BagReader(path).image_topics if each.count))
            topics = used if len(used) > 1 else ['']
        folders = folder_names([camera_name(each) for each in topics])
        return [_unit(path, recording, each, folder, topic) for each, folder in zip(topics, folders, strict=True)]
    except (ValueError, OSError):
        return [Unit(recording, recording, str(path), topic or '')]


def _unit(path: Path, recording: str, topic: str, folder: str, chosen: str | None) -> Unit:
    opened = open_recording(path, (topic or chosen) if is_bag(path) else None)
    count, rate = opened.count or 0, opened.rate
    seconds = round(count / rate, 3) if rate else 0.0
    name = f'{recording}/{folder}' if topic else recording
    return Unit(name, recording, str(path), topic or (chosen or '') * is_bag(path), count, seconds)
