"""EngineCache: a stored engine is only used if everything fits, and only one of two processes builds."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny_graph import write_tiny_graph

from vis_ros.engines.tensorrt.build import BuildTarget, build_plan
from vis_ros.engines.tensorrt.engine_cache import EngineCache, EngineKey, OpenedEngine
from vis_ros.engines.tensorrt.session import CudaError

ROOT = Path(__file__).resolve().parents[1]
PLAN = bytes(range(256)) * 40
KEY = EngineKey(
    name='demo.masktrack_rcnn',
    graph_sha256='a' * 64,
    weights_sha256='b' * 64,
    library='TensorRT-RTX 1.7.1',
    gpu='NVIDIA RTX A5000',
    capability='8.6',
    precision='fp16',
    batch=1,
    height=288,
    width=512,
)
OTHER = {
    'name': 'mine.mask_rcnn',
    'graph_sha256': 'c' * 64,
    'weights_sha256': 'c' * 64,
    'library': 'TensorRT-RTX 1.8.0',
    'gpu': 'NVIDIA RTX 4000 Ada',
    'capability': '8.9',
    'precision': 'fp32',
    'batch': 4,
    'height': 256,
    'width': 500,
}


class Builder:
    """Counts its builds."""

    def __init__(self, plan: bytes = PLAN) -> None:
        self.plan, self.built = plan, 0

    def __call__(self, path: Path) -> str:
        self.built += 1
        path.write_bytes(self.plan)
        return 'fp16'


def load(plan: bytes) -> bytes:
    return plan


def open_twice(
    cache: EngineCache, between: Callable[[Path], object] = lambda path: None
) -> tuple[int, OpenedEngine[bytes]]:
    """The number of builds of a second call of `open`, and its result. `between` gets the file in between."""
    cache.open(KEY, Builder(), load)
    between(cache.folder / KEY.file_name)
    builder = Builder()
    opened = cache.open(KEY, builder, load)
    assert opened.engine == PLAN
    return builder.built, opened


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / 'new' / 'folder')
    builder = Builder()
    assert cache.open(KEY, builder, load) == OpenedEngine(PLAN, 'fp16', '')
    assert cache.open(KEY, builder, load) == OpenedEngine(PLAN, 'fp16', '')
    assert builder.built == 1
    assert sorted(path.suffix for path in cache.folder.iterdir()) == ['.engine', '.lock']


def test_the_file_name_is_readable() -> None:
    assert KEY.file_name.startswith('demo.masktrack_rcnn.fp16.b1.288x512.tensorrt-rtx-1.7.1.sm86.')


@pytest.mark.parametrize('field', list(OTHER))
def test_an_engine_with_another_key_is_not_used(tmp_path: Path, field: str) -> None:
    other = replace(KEY, **{field: OTHER[field]})
    assert other.file_name != KEY.file_name
    cache = EngineCache(tmp_path)
    cache.open(KEY, Builder(), load)
    (tmp_path / KEY.file_name).rename(tmp_path / other.file_name)  # even if the file name is right
    builder = Builder()
    cache.open(other, builder, load)
    assert builder.built == 1


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        (lambda data: data[:-1000], 'it has 9240 of 10240 bytes'),
        (lambda data: data[:60], 'header is damaged'),
        (lambda data: data[:10], 'not an engine file'),
        (lambda data: b'', 'not an engine file'),
        (lambda data: data[:-1] + b'x', 'checksum is wrong'),
        (lambda data: data + b'more', 'it has 10244 of 10240 bytes'),
        (
            lambda data: data.replace(b'RTX 1.7.1', b'RTX 1.6.0'),
            'library is TensorRT-RTX 1.6.0, not TensorRT-RTX 1.7.1',
        ),
        (lambda data: data.replace(b'A5000', b'A4000'), 'gpu is NVIDIA RTX A4000'),
        (lambda data: data.replace(b'engine 1\n', b'engine 0\n'), 'not an engine file of this version'),
    ],
)
def test_a_damaged_engine_is_built_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    built, opened = open_twice(EngineCache(tmp_path), lambda path: path.write_bytes(damage(path.read_bytes())))
    assert (built, opened.note) == (1, '')
    assert reason in caplog.text
    assert open_twice(EngineCache(tmp_path))[0] == 0


def test_a_plan_that_cannot_be_loaded_is_built_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EngineCache(tmp_path)
    cache.open(KEY, Builder(b'of another driver'), load)

    def picky(plan: bytes) -> bytes:
        if plan != PLAN:
            raise ValueError('the driver is too new')
        return plan

    assert cache.open(KEY, Builder(), picky).engine == PLAN
    assert 'building it again: the driver is too new' in caplog.text
    with pytest.raises(ValueError, match='too new'):
        cache.open(replace(KEY, batch=2), Builder(b'of another driver'), picky)


def test_an_engine_is_kept_if_the_gpu_has_too_little_memory(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.open(KEY, Builder(), load)

    def too_large(plan: bytes) -> bytes:
        raise OSError('out of memory')

    builder = Builder()
    with pytest.raises(OSError, match='out of memory'):
        cache.open(KEY, builder, too_large)
    assert builder.built == 0
    assert (tmp_path / KEY.file_name).is_file()


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / 'file').touch()
    opened = EngineCache(tmp_path / 'file' / 'cache').open(KEY, Builder(), load)
    assert opened.engine == PLAN
    assert 'is built at every start' in opened.note
    assert 'Not a directory' in opened.note
    assert opened.note in caplog.text


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', no_space)
    opened = EngineCache(tmp_path).open(KEY, Builder(), load)
    assert opened.engine == PLAN
    assert 'No space left' in opened.note
    assert [path.suffix for path in tmp_path.iterdir()] == ['.lock']


def test_an_engine_is_kept_if_the_gpu_fails(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    cache.open(KEY, Builder(), load)

    def fail(plan: bytes) -> bytes:
        raise CudaError('the GPU cannot create a stream: cudaErrorDevicesUnavailable')

    builder = Builder()
    with pytest.raises(CudaError, match='cudaErrorDevicesUnavailable'):
        cache.open(KEY, builder, fail)
    assert builder.built == 0 and (tmp_path / KEY.file_name).is_file()


def test_a_lock_file_that_cannot_be_written(tmp_path: Path) -> None:
    """In a separate process, because a limit on the size of files cannot be removed again."""
    script = (
        'import resource, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);'
        'from test_engine_cache import EngineCache, KEY, Builder, load;'
        'import vis_ros.engines.tensorrt.engine_cache as module;'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN);'
        'module._build_and_store = lambda path, key, build, load, reason="": print("built", path);'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));'
        'EngineCache(Path(sys.argv[1])).open(KEY, Builder(), load)'
    )
    result = subprocess.run(
        [sys.executable, '-c', script, str(tmp_path), str(ROOT / 'test')], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert f'built {tmp_path / KEY.file_name}' in result.stdout


def test_a_failed_build_leaves_no_file(tmp_path: Path) -> None:
    def fail(path: Path) -> str:
        path.write_bytes(b'half an eng')
        raise ChildProcessError('killed')

    with pytest.raises(ChildProcessError, match='killed'):
        EngineCache(tmp_path).open(KEY, fail, load)
    assert [path.suffix for path in tmp_path.iterdir()] == ['.lock']


# --- processes --------------------------------------------------------------------------------------------------------

PROCESS = """
import json, logging, sys, time
from pathlib import Path
from vis_ros.engines.tensorrt.engine_cache import EngineCache, EngineKey

