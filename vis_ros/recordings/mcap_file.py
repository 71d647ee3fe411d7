"""McapFile: the messages of an .mcap file by its index, or from start to end where the index is missing."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, ChunkIndex, Footer, Message, Schema, Statistics
from mcap.stream_reader import breakup_chunk

from vis_ros.recordings.bag_files import MCAP_MAGIC, BagError
from vis_ros.recordings.decompression import LARGEST_PART, decompress

TopicKey = tuple[str, str]
"""Name of a topic and type of its messages."""

_MOST_WAITING = 2 * LARGEST_PART
"""Largest number of bytes of messages that wait for their turn, where chunks overlap in time."""

_FOOTER_BYTES = 9 + 20 + len(MCAP_MAGIC)
_RECORDS: dict[int, Any] = {
    Opcode.SCHEMA: Schema,
    Opcode.CHANNEL: Channel,
    Opcode.CHUNK: Chunk,
    Opcode.CHUNK_INDEX: ChunkIndex,
    Opcode.STATISTICS: Statistics,
    Opcode.FOOTER: Footer,
}
"""What is read; every other record is skipped without reading it."""

_REPAIR = '`mcap recover` saves what is left'


class McapFile:
    """The messages of an .mcap file, whatever else is in it. Messages in other serializations than CDR are left out.

    A file that breaks off, as when the recorder was killed, is read up to its last complete chunk.

    counts: topic -> number of its messages.
    foreign: topics whose messages are not CDR (JSON, Protobuf, ROS 1) -> number of their messages.
    times_ns: of the first and the last message; empty without messages.
    damage: what is lost, and how to repair the file; '' for a complete file.
    """

    def __init__(self, path: Path) -> None:
        """Open a file that starts as .mcap, and count its messages."""
        self._path = path
        self.counts: Counter[TopicKey] = Counter()
        self.foreign: Counter[TopicKey] = Counter()
        self.times_ns: list[int] = []
        self.damage = ''
        self._types: dict[int, str] = {}
        self._channels: dict[int, Channel] = {}
        self._index: list[ChunkIndex] = []
        with self._opened() as file:
            is_closed = self._ends_closed(file)
            if not (is_closed and self._read_summary(file)):
                self._count_by_scanning(file, is_closed)

    def messages(
        self, topics: Collection[TopicKey], start_ns: int | None = None
    ) -> Iterator[tuple[TopicKey, int, bytes]]:
        """The messages of some topics: (topic, time of recording in ns, message), in the order of recording times; of a
        file without an index in the order of the file.

        Raises:
            BagError: the file is damaged; raised after all messages before the damage.
        """
        with self._opened() as file:
            found = self._indexed(file, topics) if self._index else self._scanned(file)
            while True:
                try:
                    channel, message = next(found)
                except StopIteration:
                    return
                except Exception as error:  # a damaged file fails in as many ways as it has fields
                    raise BagError(self.damage or f'{self._path} is damaged: {_reason(error)}. {_REPAIR}') from error
                topic = self._topic(channel)
                if topic in topics and _is_cdr(channel) and (start_ns is None or message.log_time >= start_ns):
                    yield topic, message.log_time, message.data

    # --- opening ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _opened(self) -> Iterator[_WholeReads]:
        with self._path.open('rb') as file:
            yield _WholeReads(file)

    def _ends_closed(self, file: _WholeReads) -> bool:
        """Whether the file ends with the bytes of a closed file."""
        file.seek(max(0, file.size - len(MCAP_MAGIC)))
        return file.size > 2 * len(MCAP_MAGIC) and file.read(len(MCAP_MAGIC)) == MCAP_MAGIC

    def _read_summary(self, file: _WholeReads) -> bool:
        """Read the counts and the index at the end of the file; False if they are not complete."""
        try:
            file.seek(file.size - _FOOTER_BYTES)
            (footer,) = _records(file, file.size - len(MCAP_MAGIC))
            if not isinstance(footer, Footer) or not footer.summary_start:
                return False
            file.seek(footer.summary_start)
            statistics = None
            for record in _records(file, file.size - _FOOTER_BYTES):
                self._note(record)
                if isinstance(record, ChunkIndex):
                    self._index.append(record)
                elif isinstance(record, Statistics):
                    statistics = record
        except Exception:  # damaged in any way: what the index says does not matter then
            statistics = None
        counted = statistics.channel_message_counts if statistics else {}
        has_all = sum(counted.values()) == (statistics.message_count if statistics else -1)
        if not (self._index and statistics and has_all and set(counted) <= set(self._channels)):
            self._index.clear()
            return False
        for number, channel in self._channels.items():
            self._counter(channel)[self._topic(channel)] += counted.get(number, 0)
        if statistics.message_count:
            self.times_ns = [statistics.message_start_time, statistics.message_end_time]
        return True

    def _count_by_scanning(self, file: _WholeReads, is_closed: bool) -> None:
        times: list[int] = []
        end, problem = 0, ''
        try:
            for channel, message in self._scanned(file):
                self._counter(channel)[self._topic(channel)] += 1
                times = (
                    [min(times[0], message.log_time), max(times[1], message.log_time)]
                    if times
                    else ([message.log_time] * 2)
                )
                end = file.position
        except Exception as error:  # what is left of the last record fails in as many ways as it has fields
            problem = _reason(error)
        self.times_ns = times
        for channel in self._channels.values():
            self._counter(channel).setdefault(self._topic(channel), 0)
        if not is_closed:
            lost = (
                'but no message is lost'
                if not problem
                else (f'and the data in its last {file.size - end} bytes are lost')
            )
            self.damage = (
                f'{self._path} breaks off at byte {file.size}, as when the recorder was killed: its index is missing, '
                f'{lost}. `mcap recover` makes a complete file of the rest'
            )
        elif problem:
            self.damage = f'{self._path} is damaged: {problem}. {_REPAIR}'

    def _note(self, record: Any) -> None:
        """Remember channels and the types of their messages; the first of each number counts."""
        if isinstance(record, Schema):
            self._types.setdefault(record.id, record.name)
        elif isinstance(record, Channel):
            self._channels.setdefault(record.id, record)

    def _topic(self, channel: Channel) -> TopicKey:
        kind = self._types.get(channel.schema_id, '')
        return channel.topic, kind if _is_cdr(channel) else f'{kind} in {channel.message_encoding}'

    def _counter(self, channel: Channel) -> Counter[TopicKey]:
        return self.counts if _is_cdr(channel) else self.foreign

    # --- reading ------------------------------------------------------------------------------------------------------

    def _indexed(self, file: _WholeReads, topics: Collection[TopicKey]) -> Iterator[tuple[Channel, Message]]:
        """The messages of the chunks that may hold one of the topics, merged by their times."""
        wanted = {number for number, channel in self._channels.items() if self._topic(channel) in topics}
        # A chunk without a message index may hold every topic.
        chunks = [each for each in self._index if wanted and wanted.intersection(each.message_index_offsets or wanted)]
        chunks.sort(key=lambda each: (each.message_start_time, each.chunk_start_offset))
        heap: list[tuple[int, int, int, Message]] = []
        waiting = 0  # bytes
        for place, index in enumerate(chunks):
            while heap and heap[0][0] < index.message_start_time:
                message = heapq.heappop(heap)[-1]
                waiting -= len(message.data)
                yield self._channels[message.channel_id], message
            file.seek(index.chunk_start_offset)
            (chunk,) = _records(file, index.chunk_start_offset + index.chunk_length)
            if not isinstance(chunk, Chunk):
                raise ValueError(f'there is no chunk at byte {index.chunk_start_offset}')
            for number, record in enumerate(self._unpacked(chunk)):
                if isinstance(record, Message) and record.channel_id in wanted:
                    heapq.heappush(heap, (record.log_time, place, number, record))
                    waiting += len(record.data)
            if waiting > _MOST_WAITING:
                raise ValueError(
                    f'chunks with {waiting} bytes of messages overlap in time; the limit is {_MOST_WAITING}'
                )
        while heap:
            message = heapq.heappop(heap)[-1]
            yield self._channels[message.channel_id], message

    def _scanned(self, file: _WholeReads) -> Iterator[tuple[Channel, Message]]:
        """All messages in the order of the file; ends with the data section, EOFError if the file breaks off in it."""
        file.seek(len(MCAP_MAGIC))
        for record in _records(file, None):
            for part in self._unpacked(record) if isinstance(record, Chunk) else [record]:
                self._note(part)
                if isinstance(part, Message):
                    if part.channel_id not in self._channels:
                        raise ValueError(
                            f'a message belongs to the channel {part.channel_id}, which is not in the file'
                        )
                    yield self._channels[part.channel_id], part

    def _unpacked(self, chunk: Chunk) -> list[Any]:
        """The records in a chunk; its checksum is verified."""
        chunk.data = decompress(chunk.data, chunk.compression, chunk.uncompressed_size)
        chunk.compression = ''
        return breakup_chunk(chunk, validate_crc=True)


class _WholeReads:
    """A file whose `read` fails instead of returning fewer bytes, and never allocates more than the file has."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self.position = file.seek(0)

    def seek(self, position: int) -> None:
        self.position = self._file.seek(position)

    def read(self, length: int) -> bytes:
        if length > self.size - self.position:
            raise EOFError(f'{length} bytes expected at byte {self.position}, {self.size - self.position} left')
        data = self._file.read(length)
        self.position += length
        return data


def _records(file: _WholeReads, end: int | None) -> Iterator[Any]:
    """The records from the position of the file up to `end` (None: up to the end of the data section)."""
    while end is None or file.position < end:
        head = file.read(9)
        opcode, length = head[0], int.from_bytes(head[1:], 'little')
        if opcode == Opcode.DATA_END:
            return
        if opcode == Opcode.MESSAGE:
            yield Message.read(ReadDataStream(BytesIO(file.read(length))), length)
        elif opcode in _RECORDS:
            yield _RECORDS[opcode].read(ReadDataStream(BytesIO(file.read(length))))
        else:
            if file.position + length > file.size:
                raise EOFError(f'a record of {length} bytes at byte {file.position}, {file.size - file.position} left')
            file.seek(file.position + length)


def _is_cdr(channel: Channel) -> bool:
    return channel.message_encoding in ('cdr', '')


def _reason(error: Exception) -> str:
    return str(error).rstrip('.') or type(error).__name__
