"""CompiledCache: networks that OpenVINO has compiled, kept on disk.

OpenVINO has a cache of its own, but it loads damaged files without noticing and does not report why it compiles again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.user_cache import delete_least_recently_used, mark_used

_DIGEST_BYTES = 32
_SUFFIX = '.openvino'
_ABANDONED_S = 600.0
"""A partial file that nobody has written to for this long is left over."""

_log = logging.getLogger(__name__)


class CompiledCache:
    """A folder of files, each the SHA-256 of its content followed by the content. Processes may share it.

    Args:
        folder: created when the first file is stored.
        limit: maximum number of bytes of all files. Beyond it, the least recently used files are deleted.

    Attributes:
        error: why the last content could not be stored; '' if it was.
    """

    def __init__(self, folder: Path, limit: int = 1 << 30) -> None:
        self.folder = folder
        self.limit = limit
        self.error = ''

    def load(self, key: str) -> NDArray[np.uint8] | None:
        """The content stored under a key, or None. If a file cannot be used, the log says why."""
        path = self._path(key)
        try:
            data = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning('cannot read %s, compiling the network again: %s', path, error)
            return None
        content = data[_DIGEST_BYTES:]
        if hashlib.sha256(content.data).digest() != data[:_DIGEST_BYTES].tobytes():
            _log.warning('%s is damaged or truncated, compiling the network again', path)
            return None
        mark_used(path)
        return content

    def store(self, key: str, content: bytes) -> None:
        """Store content under a key. The file appears complete or not at all; a failure is reported in `error`."""
        partial = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix='.part', delete=False) as file:
                partial = Path(file.name)
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            partial.replace(self._path(key))
            self.error = ''
            self._delete_abandoned()
            delete_least_recently_used(self.folder, self.limit, f'*{_SUFFIX}')
        except OSError as error:
            self.error = f'the compiled network cannot be cached, so it is compiled at every start: {error}'
            _log.warning('%s', self.error)
            if partial is not None:
                partial.unlink(missing_ok=True)

    def discard(self, key: str) -> None:
        """Delete the content stored under a key."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            _log.warning('%s', error)

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}{_SUFFIX}'

    def _delete_abandoned(self) -> None:
        for partial in self.folder.glob('*.part'):  # of a process that was killed
            with contextlib.suppress(OSError):
                if time.time() - partial.stat().st_mtime > _ABANDONED_S:
                    partial.unlink()
