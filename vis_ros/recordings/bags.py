"""ROS 2 bags without ROS: reading what is there (.mcap, .db3, split, compressed, cut off), and writing .mcap bags."""

from __future__ import annotations

import array
import io
import re
import shutil
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vis_ros.images import decode_compressed, decode_image
from vis_ros.ros.share import share_file

SUFFIXES = ('.mcap', '.db3')
"""Of the files that a bag is made of."""

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_TYPE)
INSTANCES_TYPE = 'vis_ros/msg/InstanceMaskArray'

_BAG_VERSION: Literal[8] = 8  # the newest that Jazzy reads; Humble reads it too
_METADATA = 'metadata.yaml'
_NS = 1_000_000_000


class BagError(ValueError):
    """A bag that cannot be read, or not to its end: says which file, what is wrong with it and how to repair it."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, the type of its messages ('sensor_msgs/msg/Image') and how many there are."""

    name: str
    type: str
    count: int

    def __str__(self) -> str:
        return f'{self.name} ({self.type.rsplit("/", 1)[-1]}, {self.count})'


def is_bag(path: Path) -> bool:
    """Whether this is a bag's file, or a folder with such files or with their metadata."""
    if path.is_dir():
        return (path / _METADATA).is_file() or any(_is_storage(file) for file in path.iterdir())
    return path.is_file() and path.suffix in SUFFIXES


class BagReader:
    """The messages of a bag in the order of recording; every iteration reads from the start, one message at a time.

    A folder is read by its metadata.yaml, or without one file after file in natural order (part 2 before part 10). A
    recording that breaks off, as when the recorder was killed, is read up to there: an .mcap file, or a split bag of
    which the last file cannot be read.

    topics: by name; a name occurs twice where it has messages of two types.
    duration_s: from the first message to the last.
    damage: what is lost at the end of a file that breaks off, and how to repair it; '' for a whole bag.
    videos: name of a topic -> what its recording is called, where metadata.yaml tells.
    """

    def __init__(self, path: str | Path) -> None:
        """Look at what is there.

        Raises:
            FileNotFoundError: there is nothing at `path`, or a file that the metadata lists is missing.
            BagError: it is no bag, or damaged so that nothing can be read.
        """
        self.path = Path(path)
        information = _metadata(self.path)
        custom = (information or {}).get('custom_data')
        self.videos: dict[str, str] = custom if isinstance(custom, dict) else {}
        self._parts: list[Path | _CutMcap] = []
        self._unreadable_end = ''
        counts: Counter[tuple[str, str]] = Counter()
        times: list[int] = []
        files = [_cut(part) or part for part in _parts(self.path, information)]
        for file in files:
            try:
                _survey(file, counts, times)
            except BagError as error:
                if file is not files[-1] or not self._parts:
                    raise
                self._unreadable_end = str(error)
            else:
                self._parts.append(file)
        cut = [part.damage for part in self._parts if isinstance(part, _CutMcap)]
        self.damage = ' '.join([*cut, self._unreadable_end]).strip()
        self.topics = [Topic(name, kind, count) for (name, kind), count in sorted(counts.items())]
        self.duration_s = (max(times) - min(times)) / _NS if times else 0.0

    def of_type(self, *types: str) -> list[Topic]:
        """The topics whose messages have one of these types, by name."""
        return [topic for topic in self.topics if topic.type in types]

    @property
    def image_topics(self) -> list[Topic]:
        """The topics with images; those of ignored regions are annotations and not among them."""
        ignored = {ignored_topic(topic.name) for topic in self.of_type(INSTANCES_TYPE)}
        return [topic for topic in self.of_type(*IMAGE_TYPES) if topic.name not in ignored]

    def messages(self, topics: Collection[Topic], start_ns: int | None = None) -> Iterator[tuple[Topic, int, bytes]]:
        """Read the messages of some topics: (topic, time of recording in nanoseconds, serialised message).

        Args:
            topics: some of `topics`.
            start_ns: leave out what was recorded before.

        Raises:
            BagError: the bag is damaged. It comes when everything before the damage has been given.
        """
        wanted = {(topic.name, topic.type): topic for topic in topics}
        for part in self._parts:
            with _opened(part) as reader:
                chosen = [c for c in reader.connections if (c.topic, c.msgtype) in wanted]
                if chosen:
                    for connection, recorded_ns, data in _read(reader, chosen, start_ns, part):
                        yield wanted[connection.topic, connection.msgtype], recorded_ns, bytes(data)
                if isinstance(part, _CutMcap):
                    raise BagError(part.damage)
        if self._unreadable_end:
            raise BagError(self._unreadable_end)


