"""A file appears complete or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from vis_ros.whole_file import whole_file


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / 'model.bin'
    path.write_text('good')
    with pytest.raises(OSError, match=r'model\.bin could not be written: unexpected pos'), whole_file(path) as partial:
        partial.write_text('ba')
        raise RuntimeError('unexpected pos')  # what torch says on a full disk
    assert path.read_text() == 'good' and list(tmp_path.iterdir()) == [path]


def test_the_new_content_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / 'model.bin'
    for text in ('first', 'second'):
        with whole_file(path) as partial:
            partial.write_text(text)
        assert path.read_text() == text and list(tmp_path.iterdir()) == [path]


def test_an_error_is_told_once_where_files_are_written_together(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r'^\S*two\.bin could not be written: full\. Is the disk full\?$'),
        whole_file(tmp_path / 'one.bin'),
        whole_file(tmp_path / 'two.bin'),
    ):
        raise RuntimeError('full')
    with (
        pytest.raises(OSError, match=r'^\S*one\.bin could not be written: not a number$'),
        whole_file(tmp_path / 'one.bin'),
    ):
        raise ValueError('not a number')  # no fault of the disk
    assert not list(tmp_path.iterdir())
