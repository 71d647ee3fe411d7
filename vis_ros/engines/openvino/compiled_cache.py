"""CompiledCache: networks that OpenVINO has compiled, on disk.

OpenVINO's own cache takes a damaged file for a good one, and does not say why it compiles again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = 32
_SUFFIX = '.openvino'

_log = logging.getLogger(__name__)


class CompiledCache:
    """A folder of files, each the SHA-256 of its content and the content. Several processes may share it.

    Args:
        folder: made when something is stored.
        limit: bytes in all; beyond, the files unused for longest are deleted.
    """

    def __init__(self, folder: Path, limit: int = 1 << 30) -> None:
        self.folder = folder
        self.limit = limit
        self.fault = ''
        """Why the last content could not be stored, in words."""

    def load(self, key: str) -> NDArray[np.uint8] | None:
        """What was stored under a key, or None; the log says why a file that is there is not used."""
        path = self._path(key)
        try:
            data = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning('%s cannot be read, the network is compiled again: %s', path, error)
            return None
        content = data[_DIGEST_BYTES:]
        if hashlib.sha256(content.data).digest() != data[:_DIGEST_BYTES].tobytes():
            _log.warning('%s is damaged or cut off, the network is compiled again', path)
            return None
        with contextlib.suppress(OSError):  # of another user: it may be deleted sooner
            os.utime(path)
        return content

    def store(self, key: str, content: bytes) -> None:
        """Keep content under a key; the file appears whole or not at all. What goes wrong is told in `fault`."""
        partial = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix='.part', delete=False) as file:
                partial = Path(file.name)
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            partial.replace(self._path(key))
            self.fault = ''
            self._make_room()
        except OSError as error:
            self.fault = f'the compiled network cannot be kept and is compiled at each start: {error}'
            _log.warning('%s', self.fault)
            if partial is not None:
                partial.unlink(missing_ok=True)

    def discard(self, key: str) -> None:
        """Delete what is stored under a key, because it is of no use."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            _log.warning('%s', error)

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}{_SUFFIX}'

    def _make_room(self) -> None:
        files = [(path.stat(), path) for path in self.folder.glob(f'*{_SUFFIX}')]
        total = 0
        for status, path in sorted(files, key=lambda item: -item[0].st_mtime):
            total += status.st_size
            if total > self.limit:
                path.unlink(missing_ok=True)
