"""Sources: recordings as a stream of frames, whatever they are kept in (video file, image folder, ROS 2 bag).

A source reads one frame at a time, so memory does not grow with the length of a recording, and it can be iterated
again from the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.images import ImageError, decode_compressed, decode_image
from vis_ros.stamps import FOLDER_RATE

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
BAG_SUFFIXES = ('.mcap', '.db3')
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a recording.

    image: (H, W, 3) uint8 BGR.
    stamp_ns: when it was taken, in nanoseconds: the message's own stamp in a bag, else the time since the start.
    frame_id: the optical frame in a bag, else empty.
    name: what to call it: the file's name, or the position in the recording.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str
    name: str

    @property
    def stamp(self) -> float:
        """Seconds."""
        return self.stamp_ns / _NANOSECONDS


class Source:
    """A recording: iterate to read its frames in order, as often as wanted.

    description: what it is, in words.
    count: how many frames there are; None where only reading tells.
    rate: frames per second; None where it is not known.
    skipped: frames of the last iteration that could not be read.
    last_problem: why the last of them could not.
    """

    def __init__(self, description: str, count: int | None, rate: float | None) -> None:
        self.description = description
        self.count = count
        self.rate = rate
        self.skipped = 0
        self.last_problem = ''

    def __iter__(self) -> Iterator[Frame]:
        """Read from the start.

        Raises:
            ValueError: there is not a single frame that can be read, or the recording breaks off in the middle.
        """
        self.skipped, self.last_problem = 0, ''
        empty = True
        for frame in self._read():
            empty = False
            yield frame
        if empty:
            raise ValueError(f'{self.description}: no frame can be read. {self.last_problem}'.rstrip())

    def _read(self) -> Iterator[Frame]:
        raise NotImplementedError

    def _skip(self, problem: str, frames: int = 1) -> None:
        self.skipped += frames
        self.last_problem = problem


def open_source(path: str | Path, topic: str | None = None) -> Source:
    """Open a recording.

    Args:
        path: a video file, an image file, a folder of images, a bag file (.mcap or .db3) or a bag folder.
        topic: the image topic of a bag; may be left out where the bag has exactly one.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is none of these or cannot be read, or the topic is not one of the bag's image topics.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    if path.suffix in BAG_SUFFIXES and path.is_file():
        return Bag([path], path, topic)
    if (path / 'metadata.yaml').exists():
        return Bag([path], path, topic)
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.is_file()), key=_natural)
        if bags := [file for file in files if file.suffix in BAG_SUFFIXES]:
            return Bag(bags, path, topic)
    else:
        files = [path]
    if topic is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {topic!r}; leave --topic out')
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if images:
        return ImageFolder(images, path)
    if path.is_dir():
        raise ValueError(
            f'{path} holds neither images ({", ".join(IMAGE_SUFFIXES)}) nor a bag (metadata.yaml, .mcap, .db3)'
        )
    return VideoFile(path)


