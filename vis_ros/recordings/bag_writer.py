"""BagWriter: serialized messages into a new .mcap bag."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal
from zlib import crc32

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from vis_ros.recordings.bag_files import PARTIAL_METADATA
from vis_ros.recordings.cdr import typestore
from vis_ros.whole_file import naming

_BAG_VERSION: Literal[8] = 8  # the newest that Jazzy reads; Humble reads it too


_CHUNK_BYTES = 2**16
_CHUNK_NS = 1_000_000_000
"""A chunk is written when it holds this many bytes, or messages of this time of recording. What is not written is lost
if the process is killed."""

_SYNC_S = 5.0
"""What is older than this many seconds is on the disk after a power cut too."""

_CRC_OFFSET = 33  # of the field in the record of a chunk: opcode, length, two times and a size precede it


class _SafeMcapWriter(McapWriter):
    """Writes small chunks with a CRC, so that what was written can be read after the process was killed."""

    _synced_at = 0.0

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        super().write(connection, timestamp, data)
        chunk = self.chunk
        if chunk.bio.tell() and (chunk.bio.tell() >= _CHUNK_BYTES or timestamp - chunk.message_start_time >= _CHUNK_NS):
            self.close_chunk()

    def close_chunk(self) -> None:
        start, crc = self.bio.tell(), crc32(self.chunk.bio.getbuffer())
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(start + _CRC_OFFSET)
        self.bio.write(crc.to_bytes(4, 'little'))
        self.bio.seek(end)
        self.bio.flush()
        if time.monotonic() - self._synced_at > _SYNC_S:
            os.fdatasync(self.bio.fileno())
            self._synced_at = time.monotonic()


class _SafeWriter(Writer):
    STORAGE_PLUGINS = {StoragePlugin.MCAP: _SafeMcapWriter}  # noqa: RUF012


class BagWriter:
    """Writes serialized messages into a new .mcap bag; use it as a context manager, or close it.

    The bag is closed properly after an error too. If the process is killed or the disk is full, all but the last second
    or the last 64 KiB can be read. The same messages give the same
    bytes in a folder of the same name.
    """

    def __init__(self, path: str | Path) -> None:
        """Create the folder `path`.

        Raises:
            FileExistsError: it exists.
        """
        if Path(path).exists():
            raise FileExistsError(f'{path} exists; remove it or choose another place')
        self._path = Path(path)
        self._writer = _SafeWriter(path, version=_BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the index and metadata.yaml."""
        with naming(self._path):
            try:
                self._writer.close()
            finally:
                (self._path / PARTIAL_METADATA).unlink(missing_ok=True)

    def add_topic(self, name: str, type: str, video: str = '') -> None:
        """Declare a topic, which may stay without messages.

        Args:
            name: of the topic.
            type: of its messages.
            video: name of the recorded video, if it differs from the topic's (see `BagReader.videos`).
        """
        self._connections[name] = self._writer.add_connection(name, type, typestore=typestore())
        if video:
            self._writer.set_custom_data(name, video)

    def write(self, topic: str, recorded_ns: int, data: bytes | memoryview) -> None:
        """Append a serialized message to a declared topic."""
        with naming(self._path):
            self._writer.write(self._connections[topic], recorded_ns, data)
