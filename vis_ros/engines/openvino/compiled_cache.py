"""CompiledCache: networks that OpenVINO has compiled, kept on disk.

OpenVINO has a cache of its own, but it loads damaged files without noticing and does not report why it compiles again.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import openvino as ov

from vis_ros.user_cache import delete_least_recently_used, mark_used
from vis_ros.whole_file import whole_file

_DIGEST_BYTES = 32
_SUFFIX = '.openvino'

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

    def load(self, key: str) -> ov.Tensor | None:
        """The content stored under a key, which OpenVINO owns, or None. If a file cannot be used, the log says why."""
        path = self._path(key)
        try:
            with path.open('rb') as file:
                digest = file.read(_DIGEST_BYTES)
                content = ov.Tensor(ov.Type.u8, [max(path.stat().st_size - _DIGEST_BYTES, 0)])
                file.readinto(content.data)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning('cannot read %s, compiling the network again: %s', path, error)
            return None
        if hashlib.sha256(content.data).digest() != digest:
            _log.warning('%s is damaged or truncated, compiling the network again', path)
            return None
        mark_used(path)
        return content

    def store(self, key: str, content: bytes) -> None:
        """Store content under a key. The file appears complete or not at all; a failure is reported in `error`."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path(key)) as partial, partial.open('wb') as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            self.error = ''
            delete_least_recently_used(self.folder, self.limit, f'*{_SUFFIX}')
        except OSError as error:
            self.error = f'the compiled network cannot be cached, so it is compiled at every start: {error}'
            _log.warning('%s', self.error)

    def discard(self, key: str) -> None:
        """Delete the content stored under a key."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            _log.warning('%s', error)

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}{_SUFFIX}'