class VideoFile(Source):
    """A video file that OpenCV can decode; stamps are the container's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        capture = self._open()
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        count = frames if frames > 0 else None
        super().__init__(f'video {path} ({width}x{height})', count, rate if 0 < rate < 1000 else None)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ValueError(f'{self._path} is not a video that OpenCV can read: corrupt, or of an unknown kind')
        return capture

    def _read(self) -> Iterator[Frame]:
        capture = self._open()
        period = 1 / (self.rate or FOLDER_RATE)
        index, stamp = 0, -period
        try:
            while True:
                readable, image = capture.read()
                if not readable:
                    break
                container_stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                stamp = container_stamp if container_stamp > stamp else stamp + period
                yield Frame(image, round(stamp * _NANOSECONDS), '', f'frame {index}')
                index += 1
        finally:
            capture.release()
        if self.count is not None and index < self.count:
            problem = f'the file lists {self.count} frames, {index} can be read: it is cut by an edit list, or damaged'
            self._skip(problem, self.count - index)


class ImageFolder(Source):
    """Image files in natural order (frame 2 before frame 10), as if taken at FOLDER_RATE."""

    def __init__(self, files: list[Path], path: Path) -> None:
        self._files = files
        super().__init__(f'images {path}', len(files), FOLDER_RATE)

    def _read(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is None:
                self._skip(f'{file} is not an image that OpenCV can read')
                continue
            yield Frame(image, round(index / FOLDER_RATE * _NANOSECONDS), '', file.name)


class Bag(Source):
    """One image topic of a ROS 2 bag, raw or compressed, in the order of recording; stamps are the messages' own.

    A stamp of zero, as drivers without a clock send it, is replaced by the time of recording.
    """

    def __init__(self, files: list[Path], path: Path, topic: str | None) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._files = files
        self._typestore = get_typestore(Stores.LATEST)
        topics: dict[str, tuple[str, int]] = {}
        duration = 0.0
        for file in files:
            with _opened(file) as reader:
                duration += reader.duration / _NANOSECONDS
                for connection in reader.connections:
                    if connection.msgtype in IMAGE_TYPES:
                        _, count = topics.get(connection.topic, ('', 0))
                        topics[connection.topic] = connection.msgtype, count + connection.msgcount
        self._topic = _choose(topic, topics, path)
        count = topics[self._topic][1]
        rate = count / duration if duration > 0 and count > 1 else None
        super().__init__(f'bag {path}, topic {self._topic}', count, rate)

    def _read(self) -> Iterator[Frame]:
        index = 0
        for file in self._files:
            with _opened(file) as reader:
                for connection, recorded_ns, data in self._messages(reader, file):
                    try:
                        yield self._frame(connection, recorded_ns, data, index)
                    except ImageError as error:
                        self._skip(f'image {index} of {self._topic}: {error}')
                    index += 1

    def _messages(self, reader: Reader, file: Path) -> Iterator[tuple[Connection, int, bytes]]:
        chosen = [c for c in reader.connections if c.topic == self._topic and c.msgtype in IMAGE_TYPES]
        if not chosen:
            return
        try:
            yield from reader.messages(chosen)
        except Exception as error:  # a damaged file fails in as many ways as it has fields
            raise ValueError(f'{file} is damaged: {error}') from error

    def _frame(self, connection: Connection, recorded_ns: int, data: bytes, index: int) -> Frame:
        try:
            message: Any = self._typestore.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # likewise
            raise ImageError(f'the message cannot be deserialised: {error}') from error
        if connection.msgtype == IMAGE_TYPES[0]:
            image = decode_image(
                message.encoding, message.height, message.width, message.step, bool(message.is_bigendian), message.data
            )
        else:
            image = decode_compressed(message.format, message.data)
        stamp = message.header.stamp
        stamp_ns = int(stamp.sec) * _NANOSECONDS + int(stamp.nanosec)
        return Frame(image, stamp_ns or recorded_ns, str(message.header.frame_id), f'image {index}')


@contextmanager
def _opened(file: Path) -> Iterator[Reader]:
    from rosbags.rosbag2 import Reader

    try:
        reader = Reader(file)
        reader.open()
    except Exception as error:  # a damaged file fails in as many ways as it has fields
        raise ValueError(
            f'{file} cannot be read as a bag: {error}. If the recording was cut off, `mcap recover` (.mcap) or '
            '`ros2 bag reindex` repairs it'
        ) from error
    try:
        yield reader
    finally:
        reader.close()


def _choose(topic: str | None, topics: dict[str, tuple[str, int]], path: Path) -> str:
    listed = ', '.join(f'{name} ({kind.rsplit("/", 1)[-1]}, {count})' for name, (kind, count) in sorted(topics.items()))
    if not topics:
        raise ValueError(f'{path} has no topic with images ({" or ".join(IMAGE_TYPES)})')
    if topic is None:
        if len(topics) > 1:
            raise ValueError(f'{path} has several topics with images, choose one with --topic: {listed}')
        return next(iter(topics))
    absolute = '/' + topic.lstrip('/')
    if absolute not in topics:
        raise ValueError(f'{path} has no images on the topic {topic}; it has {listed}')
    return absolute


def _natural(file: Path) -> list[tuple[int, str]]:
    """Digits compare as numbers."""
    return [(int(part), '') if part.isdecimal() else (-1, part.lower()) for part in re.split(r'(\d+)', file.name)]
