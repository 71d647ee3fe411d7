"""library.json: the recordings of a library and where their results are, written by `vis-ros replay` of a library."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vis_ros.datasets.problems import AnnotationError, Problem, plural, read_json, shown

LIBRARY = 'library.json'
"""The file that makes a folder the results of a library. It appears when all recordings were tried."""

LIBRARY_FILES = (LIBRARY, 'recordings.parquet', 'frames.parquet', 'tracks.parquet')
"""What a library has beside the results of its recordings."""

VERSION = 1
"""Of the layout: raised when a field changes its meaning or goes."""

_LISTED = 3


def read_library(out: Path) -> list[dict[str, Any]]:
    """The rows of library.json: one for each camera, see `vis_ros.fleet.unit_replay.row_of`, and its `folder`.

    Raises:
        AnnotationError: it has another version, or a row without a folder inside `out`.
    """
    path = out / LIBRARY
    content = read_json(path)
    version = content.get('version') if isinstance(content, dict) else None
    if version != VERSION:
        what = f'has version {shown(version)}, and this vis_ros reads {VERSION}'
        raise AnnotationError([Problem(str(path), '', what)])
    rows = content.get('rows')
    if not isinstance(rows, list):
        raise AnnotationError([Problem(str(path), '', f"'rows' is {shown(rows)}, expected a list")])
    for number, row in enumerate(rows):
        folder = row.get('folder') if isinstance(row, dict) else None
        if not isinstance(folder, str) or not _is_inside(folder):
            what = f"'folder' is {shown(folder)}, expected a path inside {out}"
            raise AnnotationError([Problem(str(path), f'row {number}', what)])
    return rows


def _is_inside(folder: str) -> bool:
    path = PurePosixPath(folder)
    return not path.is_absolute() and '..' not in path.parts and folder not in ('', '.')


def library_remarks(rows: Sequence[dict[str, Any]], found: Collection[str]) -> list[str]:
    """Which recordings of a library have no results, or only a part. `found`: folders with results."""
    broken = [f'{row["folder"]} ({row["error"]})' for row in rows if row.get('error')]
    lost = [row['folder'] for row in rows if not row.get('error') and row['folder'] not in found]
    return [
        f'{plural(len(each), "recording")} of the library {what}: {"; ".join(each[:_LISTED])}'
        + (f' and {len(each) - _LISTED} more' if len(each) > _LISTED else '')
        for each, what in ((broken, 'broke'), (lost, 'left out, because their results are not in their folders'))
        if each
    ]
