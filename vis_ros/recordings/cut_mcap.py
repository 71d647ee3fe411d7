"""CutMcap: an .mcap file without its end, as a recorder leaves it that was killed, in a form that rosbags reads."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b'\x89MCAP0\r\n'
_DATA_END, _FOOTER = 0x0F, 0x02


class CutMcap:
    """An .mcap file without its end, which rosbags reads as if it was closed after its last complete record.

    It takes the place of the file's path in rosbags. A record is an opcode, a length (uint64) and the content
    (https://mcap.dev/spec).

    damage: what is lost, and how to repair the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        self._end, has_all = _end_of_records(path, size)
        self.suffix = path.suffix
        self.stem = path.stem
        lost = 'but no message is lost' if has_all else f'and the data in its last {size - self._end} bytes are lost'
        self.damage = (
            f'{path} breaks off at byte {size}, as when the recorder was killed: its index is missing, {lost}. '
            '`mcap recover` makes a complete file of the rest'
        )

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    def open(self, *_arguments: Any, **_keywords: Any) -> BinaryIO:
        """The file up to its last complete record, closed properly."""
        return io.BufferedReader(_ClosedAfter(self._path, self._end))


class _ClosedAfter(io.RawIOBase):
    """The first bytes of a file, followed by the records that end an .mcap file without an index."""

    def __init__(self, path: Path, length: int) -> None:
        self._file = path.open('rb')
        self._length = length
        self._tail = b''.join(
            (
                struct.pack('<BQI', _DATA_END, 4, 0),
                struct.pack('<BQQQI', _FOOTER, 20, 0, 0, 0),  # there is no summary
                _MAGIC,
            )
        )
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length + len(self._tail)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        left = self._length - self._position
        if left > 0:
            self._file.seek(self._position)
            data = self._file.read(min(len(view), left))
        else:
            data = self._tail[-left : -left + len(view)]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def cut_mcap(file: Path) -> CutMcap | None:
    """A file that starts as .mcap but does not end so; None for all other files."""
    if file.suffix != '.mcap' or not file.is_file():
        return None
    with file.open('rb') as content:
        starts = content.read(len(_MAGIC)) == _MAGIC
        content.seek(max(0, file.stat().st_size - len(_MAGIC)))
        ends = content.tell() > 0 and content.read() == _MAGIC
    return CutMcap(file) if starts and not ends else None


def _end_of_records(path: Path, size: int) -> tuple[int, bool]:
    """Where the last complete record of the data section ends, and whether the section is complete."""
    position = len(_MAGIC)
    with path.open('rb') as file:
        while True:
            file.seek(position)
            head = file.read(9)
            if len(head) < 9:
                return position, False
            opcode, length = struct.unpack('<BQ', head)
            if opcode == _DATA_END or position + 9 + length > size:
                return position, bool(opcode == _DATA_END)
            position += 9 + length
