"""BagReader: the messages of a ROS 2 bag without ROS: .mcap, .db3, split, compressed, or broken off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from zstandard import ZstdError

from vis_ros.file_kinds import foreign_kind
from vis_ros.image_files import natural_order
from vis_ros.listing import listed
from vis_ros.recordings.bag_files import (
    INFORMATION,
    MCAP_MAGIC,
    METADATA,
    SQLITE_MAGIC,
    SUFFIXES,
    BagError,
    first_bytes,
    has_metadata,
    is_storage,
    starts_as_bag,
    storage_files,
)
from vis_ros.recordings.db3_file import Db3File
from vis_ros.recordings.decompression import ZSTD_MAGIC, decompress, decompress_file
from vis_ros.recordings.mcap_file import McapFile, TopicKey
from vis_ros.recordings.topics import IMAGE_TYPES, INSTANCES_TYPE, Topic, ignored_topic
from vis_ros.ros.stamps import NS_PER_S
from vis_ros.scratch import ScratchFolder
from vis_ros.yaml_file import read_yaml

_Part = McapFile | Db3File


class BagReader:
    """The messages of a bag in the order of recording. Each iteration reads from the start, one message at a time.

    A folder is read by its metadata.yaml, or without one file after file in natural order (part 2 before part 10). A
    recording that breaks off, as when the recorder was killed, is read up to there: an .mcap file, or a split bag whose
    last file cannot be read.

    Every message that the files say they have is given: if fewer can be read, BagError says how many are missing.

    files: the storage files that are read.
    topics: sorted by name; a name occurs twice if it has messages of two types.
    foreign: topics whose messages are not serialized as ROS 2 does it (JSON, Protobuf, ROS 1); they are left out.
    duration_s: from the first message to the last.
    damage: what is lost at the end of a file that breaks off, and how to repair it; '' for a complete bag.
    videos: name of a topic -> name of the recorded video, if metadata.yaml has it.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a bag and count its messages.

        Raises:
            FileNotFoundError: `path` does not exist, or a file that the metadata lists is missing.
            BagError: it is no bag, or so damaged that nothing can be read.
        """
        self.path = Path(path)
        information = _metadata(self.path)
        custom = (information or {}).get('custom_data')
        self.videos: dict[str, str] = custom if isinstance(custom, dict) else {}
        self._parts: list[_Part] = []
        self._unpacked: ScratchFolder | None = None
        self._unreadable_end = ''
        self.files = _paths(self.path, information)
        for path in self.files:
            try:
                self._parts.append(_open_part(self._unpack(path)))
            except BagError as error:
                if path is not self.files[-1] or not self._parts:
                    raise
                self._unreadable_end = str(error)
        self.damage = ' '.join([*(part.damage for part in self._parts), self._unreadable_end]).strip()
        self.topics = _total([part.counts for part in self._parts])
        self.foreign = _total([part.foreign for part in self._parts])
        times = [time for part in self._parts for time in part.times_ns]
        self.duration_s = (max(times) - min(times)) / NS_PER_S if times else 0.0

    def _unpack(self, path: Path) -> Path:
        """The storage file itself, or its content in a temporary folder if zstd has compressed the file."""
        if not first_bytes(path).startswith(ZSTD_MAGIC):
            return path
        self._unpacked = self._unpacked or ScratchFolder()  # removed with this object
        target = self._unpacked.path / path.name.removesuffix('.zstd')
        try:
            decompress_file(path, target)
        except ValueError as error:
            raise BagError(str(error)) from error
        return target

    def of_type(self, *types: str) -> list[Topic]:
        """The topics whose messages have one of these types, sorted by name."""
        return [topic for topic in self.topics if topic.type in types]

    @property
    def image_topics(self) -> list[Topic]:
        """The topics with images, without the ignored regions of annotations."""
        ignored = {ignored_topic(topic.name) for topic in self.of_type(INSTANCES_TYPE)}
        return [topic for topic in self.of_type(*IMAGE_TYPES) if topic.name not in ignored]

    def messages(self, topics: Collection[Topic], start_ns: int | None = None) -> Iterator[tuple[Topic, int, bytes]]:
        """Read the messages of some topics: (topic, time of recording in nanoseconds, serialized message).

        Args:
            topics: some of `topics`.
            start_ns: leave out messages that were recorded earlier.

        Raises:
            BagError: the bag is damaged, or has fewer messages than its files say; raised after all messages before
                the damage.
        """
        wanted = {(topic.name, topic.type): topic for topic in topics}
        read: Counter[Topic] = Counter()
        for part in self._parts:
            for key, recorded_ns, data in part.messages(wanted, start_ns):
                topic = wanted[key]
                read[topic] += 1
                try:
                    plain = _plain(data)
                except (ValueError, ZstdError) as error:
                    raise BagError(f'{self.path}: a message of {topic.name} cannot be decompressed: {error}') from error
                yield topic, recorded_ns, plain
            if part.damage:
                raise BagError(part.damage)
        if self._unreadable_end:
            raise BagError(self._unreadable_end)
        missing = {topic: topic.count - read[topic] for topic in topics if read[topic] < topic.count}
        if missing and start_ns is None:
            lost = listed(f'{count} of the {topic.count} of {topic.name}' for topic, count in missing.items())
            raise BagError(
                f'{self.path} lacks messages that its own index counts: {lost}. The file is damaged or was made '
                'incomplete; `mcap recover` or `sqlite3 FILE .recover` may find more'
            )


def _total(counts: Collection[Counter[TopicKey]]) -> list[Topic]:
    """The topics of all parts with their counts."""
    total: Counter[TopicKey] = Counter()
    for each in counts:
        total.update(each)
    return [Topic(name, kind, count) for (name, kind), count in sorted(total.items())]


def _open_part(path: Path) -> _Part:
    """Open a storage file by its content, whatever its suffix."""
    if not path.stat().st_size:
        raise BagError(f'{path} is empty: it has no bytes. Nothing was recorded, or copying it failed')
    start = first_bytes(path)
    if start.startswith(SQLITE_MAGIC):
        return Db3File(path)
    if MCAP_MAGIC.startswith(start[: len(MCAP_MAGIC)]):
        return McapFile(path)
    kind = foreign_kind(path)
    raise BagError(f'{path} cannot be read as a bag: it {f"is {kind}" if kind else "starts as neither .mcap nor .db3"}')


def _plain(data: bytes) -> bytes:
    """A message that may be compressed with zstd. A message itself starts with the byte 0."""
    return decompress(data, 'zstd') if data.startswith(ZSTD_MAGIC) else data


# --- files ------------------------------------------------------------------------------------------------------------


def _metadata(path: Path) -> dict[str, Any] | None:
    """The content of metadata.yaml; None if there is no such file of a bag."""
    if not path.exists():
        raise FileNotFoundError(f'there is no bag {path}')
    metadata = path / METADATA
    if not has_metadata(path):  # a file of this name without the key is of another program
        return None
    try:
        content = read_yaml(metadata)
        information = content[INFORMATION] if isinstance(content, dict) else None
        if not isinstance(information, dict):
            raise TypeError(f'{INFORMATION} is not a mapping')
        names = information['relative_file_paths']
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError('relative_file_paths is not a list of names')
        return dict(information)
    except (KeyError, TypeError, ValueError) as error:
        raise BagError(
            f'{metadata} is damaged: {_reason(error, metadata)}. `ros2 bag reindex` rewrites it; if you remove it, '
            'the files are read as they are'
        ) from error


def _reason(error: Exception, metadata: Path) -> str:
    return f'it has no {error}' if isinstance(error, KeyError) else str(error).removeprefix(f'{metadata}').lstrip(': ')


def _paths(path: Path, information: dict[str, Any] | None) -> list[Path]:
    """The storage files to open, one after the other."""
    if not path.is_dir():
        if not is_storage(path) and not starts_as_bag(path):
            raise BagError(f'{path} is not a bag: a bag is a folder or a file that ends in {" or ".join(SUFFIXES)}')
        return [_checkpointed(path)]
    if information is not None:
        return _listed_paths(path, information)
    files = sorted(storage_files(path), key=lambda file: natural_order(file.name))
    if not files:
        raise BagError(f'{path} is not a bag: it holds neither {METADATA} nor {" or ".join(SUFFIXES)} files')
    return [_checkpointed(file) for file in files]


def _listed_paths(path: Path, information: dict[str, Any]) -> list[Path]:
    files = list(dict.fromkeys(path / Path(name).name for name in information['relative_file_paths']))
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f'{path}: {METADATA} lists {listed(missing)}, which {"is" if len(missing) == 1 else "are"} missing. '
            'Restore them, or run `ros2 bag reindex` to list only the existing files'
        )
    return [_checkpointed(file) for file in files]


def _checkpointed(file: Path) -> Path:
    """The file, unless it is a database with messages that are still in its write-ahead log."""
    wal = file.with_name(f'{file.name}-wal')
    if wal.is_file() and wal.stat().st_size:
        raise BagError(
            f'{file} was not closed: messages are still in {wal.name}. `sqlite3 {file.name} "PRAGMA '
            'wal_checkpoint(TRUNCATE)"` moves them into the bag'
        )
    return file
