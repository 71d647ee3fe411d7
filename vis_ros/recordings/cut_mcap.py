"""CutMcap: an .mcap file without its end, as a recorder leaves it that was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from mcap.records import Channel, DataEnd, Message, Schema
from mcap.stream_reader import StreamReader

_MAGIC = b'\x89MCAP0\r\n'

TopicKey = tuple[str, str]
"""Name of a topic and type of its messages."""


class CutMcap:
    """The messages of an .mcap file up to its last complete chunk, read without the index that is missing.

    counts: topic -> number of its messages.
    times_ns: of the first and the last message; empty without messages.
    damage: what is lost, and how to repair the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_all = False
        self._end = 0
        self.counts: Counter[TopicKey] = Counter()
        times: list[int] = []
        for topic, recorded_ns, _ in self._read():
            self.counts[topic] += 1
            times = [min(times[0], recorded_ns), max(times[1], recorded_ns)] if times else [recorded_ns] * 2
        self.times_ns = times
        size = path.stat().st_size
        lost = (
            'but no message is lost' if self._has_all else f'and the data in its last {size - self._end} bytes are lost'
        )
        self.damage = (
            f'{path} breaks off at byte {size}, as when the recorder was killed: its index is missing, {lost}. '
            '`mcap recover` makes a complete file of the rest'
        )

    def messages(
        self, topics: Collection[TopicKey], start_ns: int | None = None
    ) -> Iterator[tuple[TopicKey, int, bytes]]:
        """The messages of some topics in the order of recording: (topic, time of recording in ns, message)."""
        for topic, recorded_ns, data in self._read():
            if topic in topics and (start_ns is None or recorded_ns >= start_ns):
                yield topic, recorded_ns, data

    def _read(self) -> Iterator[tuple[TopicKey, int, bytes]]:
        types: dict[int, str] = {}
        topics: dict[int, TopicKey] = {}
        with self._path.open('rb') as file:
            records = StreamReader(_Complete(file), validate_crcs=True).records  # type: ignore[arg-type]
            while True:
                try:
                    record = next(records)
                except Exception:  # what is left of the last record fails in as many ways as it has fields
                    return
                self._end = file.tell()
                if isinstance(record, Schema):
                    types[record.id] = record.name
                elif isinstance(record, Channel):
                    topic = topics[record.id] = record.topic, types.get(record.schema_id, '')
                    self.counts.setdefault(topic, 0)
                elif isinstance(record, Message):
                    yield topics[record.channel_id], record.log_time, record.data
                elif isinstance(record, DataEnd):
                    self._has_all = True
                    return


class _Complete:
    """A file whose `read` fails instead of returning fewer bytes, so that no record is read in part."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) < length:
            raise EOFError(f'{length} bytes wanted, {len(data)} left')
        return data


def cut_mcap(file: Path) -> CutMcap | None:
    """A file that starts as .mcap but does not end so; None for all other files."""
    if file.suffix != '.mcap' or not file.is_file():
        return None
    with file.open('rb') as content:
        starts = content.read(len(_MAGIC)) == _MAGIC
        content.seek(max(0, file.stat().st_size - len(_MAGIC)))
        ends = content.tell() > 0 and content.read() == _MAGIC
    return CutMcap(file) if starts and not ends else None
