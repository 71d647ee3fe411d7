"""The cache folder: files and folders that were used least recently are deleted first."""

import os
from pathlib import Path

from vis_ros.user_cache import delete_least_recently_used, mark_used


def entry(folder: Path, name: str, used: int, size: int = 100) -> Path:
    path = folder / name
    path.mkdir()
    (path / 'graph').write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def test_entries_are_deleted_in_the_order_of_use(tmp_path: Path) -> None:
    old, older, oldest = (entry(tmp_path, name, used) for name, used in (('b', 30), ('c', 20), ('a', 10)))
    delete_least_recently_used(tmp_path, 10**6)
    assert oldest.exists()
    mark_used(oldest)
    delete_least_recently_used(tmp_path, 200)
    assert oldest.exists() and old.exists() and not older.exists()


def test_the_last_one_is_kept_however_large_it_is(tmp_path: Path) -> None:
    newest, old = entry(tmp_path, 'new', 20, size=5000), entry(tmp_path, 'old', 10)
    delete_least_recently_used(tmp_path, 1000)
    assert newest.exists() and not old.exists()


def test_files_that_do_not_match_are_not_touched(tmp_path: Path) -> None:
    for name in ('a.engine', 'b.engine', 'c.lock'):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (ord(name[0]), ord(name[0])))
    delete_least_recently_used(tmp_path, 150, '*.engine')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['b.engine', 'c.lock']
