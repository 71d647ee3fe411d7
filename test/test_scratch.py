"""Temporary files end with their process; what a killed one leaves, the next one removes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vis_ros.engines.openvino.compiled_cache import CompiledCache
from vis_ros.scratch import ScratchFolder, scratch_file
from vis_ros.whole_file import naming, whole_file

KILLED = """
import os, signal, sys
from pathlib import Path
from vis_ros.scratch import ScratchFolder, scratch_file
folder = Path(sys.argv[1])
with ScratchFolder(folder) as inside, scratch_file(folder) as file:
    (inside / 'model.safetensors').write_text('half')
    (inside / '.tmp1').touch()
    print('ready', flush=True)
    sys.stdin.read()
"""


def child(folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, '-c', KILLED, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b'ready\n'
    return process


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    with child(tmp_path) as killed, child(tmp_path) as living:
        assert len(list(tmp_path.iterdir())) == 4
        killed.kill()
        killed.wait()
        CompiledCache(tmp_path).store('key', b'content')
        assert (tmp_path / 'key.openvino').is_file() and len(list(tmp_path.iterdir())) == 3
        living.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ['key.openvino']


def test_files_of_similar_names_stay(tmp_path: Path) -> None:
    names = ['.vis_ros', '.vis_ros-12', '.vis_ros-notes-of-mine', 'vis_ros-12345678', 'model.part']
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / '.vis_ros-12345678').symlink_to(tmp_path / 'model.part')
    with ScratchFolder(tmp_path), scratch_file(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, '.vis_ros-12345678'])


def test_a_scratch_folder_ends_with_its_object(tmp_path: Path) -> None:
    folder = ScratchFolder(tmp_path)
    (folder.path / 'file').touch()
    del folder
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    (tmp_path / 'usual').touch()
    with whole_file(tmp_path / 'whole') as partial:
        partial.touch()
    assert (tmp_path / 'whole').stat().st_mode == (tmp_path / 'usual').stat().st_mode


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r'No space left on device: .*full\.json'),
        naming(tmp_path / 'full.json'),
        open('/dev/full', 'w') as file,
    ):
        file.write('text')
        file.flush()
