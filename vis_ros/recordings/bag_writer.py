"""BagWriter: serialized messages into a new .mcap bag."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

from vis_ros.recordings.cdr import typestore

_BAG_VERSION: Literal[8] = 8  # the newest that Jazzy reads; Humble reads it too


class BagWriter:
    """Writes serialized messages into a new .mcap bag; use it as a context manager, or close it.

    The bag is closed properly after an error too, so that what was written can be read. The same messages give the same
    bytes in a folder of the same name.
    """

    def __init__(self, path: str | Path) -> None:
        """Create the folder `path`.

        Raises:
            FileExistsError: it exists.
        """
        if Path(path).exists():
            raise FileExistsError(f'{path} exists; remove it or choose another place')
        self._writer = Writer(path, version=_BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the index and metadata.yaml."""
        self._writer.close()

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
        self._writer.write(self._connections[topic], recorded_ns, data)
