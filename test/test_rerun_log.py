"""`vis-ros view --out`: the .rrd of a run, read by Rerun's own reader and compared with results.jsonl."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pytest
from helpers.made_library import job, run, write_images
from rerun.chunk import RrdReader

from vis_ros.cli import main
from vis_ros.masks import rle


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('view')
    write_images(root / 'images', count=4)
    run(root / 'images', job(root / 'out'))
    return root


def view(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['vis-ros', 'view', *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return int(ended.value.code or 0)


def columns(file: Path) -> dict[str, list[dict]]:
    """Entity -> its rows, in the order of time."""
    rows: dict[str, list[dict]] = {}
    for chunk in RrdReader(str(file)).stream():
        batch = chunk.to_record_batch()
        kept = [field.name for field in batch.schema if not pyarrow.types.is_temporal(field.type)]
        rows.setdefault(chunk.entity_path, []).extend(batch.select(kept).to_pylist())
    return rows


def test_every_frame_has_its_image_masks_and_boxes(folder: Path, tmp_path: Path, monkeypatch) -> None:
    results = folder / 'out' / 'images'
    out = tmp_path / 'run.rrd'
    assert view(monkeypatch, results, '--source', folder / 'images', '--truth', results, '--out', out) == 0
    found = columns(out)
    lines = [json.loads(line) for line in (results / 'results.jsonl').open()]
    for entity in ('image', 'image/masks', 'image/boxes', 'image/truth'):
        times = Counter(row['frame'] for row in found[f'/camera/{entity}'] if row.get('frame') is not None)
        assert set(times) == {line['index'] for line in lines}, entity
    masks = {row['frame']: row for row in found['/camera/image/masks'] if row.get('SegmentationImage:buffer')}
    images = {row['frame']: row for row in found['/camera/image'] if row.get('EncodedImage:blob')}
    for line in lines:
        expected = np.zeros((line['height'], line['width']), np.uint16)
        for each in line['instances']:
            expected[rle.decode(each['mask']['counts'], *expected.shape) > 0] = each['track_id']
        buffer = np.array(masks[line['index']]['SegmentationImage:buffer'][0], np.uint8)
        np.testing.assert_array_equal(buffer.view(np.uint16).reshape(expected.shape), expected)
        data = np.array(images[line['index']]['EncodedImage:blob'][0], np.uint8)
        original = cv2.imread(str(folder / 'images' / line['name']))
        assert np.abs(cv2.imdecode(data, cv2.IMREAD_COLOR).astype(int) - original).mean() < 10
    for entity in ('/camera', '/camera/image/truth'):
        (context,) = (
            row['AnnotationContext:context'][0] for row in found[entity] if row.get('AnnotationContext:context')
        )
        colors = {each['class_id']: each['class_description']['info']['color'] for each in context}
        assert colors[0] == 0, 'the background is clear'
        assert all(colors[each['track_id']] & 0xFF == 0xFF for line in lines for each in line['instances'])
    boxes = next(row for row in found['/camera/image/boxes'] if row.get('frame') == 0 and row.get('Boxes2D:labels'))
    assert boxes['Boxes2D:labels'] == [
        f'{each["track_id"]} {each["class_name"]} {each["score"]:.2f}' for each in lines[0]['instances']
    ]


def test_a_recording_that_is_gone_is_told(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    results = tmp_path / 'results'
    shutil.copytree(folder / 'out' / 'images', results)
    run = json.loads((results / 'run.json').read_text())
    (results / 'run.json').write_text(json.dumps({**run, 'source': 'gone.mcap'}))
    assert view(monkeypatch, results, '--out', tmp_path / 'run.rrd') == 0
    assert 'No images: the recording gone.mcap is not there. Give it with --source.' in capsys.readouterr().out
    assert '/camera/image/masks' in columns(tmp_path / 'run.rrd')


def test_names_that_are_no_unicode(folder: Path, tmp_path: Path, monkeypatch) -> None:
    results = tmp_path / os.fsdecode(b'caf\xe9')
    for name in (b'a\xe9', b'b'):  # two cameras
        shutil.copytree(folder / 'out' / 'images', results / os.fsdecode(name))
    assert view(monkeypatch, results, '--out', tmp_path / 'run.rrd') == 0
    entities = [name for name in columns(tmp_path / 'run.rrd') if name.endswith('/image/masks')]
    assert len(entities) == 2 and any('udce9' in name for name in entities)


def test_a_file_is_not_replaced(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / 'mine.rrd').write_text('mine')
    assert view(monkeypatch, folder / 'out' / 'images', '--out', tmp_path / 'mine.rrd') == 1
    assert 'already exists' in capsys.readouterr().err and (tmp_path / 'mine.rrd').read_text() == 'mine'
