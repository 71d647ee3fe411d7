"""EngineCache: built TensorRT engines on disk. An engine is used only if everything that it depends on is unchanged."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from vis_ros.engines.tensorrt.build import PROGRESS_PERIOD_S
from vis_ros.scratch import ScratchFolder
from vis_ros.user_cache import delete_least_recently_used, mark_used
from vis_ros.whole_file import whole_file

_FIRST_LINE = b'vis_ros TensorRT engine 1\n'
_SUFFIX = '.engine'
_LIMIT = 4 << 30  # bytes

T = TypeVar('T')
Build = Callable[[Path], str]
"""Writes a plan to a path and returns the precision in which its graph specifies its layers."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        name: of the graph, to make the file name readable.
        graph_sha256, weights_sha256: hexadecimal digests of the two files.
        library: flavour and version of TensorRT.
        gpu: name of the GPU.
        capability: compute capability of the GPU, such as '8.6'.
        precision: the requested precision.
        batch, height, width: shape of the input.
    """

    name: str
    graph_sha256: str
    weights_sha256: str
    library: str
    gpu: str
    capability: str
    precision: str
    batch: int
    height: int
    width: int

    @property
    def file_name(self) -> str:
        """A readable name, different for each key."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        library, capability = self.library.replace(' ', '-').lower(), self.capability.replace('.', '')
        shape = f'b{self.batch}.{self.height}x{self.width}'
        return f'{self.name}.{self.precision}.{shape}.{library}.sm{capability}.{digest[:12]}{_SUFFIX}'


@dataclass(frozen=True)
class OpenedEngine(Generic[T]):
    """An engine that is ready to run.

    Attributes:
        engine: the result of the `load` function.
        graph_precision: the precision in which the graph specifies its layers.
        note: what a user should know; '' if there is nothing.
    """

    engine: T
    graph_precision: str
    note: str


class EngineCache:
    """A folder of engines. Processes may share it: one of them builds, the others wait and load the result.

    Beyond _LIMIT bytes, the least recently used engines are deleted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, key: EngineKey, build: Build, load: Callable[[bytes], T]) -> OpenedEngine[T]:
        """The engine for a key, loaded from the cache or built. The log says why an engine is built.

        Args:
            key: what the engine must have been built for.
            build: builds the engine.
            load: makes a runnable engine of a plan; raises ValueError if the plan cannot be used.

        Raises:
            ValueError: even a newly built plan cannot be loaded.
            OSError: the engine cannot be built, or the GPU fails (the stored engine is kept).
        """
        path = self.folder / key.file_name
        opened = _load_stored(path, key, load)
        if opened is not None:
            mark_used(path)
            return opened
        try:
            with _locked(path.with_suffix('.lock')):
                # Another process may have built it in the meantime.
                opened = _load_stored(path, key, load) if path.is_file() else None
                return opened or _build_and_store(path, key, build, load)
        except _CacheNotWritable as error:
            return _build_and_store(None, key, build, load, str(error))


class _CacheNotWritable(Exception):
    """The cache folder cannot be created or locked."""


def _load_stored(path: Path, key: EngineKey, load: Callable[[bytes], T]) -> OpenedEngine[T] | None:
    """The engine in a file, or None. A file that cannot be used is deleted."""
    try:
        plan, graph_precision = read_plan(path, key)
        return OpenedEngine(load(plan), graph_precision, '')
    except FileNotFoundError:
        _log.info('the engine %s is not in the cache', path.name)
    except ValueError as error:
        _log.warning('cannot use the engine %s, building it again: %s', path, error)
        try:
            path.unlink(missing_ok=True)
        except OSError as unlink_error:
            _log.warning('cannot delete %s: %s', path, unlink_error)
    return None


def _build_and_store(
    path: Path | None, key: EngineKey, build: Build, load: Callable[[bytes], T], reason: str = ''
) -> OpenedEngine[T]:
    """A new engine, stored at `path`. Without a path it is not stored, for the given reason."""
    with ScratchFolder() as folder:
        new = folder / 'plan'
        graph_precision = build(new)
        plan = new.read_bytes()
    if path is not None:
        try:
            write_plan(path, key, plan, graph_precision)
            delete_least_recently_used(path.parent, _LIMIT, f'*{_SUFFIX}')
        except OSError as error:
            reason = str(error)
    note = f'the engine cannot be cached, so it is built at every start: {reason}' if reason else ''
    if note:
        _log.warning('%s', note)
    return OpenedEngine(load(plan), graph_precision, note)


# --- files ------------------------------------------------------------------------------------------------------------


def write_plan(path: Path, key: EngineKey, plan: bytes, graph_precision: str) -> None:
    """Write a plan after a header line of JSON with its key. The file appears complete or not at all."""
    header = {**asdict(key), 'typed_precision': graph_precision, 'bytes': len(plan), 'sha256': _sha256(plan)}
    with whole_file(path) as partial, partial.open('wb') as file:
        file.write(_FIRST_LINE + json.dumps(header).encode() + b'\n')
        file.write(plan)


def read_plan(path: Path, key: EngineKey) -> tuple[bytes, str]:
    """The plan in a file, and the precision in which its graph specifies its layers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another key, or is damaged.
    """
    try:
        with path.open('rb') as file:
            header = _read_header(file)
            plan = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f'it cannot be read ({error})') from error
    differing = [f'{name} is {header.get(name)}, not {value}' for name, value in asdict(key).items()
                 if header.get(name) != value]  # fmt: skip
    if differing:
        raise ValueError(f'it was built for something else: {", ".join(differing)}')
    if len(plan) != header.get('bytes'):
        raise ValueError(f'it has {len(plan)} of {header.get("bytes")} bytes')
    if _sha256(plan) != header.get('sha256'):
        raise ValueError('its checksum is wrong')
    return plan, str(header.get('typed_precision', 'unknown'))


def _read_header(file: BinaryIO) -> dict[str, object]:
    if file.readline(len(_FIRST_LINE)) != _FIRST_LINE:
        raise ValueError('it is not an engine file of this version of vis_ros')
    try:
        header = json.loads(file.readline())
    except ValueError as error:
        raise ValueError('its header is damaged') from error
    if not isinstance(header, dict):
        raise ValueError('its header is damaged')
    return header


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- lock -------------------------------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for a lock file and hold it. The operating system releases it when the process that holds it dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+b', buffering=0)  # otherwise close() would retry a failed write
    except OSError as error:
        raise _CacheNotWritable(str(error)) from error
    with file:
        _acquire(file)
        with suppress(OSError):  # the disk may be full; the number is only for the log of waiting processes
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield
        # The file is not deleted: another process may already wait for it, and a third one would then lock a new file.


def _acquire(file: FileIO) -> None:
    started = time.monotonic()
    due = started
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:  # the file system does not support locks
            raise _CacheNotWritable(str(error)) from error
        if time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_PERIOD_S
            file.seek(0)
            holder = file.read(20).decode(errors='replace') or 'unknown'
            _log.info(
                'process %s is building the same engine: waiting for it, %.0f s', holder, time.monotonic() - started
            )
        time.sleep(0.2)
