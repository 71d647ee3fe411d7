"""Ground truth of a library of recordings: one file for all, or one for each recording, found by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vis_ros.datasets.labels import labels_of
from vis_ros.datasets.library_file import LIBRARY, read_library
from vis_ros.datasets.problems import AnnotationError, Problem
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos

_SUFFIXES = ('.json', '.xml', '.txt', '.jsonl', '.mcap', '.db3')
_LISTED = 5

Open = Callable[[Path], AnnotatedVideos]


@dataclass(frozen=True)
class _Place:
    """Where the labels of one camera are: the path, and whether they are those of all cameras of the recording."""

    path: Path
    of_all_cameras: bool


def is_library_folder(results: Path) -> bool:
    """Whether results are those of a library."""
    return (results / LIBRARY).is_file()


def open_label_library(labels: Path, results: Path, open_labels: Open) -> AnnotatedVideos:
    """Open the ground truth of a replayed library.

    The labels of a recording are `labels`/RECORDING, and those of one of its cameras `labels`/RECORDING/CAMERA, as a
    folder or as a file with a suffix of a known format; RECORDING may go without its own suffix. If no recording has
    labels there, `labels` itself is opened, and its videos belong to the recordings of the same names.

    Args:
        labels: file or folder.
        results: folder with library.json.
        open_labels: opens one ground truth, see `open_annotations`.

    Raises:
        AnnotationError: several labels belong to the same recording, or some cannot be read.
    """
    rows = read_library(results)
    places = {row['folder']: place for row in rows if (place := _place(labels, row)) is not None}
    if not places:
        return open_labels(labels)
    opened = {path: open_labels(path) for path in dict.fromkeys(place.path for place in places.values())}
    cameras = {row['folder']: str(row.get('camera') or '') for row in rows}
    names = list(dict.fromkeys(name for each in opened.values() for name in each.class_names))
    videos = [
        _Named(name, _video(place, opened[place.path], cameras[name]), _numbers(opened[place.path], names))
        for name, place in places.items()
    ]
    return _together(str(labels), names, videos, list(opened.values()), _unused(labels, set(opened)))


def _place(labels: Path, row: Mapping[str, Any]) -> _Place | None:
    recording, camera = str(row.get('recording') or row['folder']), str(row.get('camera') or '')
    bases = dict.fromkeys([recording, PurePosixPath(recording).with_suffix('').as_posix()])
    own = _found(labels, [f'{base}/{camera}' for base in bases]) if camera else None
    if own:
        return _Place(own, False)
    shared = _found(labels, list(bases))
    return _Place(shared, bool(camera)) if shared else None


def _found(labels: Path, bases: Sequence[str]) -> Path | None:
    paths = [path for base in bases for suffix in ('', *_SUFFIXES) if (path := labels / f'{base}{suffix}').exists()]
    paths = [path for path in dict.fromkeys(paths) if not (path.is_dir() and _has_only_folders_of_cameras(path))]
    if len(paths) > 1:
        raise AnnotationError(
            [Problem(str(labels), '', f'has several labels for {bases[0]}: {", ".join(path.name for path in paths)}')]
        )
    return paths[0] if paths else None


def _has_only_folders_of_cameras(folder: Path) -> bool:
    """Whether a folder holds nothing that could be labels, such as one with the folders of further recordings."""
    return not any(path.is_file() and path.suffix.lower() in (*_SUFFIXES, '.png') for path in folder.rglob('*'))


def _video(place: _Place, opened: AnnotatedVideos, camera: str) -> AnnotatedVideo:
    """The video of one camera."""
    videos = list(opened.videos)
    if len(videos) > 1:
        videos = [video for video in videos if video.name.strip('/').replace('/', '.') == camera]
    if len(videos) == 1:
        return videos[0]
    has = ', '.join(video.name for video in opened.videos[:_LISTED])
    wanted = f'one of the camera {camera}' if place.of_all_cameras else 'a single one'
    raise AnnotationError([Problem(str(place.path), '', f'holds the videos {has}, expected {wanted}')])


def _numbers(opened: AnnotatedVideos, names: Sequence[str]) -> list[int]:
    return [names.index(name) for name in opened.class_names]


def _unused(labels: Path, used: set[Path]) -> list[str]:
    """What lies beside the labels that were used and belongs to no recording."""
    inner = {parent for path in used for parent in path.parents}
    beside = {path for folder in {path.parent for path in used} for path in folder.iterdir()}
    left = sorted(path for path in beside - used - inner if not path.name.startswith('.'))
    return [path.relative_to(labels).as_posix() for path in left if path.is_dir() or path.suffix.lower() in _SUFFIXES]


class _Named(AnnotatedVideo):
    """A video under another name and with other numbers for its classes."""

    def __init__(self, name: str, video: AnnotatedVideo, numbers: Sequence[int]) -> None:
        super().__init__(name, len(video))
        self._video, self._numbers = video, np.asarray(numbers, np.int64)

    @property
    def inferred(self) -> str:
        return self._video.inferred

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        for frame in self._video:
            crowds = [(int(self._numbers[class_id]), mask) for class_id, mask in frame.crowds]
            yield replace(frame, class_ids=self._numbers[frame.class_ids], crowds=crowds)


def _together(
    source: str, names: list[str], videos: Sequence[AnnotatedVideo], opened: list[AnnotatedVideos], unused: list[str]
) -> AnnotatedVideos:
    more = f' and {len(unused) - _LISTED} more' if len(unused) > _LISTED else ''
    remarks = [f'labels without a recording: {", ".join(unused[:_LISTED])}{more}'] if unused else []
    kinds, stored = {each.kind for each in opened}, {each.labels for each in opened}
    partial = any(labels_of(each)[0] == 'partial' for each in opened)
    return AnnotatedVideos(
        source=source,
        kind=', '.join(sorted(kinds)),
        class_names=tuple(names),
        videos=videos,
        has_classes=all(each.has_classes for each in opened),
        labels=stored.pop() if len(kinds) == len(stored) == 1 else 'partial' if partial else 'exhaustive',
        of_photos=all(each.of_photos for each in opened),
        supercategories={name: group for each in opened for name, group in each.supercategories.items()},
        remarks=tuple(dict.fromkeys([*(remark for each in opened for remark in each.remarks), *remarks])),
    )