def _survey(part: Path | _CutMcap, counts: Counter[tuple[str, str]], times: list[int]) -> None:
    """Add how many messages there are by (topic, type), and the times of the first and the last."""
    with _opened(part) as reader:
        for each in reader.connections:
            counts[each.topic, each.msgtype] += each.msgcount
        if reader.message_count:
            times += [reader.start_time, reader.end_time - 1]  # the end is exclusive


def _parts(path: Path, information: dict[str, Any] | None) -> list[Path]:
    """What `rosbags` opens, one after the other: files, or a folder whose files are compressed."""
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise BagError(f'{path} is not a bag: a bag is a folder or a file that ends in {" or ".join(SUFFIXES)}')
        return [_closed(path)]
    if information is not None:
        return _listed_parts(path, information)
    files = sorted((file for file in path.iterdir() if _is_storage(file)), key=natural_order)
    if not files:
        raise BagError(f'{path} is not a bag: it holds neither {_METADATA} nor {" or ".join(SUFFIXES)} files')
    return [_closed(file) for file in files]


def _closed(file: Path) -> Path:
    wal = file.with_name(f'{file.name}-wal')
    if wal.is_file() and wal.stat().st_size:
        raise BagError(
            f'{file} was not closed: messages are still in {wal.name}. `sqlite3 {file.name} "PRAGMA '
            'wal_checkpoint(TRUNCATE)"` puts them into the bag'
        )
    return file


def _metadata(path: Path) -> dict[str, Any] | None:
    """What metadata.yaml says; None where there is none."""
    if not path.exists():
        raise FileNotFoundError(f'there is no bag {path}')
    metadata = path / _METADATA
    if not metadata.is_file():
        return None
    try:
        information = yaml.safe_load(metadata.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        if not all(isinstance(name, str) for name in information['relative_file_paths']):
            raise TypeError('relative_file_paths is no list of names')
        return dict(information)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BagError(
            f'{metadata} is damaged: {error!r}. `ros2 bag reindex` writes it anew; without it the files are read as '
            'they are'
        ) from error


def _listed_parts(path: Path, information: dict[str, Any]) -> list[Path]:
    files = [path / Path(name).name for name in information['relative_file_paths']]
    compressed = str(information.get('compression_mode', '')).lower() not in ('', 'none')
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f'{path}: {_METADATA} lists {", ".join(missing)}, which {"is" if len(missing) == 1 else "are"} not there. '
            'Put them back, or let `ros2 bag reindex` list those that are'
        )
    return [path] if compressed else [_closed(file) for file in files]


@contextmanager
def _opened(part: Path | _CutMcap) -> Iterator[Reader]:
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(Reader(part))  # type: ignore[arg-type]  # it asks no more than _CutMcap has
        except Exception as error:  # a damaged file fails in as many ways as it has fields
            raise BagError(_unreadable(part, error)) from error
        yield reader


def _read(
    reader: Reader, chosen: list[Connection], start_ns: int | None, part: Path | _CutMcap
) -> Iterator[tuple[Connection, int, bytes]]:
    messages = reader.messages(chosen, start_ns)
    while True:
        try:
            message = next(messages)
        except StopIteration:
            return
        except Exception as error:  # likewise
            raise BagError(f'{part} is damaged: {error}. {_REPAIR}') from error
        yield message


_REPAIR = '`mcap recover` (.mcap) or `sqlite3 FILE .recover` (.db3) saves what is left'


