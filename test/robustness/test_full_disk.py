"""A full disk: one message that names the file and the cause, whole files, and nothing else."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vis_ros.recordings.bag_files import BagError, remove_bag
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.whole_folder import whole_folder


def limited(limit: int, code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose files can have `limit` bytes: what is beyond fails as on a full disk."""

    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, '-c', code, *map(str, arguments)]
    options = {'capture_output': True, 'text': True, 'timeout': 120}
    return subprocess.run(command, check=False, preexec_fn=limit_files, **options)


RECORDS = """
import sys
from pathlib import Path
from vis_ros.instances import Instances
from vis_ros.replay.offline.record_files import RecordFiles
files = RecordFiles(Path(sys.argv[1]))
try:
    for index in range(100):
        files.add(None, Instances.empty((10, 10)), {'index': index, 'text': 'x' * 1000})
except OSError as error:
    print(error)
files.close()
"""


def test_records_have_whole_lines(tmp_path: Path) -> None:
    done = limited(10_500, RECORDS, tmp_path)
    assert done.stderr == '' and done.stdout == f"[Errno 27] File too large: '{tmp_path}/results.jsonl'\n"
    lines = [json.loads(line) for line in (tmp_path / 'results.jsonl').read_text().splitlines()]
    assert [line['index'] for line in lines] == list(range(10))


BAG = """
import sys
from vis_ros.recordings.bag_writer import BagWriter
try:
    with BagWriter(sys.argv[1]) as bag:
        bag.add_topic('/a', 'std_msgs/msg/String')
        for second in range(100):
            bag.write('/a', second * 10**9, bytes(1000))
except OSError as error:
    print(error)
"""


def test_a_bag_can_be_read_up_to_there_and_replaced(tmp_path: Path) -> None:
    done = limited(30_000, BAG, tmp_path / 'bag')
    assert done.stderr == '' and done.stdout == f"[Errno 27] File too large: '{tmp_path}/bag'\n"
    reader, count = BagReader(tmp_path / 'bag'), 0
    with pytest.raises(BagError, match='breaks off'):
        for _ in reader.messages(reader.topics):
            count += 1
    assert count > 20
    (tmp_path / 'bag' / 'metadata.yaml.tmp').touch()  # of a process that was killed just then
    remove_bag(tmp_path / 'bag')
    assert not (tmp_path / 'bag').exists()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    for name in ('new', 'empty'):
        with pytest.raises(OSError, match=f'No space.*{name}/a.txt'), whole_folder(tmp_path / name) as written:
            written.mkdir()
            (written / 'a.txt').write_text('a')
            raise OSError(28, 'No space left on device', 'image.jpg', None, str(written / 'a.txt'))
    assert list(tmp_path.rglob('*')) == [tmp_path / 'empty']
    with whole_folder(tmp_path / 'empty') as written:
        assert written.name == 'empty'
        written.mkdir()
        (written / 'a.txt').write_text('a')
    assert [path.name for path in (tmp_path / 'empty').iterdir()] == ['a.txt']
    with pytest.raises(FileExistsError, match='already exists'), whole_folder(tmp_path / 'empty'):
        pass


CLAIM = """
import sys
from pathlib import Path
from vis_ros.claim import claim
try:
    claim(Path(sys.argv[1]))
except OSError as error:
    print(error)
"""


def test_the_mark_of_a_folder_is_named(tmp_path: Path) -> None:
    done = limited(10, CLAIM, tmp_path / 'out')
    assert done.stderr == '' and done.stdout == f"[Errno 27] File too large: '{tmp_path}/out/.vis_ros'\n"


ROWS = """
import sys
from pathlib import Path
from vis_ros.training.run_log import _keep_rows
try:
    _keep_rows(Path(sys.argv[1]), 10)
except OSError as error:
    print(error)
"""


def test_the_log_of_a_run_that_is_continued_is_not_cut(tmp_path: Path) -> None:
    rows = ''.join(json.dumps({'step': step, 'loss': 0.5}) + '\n' for step in range(10))
    (tmp_path / 'train.jsonl').write_text(rows)
    done = limited(100, ROWS, tmp_path / 'train.jsonl')
    assert f'{tmp_path}/train.jsonl could not be written' in done.stdout, done.stderr
    assert (tmp_path / 'train.jsonl').read_text() == rows
