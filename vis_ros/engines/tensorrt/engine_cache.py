"""EngineCache: TensorRT engines on disk, each under everything that it depends on, and rebuilt when in doubt."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from vis_ros.engines.tensorrt.build import PROGRESS_PERIOD_S

_FIRST_LINE = b'vis_ros TensorRT engine 1\n'
_SUFFIX = '.engine'

T = TypeVar('T')
Build = Callable[[Path], str]
"""Writes a plan to a path and returns the precision that its graph asks for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    name: of the graph, for people; graph_sha256, weights_sha256: hexadecimal digests of the two files; library: flavour
    and version of TensorRT; gpu: its name; capability: of it, as '8.6'; precision: asked for; batch, height, width: of
    the input.
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
        """Readable, and another for every other key."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        library, capability = self.library.replace(' ', '-').lower(), self.capability.replace('.', '')
        shape = f'b{self.batch}.{self.height}x{self.width}'
        return f'{self.name}.{self.precision}.{shape}.{library}.sm{capability}.{digest[:12]}{_SUFFIX}'


@dataclass(frozen=True)
class Opened(Generic[T]):
    """engine: what was made of the plan; typed_precision: what its graph asks for; note: what a user should know."""

    engine: T
    typed_precision: str
    note: str


class EngineCache:
    """A folder of engines. Several processes may share it; one of them builds, the others wait and take the result."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, key: EngineKey, build: Build, load: Callable[[bytes], T]) -> Opened[T]:
        """The engine of a key, built where it is not there or not fit for use; the log says why.

        Args:
            load: makes of a plan what can run; ValueError if the plan is no good.

        Raises:
            ValueError: even a new plan cannot be loaded.
            OSError: the engine cannot be built, or the GPU fails, which is no fault of the engine.
        """
        path = self.folder / key.file_name
        found = _try(path, key, load)
        if found is not None:
            return found
        try:
            with _locked(path.with_suffix('.lock')):
                found = _try(path, key, load) if path.is_file() else None  # made by another process meanwhile
                return found or _build(path, key, build, load)
        except _CannotWrite as error:
            return _build(None, key, build, load, str(error))


class _CannotWrite(Exception):
    """The folder of the cache is of no use."""


def _try(path: Path, key: EngineKey, load: Callable[[bytes], T]) -> Opened[T] | None:
    """The engine in a file, or None. A file that is not fit for use is deleted."""
    try:
        plan, typed_precision = read_plan(path, key)
        return Opened(load(plan), typed_precision, '')
    except FileNotFoundError:
        _log.info('there is no engine %s yet', path.name)
    except ValueError as error:
        _log.warning('the engine %s is built again: %s', path, error)
        try:
            path.unlink(missing_ok=True)
        except OSError as fault:
            _log.warning('%s cannot be deleted: %s', path, fault)
    return None


def _build(path: Path | None, key: EngineKey, build: Build, load: Callable[[bytes], T], fault: str = '') -> Opened[T]:
    """A new engine, stored where there is a path."""
    with tempfile.TemporaryDirectory(prefix='vis_ros-tensorrt-') as folder:
        new = Path(folder) / 'plan'
        typed_precision = build(new)
        plan = new.read_bytes()
    if path is not None:
        try:
            write_plan(path, key, plan, typed_precision)
        except OSError as error:
            fault = str(error)
    note = f'the engine could not be kept and is built again at each start: {fault}' if fault else ''
    if note:
        _log.warning('%s', note)
    return Opened(load(plan), typed_precision, note)


# --- files ------------------------------------------------------------------------------------------------------------


def write_plan(path: Path, key: EngineKey, plan: bytes, typed_precision: str) -> None:
    """Write a plan behind a line of JSON that says what it is; the file appears whole or not at all."""
    header = {**asdict(key), 'typed_precision': typed_precision, 'bytes': len(plan), 'sha256': _sha256(plan)}
    partial = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with partial.open('wb') as file:
            file.write(_FIRST_LINE + json.dumps(header).encode() + b'\n')
            file.write(plan)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_plan(path: Path, key: EngineKey) -> tuple[bytes, str]:
    """The plan in a file, and the precision that its graph asked for.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of this key, or not as it was written.
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
        raise ValueError(f'it is another engine: {", ".join(differing)}')
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


# --- one builder at a time --------------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, after whoever holds it now. The system frees it when its holder dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+b', buffering=0)  # else closing it would try again to write
    except OSError as error:
        raise _CannotWrite(str(error)) from error
    with file:
        _wait_for(file)
        with suppress(OSError):  # on a full disk: the number is only for the log of those who wait
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        yield
        # The file stays: deleted, it would let a third process in beside one that waits for it.


def _wait_for(file: FileIO) -> None:
    started = time.monotonic()
    due = started
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:  # a file system without locks
            raise _CannotWrite(str(error)) from error
        if time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_PERIOD_S
            file.seek(0)
            holder = file.read(20).decode(errors='replace') or 'unknown'
            _log.info(
                'process %s is building the same engine: waiting for it, %.0f s', holder, time.monotonic() - started
            )
        time.sleep(0.2)
