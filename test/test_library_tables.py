"""The Parquet tables of a library, read by DuckDB and compared with results.jsonl."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as parquet
import pytest
from helpers.made_library import job, make_library, run

from vis_ros.datasets import coco_rle
from vis_ros.datasets.library_file import read_library
from vis_ros.fleet.library_tables import TABLES, VERSION, write_tables
from vis_ros.masks import rle


@pytest.fixture(scope='module')
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('tables')
    run(make_library(root / 'library'), job(root / 'out'))
    write_tables(root / 'out', read_library(root / 'out'))
    return root / 'out'


def select(out: Path, text: str) -> list[tuple]:
    tables = {name: f"read_parquet('{out}/{name}.parquet')" for name in TABLES}
    return duckdb.sql(text.format(**tables)).fetchall()


def lines(out: Path) -> dict[str, list[dict]]:
    files = {row['folder']: out / row['folder'] / 'results.jsonl' for row in read_library(out)}
    return {name: [json.loads(line) for line in file.open()] for name, file in files.items() if file.exists()}


def test_the_numbers_of_rows_are_those_of_the_library(out: Path) -> None:
    rows = read_library(out)
    assert select(out, 'select count(*), sum(frames) from {recordings}') == [
        (len(rows), sum(row['frames'] for row in rows))
    ]
    counted = select(out, 'select recording, camera, count(*), sum(objects) from {frames} group by all')
    assert {(recording, camera): (count, total) for recording, camera, count, total in counted} == {
        (row['recording'], row['camera']): (row['frames'], row['instances']) for row in rows if row['frames']
    }
    assert select(out, 'select recording from {recordings} where error != $$$$ order by 1') == [
        ('broken.mp4',),
        ('cut',),
        ('unreadable',),
    ]


def test_a_row_of_tracks_is_an_object_of_a_frame(out: Path) -> None:
    columns = 'index, stamp_ns, epoch, track_id, state, class_name, score, x0, y0, x1, y1, area'
    order = "where recording = 'day1/drive' and camera = 'rear.image' order by index, track_id"
    expected = [
        (
            *(line['index'], line['stamp_ns'], line['epoch'], each['track_id'], each['state'], each['class_name']),
            *(each['score'], *each['box'], each['area']),
        )
        for line in lines(out)['day1/drive/rear.image']
        for each in line['instances']
    ]
    assert select(out, f'select {columns} from {{tracks}} {order}') == expected and expected


def test_masks_are_those_of_the_results(out: Path) -> None:
    found = select(out, 'select index, track_id, height, width, mask from {tracks} where recording = $$frames/a$$')
    masks = {
        (index, track_id): coco_rle.decode({'size': [h, w], 'counts': mask}) for index, track_id, h, w, mask in found
    }
    for line in lines(out)['frames/a']:
        for each in line['instances']:
            expected = rle.decode(each['mask']['counts'], line['height'], line['width'])
            np.testing.assert_array_equal(masks.pop((line['index'], each['track_id'])), expected)
    assert not masks


def test_the_columns_are_those_that_are_documented(out: Path) -> None:
    page = (Path(__file__).parents[1] / 'doc' / 'recordings.md').read_text()
    for name, columns in TABLES.items():
        schema = parquet.read_schema(out / f'{name}.parquet')
        assert {field.name: str(field.type) for field in schema} == {
            column: {'float64': 'double'}.get(kind, kind) for column, kind in columns.items()
        }
        assert schema.metadata[b'vis_ros.tables'] == str(VERSION).encode()
        documented = next(line for line in page.splitlines() if line.startswith(f'| `{name}.parquet` |'))
        assert set(documented.split('`')[3::2]) == set(columns)


def test_the_same_results_give_the_same_bytes(out: Path) -> None:
    before = [(out / f'{name}.parquet').read_bytes() for name in TABLES]
    assert [path.read_bytes() for path in write_tables(out, read_library(out))] == before


def test_names_that_are_not_unicode_are_written_as_in_other_files(tmp_path: Path) -> None:
    write_tables(tmp_path, [{'recording': 'b\udcffd', 'camera': '', 'folder': 'b', 'error': '', 'identity': {}}])
    assert select(tmp_path, 'select recording from {recordings}') == [('b\\udcffd',)]


@pytest.mark.parametrize('damage', ['{"index": 3', '{"index": 3}', '7', '\x00'])
def test_damaged_results_are_named(out: Path, tmp_path: Path, damage: str) -> None:
    row = next(row for row in read_library(out) if row['frames'])
    file = tmp_path / row['folder'] / 'results.jsonl'
    file.parent.mkdir(parents=True)
    whole = (out / row['folder'] / 'results.jsonl').read_text().splitlines()[:1]
    file.write_text('\n'.join([*whole, damage]))
    with pytest.raises(OSError, match=rf'line 2 of {row["folder"]}/results.jsonl is damaged') as raised:
        write_tables(tmp_path, [row])
    assert 'Is the disk full' not in str(raised.value) and not list(tmp_path.glob('*.parquet'))
