"""Whether every object of the classes is labeled, or only some of them: results cannot show it, so it is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from vis_ros.datasets.problems import AnnotationError, Problem, read_json, shown
from vis_ros.datasets.video import AnnotatedVideos

Labels = Literal['exhaustive', 'partial']

LABELS_FILE = 'vis_ros_labels.json'
"""In the folder of converted annotations whose format has no place for it."""

_KEY = 'labels'
_PARTIAL_KINDS = ('DAVIS mask images',)
"""Formats whose data sets label the objects of interest only."""


def labels_of(videos: AnnotatedVideos, chosen: Labels | None = None) -> tuple[Labels, str]:
    """Whether all objects are labeled, and how this is known, in words: chosen, stored in the file, or guessed."""
    if chosen is not None:
        return chosen, f'labels: {chosen}, as chosen'
    if videos.labels:
        return videos.labels, f'labels: {videos.labels}, as stored with them'
    if videos.kind in _PARTIAL_KINDS:
        return 'partial', 'labels: partial, because DAVIS labels only some of the objects (--labels exhaustive if not)'
    return 'exhaustive', 'labels: exhaustive, every object is labeled (--labels partial if not)'


def stored_labels(content: Any, file: Path) -> Labels | None:
    """The entry of a JSON object (`info` of a data set, or LABELS_FILE); None without one.

    Raises:
        AnnotationError: it is neither 'exhaustive' nor 'partial'.
    """
    value = content.get(_KEY) if isinstance(content, dict) else None
    if value is not None and value not in get_args(Labels):
        what = f'{_KEY!r} is {shown(value)}, expected {" or ".join(map(repr, get_args(Labels)))}'
        raise AnnotationError([Problem(str(file), 'info', what)])
    return value


def read_labels(path: Path) -> Labels | None:
    """What LABELS_FILE says in a folder, or next to the file or folder `path`; None without such a file."""
    for file in (path / LABELS_FILE, path.parent / LABELS_FILE):
        if file.is_file():
            return stored_labels(read_json(file), file)
    return None


def write_labels(folder: Path, labels: Labels) -> None:
    """Write LABELS_FILE."""
    (folder / LABELS_FILE).write_text(json.dumps({_KEY: labels}) + '\n', encoding='ascii')