logging.basicConfig(level=logging.INFO, format='%(message)s')
folder, key = Path(sys.argv[1]), EngineKey(**json.loads(sys.argv[2]))

def build(path):
    with (folder / 'builds').open('a') as file:
        file.write('built ')
    time.sleep(float(sys.argv[3]))
    path.write_bytes(b'plan')
    return 'fp16'

folder.mkdir(exist_ok=True)
print(EngineCache(folder).open(key, build, bytes).engine.decode())
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, '-c', PROCESS, str(folder), json.dumps(KEY.__dict__), str(seconds)]
    environment = os.environ | {'TMPDIR': str(folder)}  # a killed process leaves files there
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)


def test_only_one_of_two_processes_builds(tmp_path: Path) -> None:
    first = start(tmp_path, 2)
    wait_for(tmp_path / 'builds')
    second = start(tmp_path, 2)
    results = [process.communicate(timeout=60) for process in (first, second)]
    assert [out.strip() for out, _ in results] == ['plan', 'plan']
    assert (tmp_path / 'builds').read_text().split() == ['built']
    assert f'process {first.pid} is building the same engine: waiting for it' in results[1][1]


def test_the_lock_of_a_dead_process_is_released(tmp_path: Path) -> None:
    first = start(tmp_path, 600)
    wait_for(tmp_path / 'builds')
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=20)
    assert [path.suffix for path in tmp_path.glob('demo*')] == ['.lock']
    out, _ = start(tmp_path, 0).communicate(timeout=30)
    assert out.strip() == 'plan'


# --- with TensorRT ----------------------------------------------------------------------------------------------------


def test_an_engine_built_by_tensorrt_rtx_is_cached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip('tensorrt_rtx_bindings')
    graph = write_tiny_graph(tmp_path, batch=4)
    cache = EngineCache(tmp_path / 'cache')
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            opened = cache.open(KEY, lambda plan: build_plan(graph, plan, BuildTarget('tensorrt_rtx', (8, 6))), load)
    assert len(opened.engine) > 10_000
    assert opened.graph_precision == 'fp16'
    assert caplog.text.count('built the TensorRT engine') == 1
