"""BagReader: the messages of a ROS 2 bag without ROS: .mcap, .db3, split, compressed, or broken off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import Reader

from vis_ros.image_files import natural_order
from vis_ros.recordings.bag_files import METADATA, SUFFIXES, BagError, is_storage
from vis_ros.recordings.cut_mcap import CutMcap, TopicKey, cut_mcap
from vis_ros.recordings.topics import IMAGE_TYPES, INSTANCES_TYPE, Topic, ignored_topic
from vis_ros.ros.stamps import NS_PER_S

_REPAIR = '`mcap recover` (.mcap) or `sqlite3 FILE .recover` (.db3) saves what is left'


class BagReader:
    """The messages of a bag in the order of recording. Each iteration reads from the start, one message at a time.

    A folder is read by its metadata.yaml, or without one file after file in natural order (part 2 before part 10). A
    recording that breaks off, as when the recorder was killed, is read up to there: an .mcap file, or a split bag whose
    last file cannot be read.

    topics: sorted by name; a name occurs twice if it has messages of two types.
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
        self._parts: list[_Part | CutMcap] = []
        self._unreadable_end = ''
        paths = _paths(self.path, information)
        for path in paths:
            try:
                self._parts.append(cut_mcap(path) or _Part(path))
            except BagError as error:
                if path is not paths[-1] or not self._parts:
                    raise
                self._unreadable_end = str(error)
        self.damage = ' '.join([*(part.damage for part in self._parts), self._unreadable_end]).strip()
        counts: Counter[TopicKey] = Counter()
        for part in self._parts:
            counts.update(part.counts)
        self.topics = [Topic(name, kind, count) for (name, kind), count in sorted(counts.items())]
        times = [time for part in self._parts for time in part.times_ns]
        self.duration_s = (max(times) - min(times)) / NS_PER_S if times else 0.0

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
            BagError: the bag is damaged; raised after all messages before the damage.
        """
        wanted = {(topic.name, topic.type): topic for topic in topics}
        for part in self._parts:
            for key, recorded_ns, data in part.messages(wanted, start_ns):
                yield wanted[key], recorded_ns, data
            if part.damage:
                raise BagError(part.damage)
        if self._unreadable_end:
            raise BagError(self._unreadable_end)


class _Part:
    """What rosbags opens: a complete file, or a folder whose files are compressed. For the fields see `CutMcap`."""

    damage = ''

    def __init__(self, path: Path) -> None:
        self._path = path
        self.counts: Counter[TopicKey] = Counter()
        self.times_ns: list[int] = []
        with self._opened() as reader:
            for each in reader.connections:
                self.counts[each.topic, each.msgtype] += each.msgcount
            if reader.message_count:
                self.times_ns = [reader.start_time, reader.end_time - 1]  # the end is exclusive

    def messages(self, topics: Collection[TopicKey], start_ns: int | None) -> Iterator[tuple[TopicKey, int, bytes]]:
        """See `CutMcap.messages`."""
        with self._opened() as reader:
            chosen = [each for each in reader.connections if (each.topic, each.msgtype) in topics]
            messages = reader.messages(chosen, start_ns) if chosen else iter(())
            while True:
                try:
                    connection, recorded_ns, data = next(messages)
                except StopIteration:
                    return
                except Exception as error:  # as in `_opened`
                    raise BagError(f'{self._path} is damaged: {error}. {_REPAIR}') from error
                yield (connection.topic, connection.msgtype), recorded_ns, bytes(data)

    @contextmanager
    def _opened(self) -> Iterator[Reader]:
        with ExitStack() as stack:
            try:
                reader = stack.enter_context(Reader(self._path))
            except Exception as error:  # a damaged file fails in as many ways as it has fields
                raise BagError(self._unreadable(error)) from error
            yield reader

    def _unreadable(self, error: Exception) -> str:
        if self._path.is_file() and not self._path.stat().st_size:
            return f'{self._path} is empty: it has no bytes. Nothing was recorded, or copying it failed'
        reason = str(error).rstrip('.')
        return f'{self._path} cannot be read as a bag: {reason}. {_REPAIR}, and `ros2 bag reindex` rewrites {METADATA}'


# --- files ------------------------------------------------------------------------------------------------------------


def _metadata(path: Path) -> dict[str, Any] | None:
    """The content of metadata.yaml; None if there is no such file."""
    if not path.exists():
        raise FileNotFoundError(f'there is no bag {path}')
    metadata = path / METADATA
    if not metadata.is_file():
        return None
    try:
        information = yaml.safe_load(metadata.read_text(encoding='utf-8'))['rosbag2_bagfile_information']
        if not all(isinstance(name, str) for name in information['relative_file_paths']):
            raise TypeError('relative_file_paths is not a list of names')
        return dict(information)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BagError(
            f'{metadata} is damaged: {error!r}. `ros2 bag reindex` rewrites it; if you remove it, the files are read '
            'as they are'
        ) from error


def _paths(path: Path, information: dict[str, Any] | None) -> list[Path]:
    """What to open, one after the other: files, or a folder whose files are compressed."""
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise BagError(f'{path} is not a bag: a bag is a folder or a file that ends in {" or ".join(SUFFIXES)}')
        return [_checkpointed(path)]
    if information is not None:
        return _listed_paths(path, information)
    files = sorted((file for file in path.iterdir() if is_storage(file)), key=lambda file: natural_order(file.name))
    if not files:
        raise BagError(f'{path} is not a bag: it holds neither {METADATA} nor {" or ".join(SUFFIXES)} files')
    return [_checkpointed(file) for file in files]


def _listed_paths(path: Path, information: dict[str, Any]) -> list[Path]:
    files = [path / Path(name).name for name in information['relative_file_paths']]
    compressed = str(information.get('compression_mode', '')).lower() not in ('', 'none')
    if missing := [file.name for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f'{path}: {METADATA} lists {", ".join(missing)}, which {"is" if len(missing) == 1 else "are"} missing. '
            'Restore them, or run `ros2 bag reindex` to list only the existing files'
        )
    return [path] if compressed else [_checkpointed(file) for file in files]


def _checkpointed(file: Path) -> Path:
    """The file, unless it is a database with messages that are still in its write-ahead log."""
    wal = file.with_name(f'{file.name}-wal')
    if wal.is_file() and wal.stat().st_size:
        raise BagError(
            f'{file} was not closed: messages are still in {wal.name}. `sqlite3 {file.name} "PRAGMA '
            'wal_checkpoint(TRUNCATE)"` moves them into the bag'
        )
    return file
