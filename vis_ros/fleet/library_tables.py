"""Tables of a replayed library as Parquet files: one row for each camera, each frame and each object in a frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis_ros.datasets.replay_folder import RECORDS
from vis_ros.datasets.segmentation import to_rle
from vis_ros.extras import require
from vis_ros.unicode_text import unicode_text
from vis_ros.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow

VERSION = 1
"""Of the columns, `vis_ros.tables` in the metadata of each file: raised when a column changes its meaning or goes."""

TABLES: Mapping[str, Mapping[str, str]] = {
    'recordings': {
        'recording': 'string',
        'camera': 'string',
        'folder': 'string',
        'seconds': 'float64',
        'frames': 'int64',
        'skipped': 'int64',
        'instances': 'int64',
        'tracks': 'int64',
        'error': 'string',
        'incomplete': 'string',
        'model': 'string',
        'vis_ros': 'string',
        'weights': 'string',
        'settings': 'string',
        'source': 'string',
    },
    'frames': {
        'recording': 'string',
        'camera': 'string',
        'index': 'int64',
        'stamp': 'float64',
        'stamp_ns': 'int64',
        'frame_id': 'string',
        'name': 'string',
        'height': 'int32',
        'width': 'int32',
        'epoch': 'int64',
        'sequence': 'int64',
        'dropped': 'int64',
        'objects': 'int32',
    },
    'tracks': {
        'recording': 'string',
        'camera': 'string',
        'index': 'int64',
        'stamp': 'float64',
        'stamp_ns': 'int64',
        'epoch': 'int64',
        'track_id': 'int64',
        'state': 'string',
        'hits': 'int64',
        'first_seen': 'float64',
        'class_id': 'int32',
        'class_name': 'string',
        'score': 'float64',
        'match_score': 'float64',
        'x0': 'float64',
        'y0': 'float64',
        'x1': 'float64',
        'y1': 'float64',
        'area': 'int64',
        'centroid_x': 'float64',
        'centroid_y': 'float64',
        'position_x': 'float64',
        'position_y': 'float64',
        'position_z': 'float64',
        'height': 'int32',
        'width': 'int32',
        'mask': 'binary',
    },
}
"""Table -> column -> Arrow type. doc/recordings.md describes them."""

_FRAMES_AT_ONCE = 2000  # bounds the memory


def write_tables(out: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Write recordings.parquet, frames.parquet and tracks.parquet, in the order of the rows.

    Args:
        out: the folder of the results.
        rows: of library.json, see `vis_ros.datasets.library_file.read_library`.

    Returns:
        The paths of the files. The same results give the same bytes.

    Raises:
        ValueError: pyarrow is not installed.
        OSError: a table could not be written, or results.jsonl is damaged.
    """
    require('tables', 'writing tables')
    with ExitStack() as stack:
        add = {name: _writer(stack, _path(out, name), columns) for name, columns in TABLES.items()}
        add['recordings']([{**row, **row['identity']} for row in rows])
        for row in rows:
            where = {'recording': row['recording'], 'camera': row['camera']}
            records = _records(out, row['folder'])
            while some := list(islice(records, _FRAMES_AT_ONCE)):
                add['frames']([{**where, **record, 'objects': len(record['instances'])} for record in some])
                add['tracks']([{**where, **each} for record in some for each in _objects(record)])
    return [_path(out, name) for name in TABLES]


def _path(out: Path, table: str) -> Path:
    return out / f'{table}.parquet'


def _writer(stack: ExitStack, path: Path, columns: Mapping[str, str]) -> Callable[[list[dict[str, Any]]], None]:
    """A function that appends rows to a new table. Keys that are no column are left out, missing ones become null."""
    texts = [name for name, kind in columns.items() if kind == 'string']
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [pa.field(name, _type(kind)) for name, kind in columns.items()], metadata={'vis_ros.tables': str(VERSION)}
    )
    writer = stack.enter_context(parquet.ParquetWriter(stack.enter_context(whole_file(path)), schema))

    def add(rows: list[dict[str, Any]]) -> None:
        unicode_rows = [{**row, **{name: unicode_text(row[name]) for name in texts if row.get(name)}} for row in rows]
        writer.write_table(pa.Table.from_pylist(unicode_rows, schema))

    return add


def _type(kind: str) -> pyarrow.DataType:
    """An Arrow type by its name."""
    import pyarrow as pa

    made: pyarrow.DataType = getattr(pa, kind)()
    return made


def _records(out: Path, folder: str) -> Iterator[dict[str, Any]]:
    """The lines of a results.jsonl; none if the recording could not be replayed."""
    path = out / folder / RECORDS
    if not path.is_file():
        return
    with path.open(encoding='utf-8') as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                record['instances']
            except (ValueError, LookupError, TypeError) as error:
                raise ValueError(
                    f'line {number} of {folder}/{RECORDS} is damaged ({error}). Delete the folder {folder} from the '
                    'results, and the same command replays the recording again'
                ) from error
            yield record


def _objects(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    size = (record['height'], record['width'])
    frame = {name: record[name] for name in ('index', 'stamp', 'stamp_ns', 'epoch', 'height', 'width')}
    for each in record['instances']:
        yield {
            **frame,
            **each,
            **dict(zip(('x0', 'y0', 'x1', 'y1'), each['box'], strict=True)),
            **dict(zip(('centroid_x', 'centroid_y'), each['centroid'], strict=True)),
            **dict(zip(('position_x', 'position_y', 'position_z'), each.get('position') or (), strict=False)),
            'mask': to_rle(each['mask'], size)['counts'],
        }
