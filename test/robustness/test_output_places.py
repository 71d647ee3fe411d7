"""What is not ours is never touched: every command that writes, and every place that a user may name for its output."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import typer
import yaml
from helpers.rectangles import RED, draw

from vis_ros.cli import main

FOLDERS = {
    'demo': 'demo --out {out}',
    'replay': 'replay {frames} --out {out} --codec mp4v',
    'replay of a library': 'replay {library} --workers 1 --out {out} --codec mp4v',
    'replay-live': 'replay-live {frames} --out {out}',
    'evaluate': 'evaluate {truth} {truth} --out {out}',
    'compare-models': 'compare-models {truth} --model feelvos --out {out}',
    'train': 'train {config} --out {out}',
    'data convert': 'data convert {truth} {out} --to davis',
    'data synth': 'data synth {out} --videos 1 --frames 2',
}
"""Commands that write into a folder of their own."""

FILES = {
    'train-init': 'train-init {truth} --no-measure --out {out}',
    'benchmark': 'benchmark {frames} --json {out}',
    'view': 'view {frames} --out {out}',
    'weights convert': 'weights convert {checkpoint} --out {out}',
}
"""Commands that write one file."""

BESIDE = {'export'}
"""Commands that write beside the files of the user: test_export.py has their tests."""

OUTPUTS = {'out', 'json_file'}
INPUTS = {
    *('source', 'results', 'truth', 'compare', 'images', 'labels', 'held_out', 'held_out_images', 'config'),
    *('calibrate', 'recording', 'annotations', 'path', 'file', 'params_file', 'run'),
}
"""Parameters with paths that commands read."""

WRITTEN = (
    *('bag/drive.mcap', 'bag/metadata.yaml', 'results.json', 'run.json', 'results.jsonl', 'overlay.mp4'),
    *('contact_sheet.png', 'instances.json', 'comparison.json', 'evaluation.json', 'report.html', 'metrics.json'),
    *('checkpoint.pt', 'tiny.safetensors', 'losses.jsonl', 'library.json', 'JPEGImages/a/0.jpg', 'notes.txt'),
)
"""Files of the user, most of them with names that commands write."""


def commands(app: typer.Typer = main.app, prefix: str = '') -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__.replace('_', '-')), command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f'{prefix}{group.name} ')


def test_every_command_that_writes_is_tested_here() -> None:
    writing = set()
    for name, callback in commands():
        parameters = inspect.signature(callback, eval_str=True).parameters.values()
        paths = {each.name for each in parameters if 'Path' in str(each.annotation) or each.name in OUTPUTS}
        assert paths <= OUTPUTS | INPUTS, f'{name} has a path that is neither an output nor an input'
        if paths & OUTPUTS:
            writing.add(name)
    assert writing == {*FOLDERS, *FILES, *BESIDE} - {'replay of a library'}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Something to read for each command."""
    (tmp_path / 'library' / 'day' / 'frames').mkdir(parents=True)
    (tmp_path / 'truth' / 'Annotations' / 'a').mkdir(parents=True)
    (tmp_path / 'truth' / 'JPEGImages' / 'a').mkdir(parents=True)
    for number in range(2):
        image = draw((number, 5, number + 10, 15, RED))
        cv2.imwrite(str(tmp_path / 'library' / 'day' / 'frames' / f'{number}.png'), image)
        cv2.imwrite(str(tmp_path / 'truth' / 'JPEGImages' / 'a' / f'{number}.jpg'), image)
        mask = (image[..., 2] > 200).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / 'truth' / 'Annotations' / 'a' / f'{number}.png'), mask)
    config = {
        'data': [{'kind': 'scenes'}],
        'model': {'name': 'tiny', 'class_names': ['shape'], 'backbone': 'resnet18', 'fpn_channels': 16},
        'pretrained': '',
        'device': 'cpu',
        'steps': 0,
    }
    (tmp_path / 'train.yaml').write_text(yaml.safe_dump(config))
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'checkpoint.pth')
    return {
        'frames': tmp_path / 'library' / 'day' / 'frames',
        'library': tmp_path / 'library',
        'truth': tmp_path / 'truth',
        'config': tmp_path / 'train.yaml',
        'checkpoint': tmp_path / 'checkpoint.pth',
    }


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with files of the user."""
    for name in WRITTEN:
        (tmp_path / 'mine' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'mine' / name).write_text('mine')
    (tmp_path / 'link').symlink_to(tmp_path / 'mine')
    (tmp_path / 'link to a file').symlink_to(tmp_path / 'mine' / 'notes.txt')
    return tmp_path / 'mine'


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def refusal(arguments: str, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """The one line with which a command refuses, before it loads a network."""

    def loads(*arguments: object, **options: object) -> None:
        raise AssertionError('a network is loaded first')

    monkeypatch.setattr('vis_ros.tracking.model.load_engine', loads)
    monkeypatch.setattr('vis_ros.load', loads)
    monkeypatch.setattr('vis_ros.replay.live.live_replay.open_player', loads)
    words = [each.format(**paths) for each in arguments.split()]
    monkeypatch.setattr(sys, 'argv', ['vis-ros', *words])
    with pytest.raises(SystemExit) as caught:
        main.main()
    error: str = capsys.readouterr().err
    assert caught.value.code == 1, error
    assert error.startswith('vis-ros: ') and error.count('\n') == 1 and 'unexpected' not in error, error
    return error


@pytest.mark.parametrize('place', ['mine', 'mine/notes.txt', 'link', 'link to a file', 'mine/notes.txt/out'])
@pytest.mark.parametrize('name', FOLDERS)
def test_a_folder_of_the_user_is_refused_and_not_touched(name, place, inputs, mine, tmp_path, monkeypatch, capsys):
    before = content(tmp_path)
    out = tmp_path / place
    error = refusal(FOLDERS[name], {**inputs, 'out': out}, monkeypatch, capsys)
    assert str(tmp_path / place.removesuffix('/out')) in error
    assert content(tmp_path) == before


@pytest.mark.parametrize('name', FOLDERS)
def test_the_source_is_refused_and_not_touched(name, inputs, tmp_path, monkeypatch, capsys):
    before = content(tmp_path)
    for source in ('frames', 'library', 'truth'):
        error = refusal(FOLDERS[name], {**inputs, 'out': inputs[source]}, monkeypatch, capsys)
        assert str(inputs[source]) in error and content(tmp_path) == before


@pytest.mark.parametrize(
    ('name', 'source'), [('replay', 'frames'), ('replay-live', 'frames'), ('data convert', 'truth')]
)
def test_an_output_in_the_source_is_refused(name, source, inputs, tmp_path, monkeypatch, capsys):
    """It would be a part of it the next time."""
    before = content(tmp_path)
    error = refusal(FOLDERS[name], {**inputs, 'out': inputs[source] / 'new'}, monkeypatch, capsys)
    assert str(inputs[source] / 'new') in error and content(tmp_path) == before
    assert not (inputs[source] / 'new').exists()


@pytest.mark.parametrize('place', ['mine/notes.txt', 'link to a file', 'mine', 'mine/notes.txt/out'])
@pytest.mark.parametrize('name', FILES)
def test_a_file_of_the_user_is_refused_and_not_touched(name, place, inputs, mine, tmp_path, monkeypatch, capsys):
    before = content(tmp_path)
    error = refusal(FILES[name], {**inputs, 'out': tmp_path / place}, monkeypatch, capsys)
    assert str(tmp_path / place.removesuffix('/out')) in error
    assert content(tmp_path) == before