def _unreadable(part: Path | _CutMcap, error: Exception) -> str:
    if isinstance(part, _CutMcap):
        return f'{part.damage}. Nothing before that can be read: {error}'
    if part.is_file() and not part.stat().st_size:
        return f'{part} is empty: it has no bytes. Nothing was recorded, or copying it failed'
    reason = str(error).rstrip('.')
    return f'{part} cannot be read as a bag: {reason}. {_REPAIR}, and `ros2 bag reindex` writes {_METADATA} anew'


def _is_storage(file: Path) -> bool:
    return file.is_file() and file.suffix in SUFFIXES


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A key for sorting by name in which digits compare as numbers."""
    return [(int(part), '') if part.isdecimal() else (-1, part.lower()) for part in re.split(r'(\d+)', path.name)]


# --- .mcap files that break off ---------------------------------------------------------------------------------------

_MAGIC = b'\x89MCAP0\r\n'
_DATA_END = 0x0F


class _CutMcap:
    """An .mcap file without its end, as `rosbags` would see it if it had been closed after its last whole record.

    It stands in for the path of the file where `rosbags` reads it. A record is an opcode, a length (uint64) and the
    content (https://mcap.dev/spec).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        self._end, has_all = _end_of_records(path, size)
        self.suffix = path.suffix
        self.stem = path.stem
        lost = 'but no message is lost' if has_all else f'and what was in its last {size - self._end} bytes is lost'
        self.damage = (
            f'{path} breaks off at byte {size}, as when the recorder was killed: its index is missing, {lost}. '
            '`mcap recover` makes a whole file of the rest'
        )

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    def open(self, *_arguments: Any, **_keywords: Any) -> BinaryIO:
        return io.BufferedReader(_Ended(self._path, self._end))


class _Ended(io.RawIOBase):
    """The first bytes of a file, followed by the records that end an .mcap file without an index."""

    def __init__(self, path: Path, length: int) -> None:
        self._file = path.open('rb')
        self._length = length
        self._tail = b''.join(
            (
                struct.pack('<BQI', _DATA_END, 4, 0),
                struct.pack('<BQQQI', 0x02, 20, 0, 0, 0),  # the footer: there is no summary
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


def _cut(part: Path) -> _CutMcap | None:
    """What is left of a file that begins as .mcap but does not end so; None for all others."""
    if part.suffix != '.mcap' or not part.is_file():
        return None
    with part.open('rb') as file:
        begins = file.read(len(_MAGIC)) == _MAGIC
        file.seek(max(0, part.stat().st_size - len(_MAGIC)))
        ends = file.tell() > 0 and file.read() == _MAGIC
    return _CutMcap(part) if begins and not ends else None


def _end_of_records(path: Path, size: int) -> tuple[int, bool]:
    """Where the last whole record of the data section ends, and whether this is the end of the section."""
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


# --- messages ---------------------------------------------------------------------------------------------------------


@cache
def typestore() -> Typestore:
    """The types of a bag with our messages, for rosbags."""
    store = get_typestore(Stores.LATEST)
    for name in ('InstanceMask', 'InstanceMaskArray'):
        text = share_file(f'msg/{name}.msg').read_text(encoding='utf-8')
        store.register(get_types_from_msg(text, f'vis_ros/msg/{name}'))
    return store


def deserialize(data: bytes, type: str) -> Any:
    """The message of its serialised form (CDR, XCDR1); arrays of numbers are ndarrays.

    Raises:
        BagError: the bytes are not a message of this type.
    """
    try:
        return typestore().deserialize_cdr(data, type)
    except Exception as error:  # damaged bytes fail in as many ways as a message has fields
        raise BagError(f'a message of {len(data)} bytes is no {type}: {error}') from error


def read_image(data: bytes, type: str) -> NDArray[np.uint8]:
    """The pixels of a serialised message of IMAGE_TYPES, (H, W, 3) uint8 BGR.

    Raises:
        BagError: the bytes are not such a message.
        ImageError: the message holds no image that can be decoded; it names the encoding or what is wrong.
    """
    message = deserialize(data, type)
    if type == COMPRESSED_TYPE:
        return decode_compressed(message.format, message.data)
    return decode_image(
        message.encoding, message.height, message.width, message.step, bool(message.is_bigendian), message.data
    )


def serialize(message: Any, type: str) -> bytes:
    """A message of rclpy's or of rosbags' classes as CDR, the same bytes as `rclpy.serialization` gives; no DDS."""
    return bytes(typestore().serialize_cdr(_with_ndarrays(message), type))


def _with_ndarrays(value: Any) -> Any:
    """A message of rclpy's classes with the arrays that rosbags serialises."""
    if isinstance(value, array.array):
        return np.frombuffer(value, value.typecode)
    if isinstance(value, list):
        return [_with_ndarrays(item) for item in value]
    if hasattr(value, 'get_fields_and_field_types'):
        return SimpleNamespace(
            **{name: _with_ndarrays(getattr(value, name)) for name in value.get_fields_and_field_types()}
        )
    return value


def read_header(data: bytes) -> tuple[int, str]:
    """(stamp in nanoseconds, frame id) of a serialised message that begins with a std_msgs/Header (CDR, XCDR1).

    The stamp is 0 where it tells no time (zero, negative or malformed), as in `vis_ros.ros.stamps.nanoseconds`.

    Raises:
        BagError: the bytes end before the header does.
    """
    try:
        order = '<' if data[1] & 1 else '>'
        seconds, nanoseconds, length = struct.unpack_from(f'{order}iII', data, 4)
        frame_id = bytes(data[16 : 16 + length - 1]).decode()
        if len(data) < 16 + length:
            raise IndexError(f'the frame id has {length} bytes')
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise BagError(f'a message of {len(data)} bytes has no whole header: {error}') from error
    tells_time = seconds >= 0 and nanoseconds < _NS
    return (seconds * _NS + nanoseconds if tells_time else 0), frame_id


# --- writing ----------------------------------------------------------------------------------------------------------


class BagWriter:
    """Writes serialised messages into a new .mcap bag; use it as a context manager, or close it.

    The bag is closed properly after an error too, so that what was written can be read. The same messages give the same
    bytes in a folder of the same name.
    """

    def __init__(self, path: str | Path) -> None:
        """Make the folder `path`.

        Raises:
            FileExistsError: there is something already.
        """
        if Path(path).exists():
            raise FileExistsError(f'{path} is there already; remove it or choose another place')
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
        """Let the bag have a topic, with messages or without.

        Args:
            name: of the topic.
            type: of its messages.
            video: what the recording is called, where a topic cannot be called so (`BagReader.videos`).
        """
        self._connections[name] = self._writer.add_connection(name, type, typestore=typestore())
        if video:
            self._writer.set_custom_data(name, video)

    def write(self, topic: str, recorded_ns: int, data: bytes | memoryview) -> None:
        """Append a serialised message to a topic that was added."""
        self._writer.write(self._connections[topic], recorded_ns, data)


def ignored_topic(instances: str) -> str:
    """Where the ignored regions of annotations are, given the topic of their arrays: /truth/ignored/compressed."""
    return f'{instances.removesuffix("/instances")}/ignored/compressed'


def topic_name(text: str) -> str:
    """A name as part of a topic: letters, digits and underscores, and no digit first ('bmx-trees' -> 'bmx_trees')."""
    name = re.sub(r'[^A-Za-z0-9_]', '_', text) or '_'
    return f'_{name}' if name[0].isdigit() else name


def remove_bag(path: Path) -> None:
    """Remove a bag folder, to make room for a new one.

    Raises:
        FileExistsError: the folder holds something else than a bag.
    """
    if not path.exists():
        return
    if not path.is_dir() or any(file.name != _METADATA and not _is_storage(file) for file in path.iterdir()):
        raise FileExistsError(f'{path} is not a bag folder and is not replaced; remove it or choose another place')
    shutil.rmtree(path)
