"""Sources: recordings as a stream of frames, whatever they are kept in (video file, image folder, ROS 2 bag).

A source reads one frame at a time, so memory does not grow with the length of a recording, and it can be iterated
again from the start.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros import bags
from vis_ros.bags import IMAGE_TYPES, BagError, BagReader, Topic, natural_order
from vis_ros.images import ImageError
from vis_ros.stamps import FOLDER_RATE, StampWindow

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')

_NANOSECONDS = 1_000_000_000
_GAP = 2.5  # times the median of the last intervals
_FEW = 5  # intervals of which the median tells little


@dataclass(frozen=True)
class Stream:
    """The images of one camera in a recording.

    name: of the camera or the video; '' where a recording has just one without a name.
    topic: in a bag, else ''; type: of its messages, else ''.
    count: how many frames there are; None where only reading tells.
    rate: frames per second; None where it is not known.
    """

    name: str
    count: int | None
    rate: float | None
    topic: str = ''
    type: str = ''


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a recording.

    image: (H, W, 3) uint8 BGR.
    stamp_ns: when it was taken, in nanoseconds: the message's own stamp in a bag, else the time since the start.
    frame_id: the optical frame in a bag, else empty.
    name: what to call it: the file's name, or the position in the recording.
    index: position in its stream, from 0, those that cannot be read counted too.
    stream: name of its stream.
    epoch: raised by one where time was set back.
    dropped: images between the frame before and this one that could not be used.
    has_clock: False where the message's stamp tells no time, and `stamp_ns` follows the time of recording.
    recorded_ns: when the message was recorded; None where there is no message.
    message: the serialised message, likewise.
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    frame_id: str
    name: str
    index: int
    stream: str = ''
    epoch: int = 0
    dropped: int = 0
    has_clock: bool = True
    recorded_ns: int | None = None
    message: bytes | None = None

    @property
    def stamp(self) -> float:
        """Seconds."""
        return self.stamp_ns / _NANOSECONDS


class NoFrameError(ValueError):
    """A recording without a single frame that can be read."""


class Source:
    """A recording: iterate to read its frames in order, as often as wanted.

    path: where it is; description: what it is, in words.
    streams: its cameras; the frames of each come in the order of their stamps.
    skips: of the last iteration: why frames were left out -> how many.
    remarks: of the last iteration: what else is not as it should be -> how often.
    last_problem: why the last frame was left out.
    """

    def __init__(self, path: Path, description: str, streams: Sequence[Stream]) -> None:
        self.path = path
        self.description = description
        self.streams = tuple(streams)
        self.skips: Counter[str] = Counter()
        self.remarks: Counter[str] = Counter()
        self.last_problem = ''

    @property
    def count(self) -> int | None:
        """How many frames there are; None where only reading tells."""
        counts = [stream.count for stream in self.streams]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def rate(self) -> float | None:
        """Frames per second of the first stream; None where it is not known."""
        return self.streams[0].rate

    @property
    def skipped(self) -> int:
        """Frames of the last iteration that were left out."""
        return sum(self.skips.values())

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Read from the start, of each stream one frame of so many.

        Raises:
            NoFrameError: there is not a single frame that can be read.
            BagError: a bag is damaged; it comes when everything before the damage has been given.
        """
        self.skips.clear()
        self.remarks.clear()
        self.last_problem = ''
        empty = True
        for frame in self._read(every):
            empty = False
            yield frame
        if empty:
            raise NoFrameError(f'{self.description}: no frame can be read. {self.last_problem}'.rstrip())

    def _read(self, every: int) -> Iterator[Frame]:
        raise NotImplementedError

    def skip(self, reason: str, problem: str, frames: int = 1) -> None:
        """Count what is left out."""
        self.skips[reason] += frames
        self.last_problem = problem


UNREADABLE, LATE, TWICE = 'unreadable', 'out of order', 'recorded twice'
"""Reasons for skips."""

SET_BACK, NO_TIME, SAME_STAMP = 'clock set back', 'stamp tells no time', 'same stamp as the image before'
REORDERED, GAP = 'put in order', 'gap'
"""Remarks. A gap is an interval of more than 2.5 times those before: images are missing in the recording."""


# --- opening ----------------------------------------------------------------------------------------------------------


def open_source(
    path: str | Path, topic: str | None = None, cameras: Mapping[str, str | None] | None = None, name: str = ''
) -> Source:
    """Open a recording.

    Args:
        path: a video file, an image file, a folder of images, a bag file (.mcap or .db3) or a bag folder.
        topic: the image topic of a bag; may be left out where the bag has exactly one.
        cameras: several image topics of a bag: name of each camera -> its topic; None stands for /<name>/image or
            /<name>/image/compressed, as the node has it.
        name: of the stream where there is just one.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is none of these or cannot be read, or a topic is not one of the bag's image topics.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    if bags.is_bag(path):
        return Bag(path, topic, cameras or {}, name)
    if topic is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {topic!r}; leave --topic out')
    if cameras:
        raise ValueError(f'{path} is not a bag, so it has no cameras {", ".join(cameras)}; leave --camera out')
    if images := _images(path):
        return ImageFolder(images, path, name)
    if path.is_dir():
        raise ValueError(
            f'{path} holds neither images ({", ".join(IMAGE_SUFFIXES)}) nor a bag (metadata.yaml, .mcap, .db3)'
        )
    return VideoFile(path, name)


def open_sources(
    path: str | Path, topic: str | None = None, cameras: Mapping[str, str | None] | None = None
) -> list[Source]:
    """Open a recording, or each of the image folders in a folder, in natural order and named after it.

    Raises as `open_source` does.
    """
    path = Path(path)
    if path.is_dir() and not bags.is_bag(path) and not _images(path):
        folders = sorted((folder for folder in path.iterdir() if folder.is_dir()), key=natural_order)
        if sources := [open_source(folder, topic, cameras, folder.name) for folder in folders if _images(folder)]:
            return sources
    return [open_source(path, topic, cameras)]


def _images(path: Path) -> list[Path]:
    files = sorted(path.iterdir(), key=natural_order) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]


def _plausible(rate: float) -> float | None:
    """Frames per second, or None where they cannot be: a file's header may say anything."""
    return rate if 0 < rate < 1000 else None


# --- files ------------------------------------------------------------------------------------------------------------


class VideoFile(Source):
    """A video file that OpenCV can decode; stamps are the container's."""

    def __init__(self, path: Path, name: str = '') -> None:
        self._path = path
        capture = self._open()
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        capture.release()
        stream = Stream(name, frames if frames > 0 else None, _plausible(rate))
        super().__init__(path, f'video {path} ({width}x{height})', [stream])

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise ValueError(f'{self._path} is not a video that OpenCV can read: corrupt, or of an unknown kind')
        return capture

    def _read(self, every: int) -> Iterator[Frame]:
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
                if index % every == 0:
                    yield Frame(image, round(stamp * _NANOSECONDS), '', f'frame {index}', index, self.streams[0].name)
                index += 1
        finally:
            capture.release()
        if self.count is not None and index < self.count:
            problem = f'the file lists {self.count} frames, {index} can be read: it is cut by an edit list, or damaged'
            self.skip(UNREADABLE, problem, self.count - index)


class ImageFolder(Source):
    """Image files in natural order (frame 2 before frame 10), as if taken at FOLDER_RATE."""

    def __init__(self, files: list[Path], path: Path, name: str = '') -> None:
        self._files = files
        super().__init__(path, f'images {path}', [Stream(name, len(files), FOLDER_RATE)])

    def _read(self, every: int) -> Iterator[Frame]:
        dropped = 0
        for index, file in list(enumerate(self._files))[::every]:
            image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is None:
                self.skip(UNREADABLE, f'{file} is not an image that OpenCV can read')
                dropped += 1
                continue
            stamp_ns = round(index / FOLDER_RATE * _NANOSECONDS)
            yield Frame(image, stamp_ns, '', file.name, index, self.streams[0].name, dropped=dropped)
            dropped = 0


# --- bags -------------------------------------------------------------------------------------------------------------


class Bag(Source):
    """Image topics of a ROS 2 bag, raw or compressed; the frames of each come in the order of their stamps.

    A bag is in the order of recording. Images that are out of order by less than REGRESSION_TOLERANCE_NS are put in
    order; a larger step back is time set back and raises the epoch, as in the node. Where a stamp tells no time, as of
    drivers without a clock, it is the one before plus the time between their recordings. A message that was recorded
    twice, with the same stamp and bytes, is used once. Different images with the same stamp are all used, as the node
    does, and counted.
    """

    def __init__(self, path: Path, topic: str | None, cameras: Mapping[str, str | None], name: str = '') -> None:
        self._reader = BagReader(path)
        images = self._reader.of_type(*IMAGE_TYPES)
        if topic is not None and cameras:
            raise ValueError('--topic names the one topic, --camera each of several: give one of the two')
        wanted: dict[str, str | list[str] | None] = {name: topic}
        if cameras:
            wanted = {camera: named or _defaults(camera) for camera, named in cameras.items()}
        try:
            chosen = {camera: _choose(topics, images, path) for camera, topics in wanted.items()}
        except ValueError as error:
            raise ValueError(f'{error}. {self._reader.damage}'.rstrip('. ')) from error
        duration_s = self._reader.duration_s
        streams = [
            Stream(
                camera,
                topic.count,
                _plausible((topic.count - 1) / duration_s if duration_s > 0 else 0),
                topic.name,
                topic.type,
            )
            for camera, topic in chosen.items()
        ]
        self._topics = dict(zip(chosen.values(), streams, strict=True))
        if len(self._topics) < len(streams):
            raise ValueError(
                f'{path}: two cameras have the same topic: {", ".join(stream.topic for stream in streams)}'
            )
        listed = ', '.join(stream.topic for stream in streams)
        super().__init__(path, f'bag {path}, topic{"s" if len(streams) > 1 else ""} {listed}', streams)

    def _read(self, every: int) -> Iterator[Frame]:
        cameras = {topic: _RecordedCamera(self, stream, every) for topic, stream in self._topics.items()}
        damage: BagError | None = None
        messages = self._reader.messages(list(cameras))
        while True:
            try:
                topic, recorded_ns, data = next(messages)
            except StopIteration:
                break
            except BagError as error:
                damage = error
                break
            yield from cameras[topic].take(recorded_ns, data)
        for camera in cameras.values():
            yield from camera.end()
        if damage:
            raise damage


@dataclass(frozen=True)
class _Message:
    """A recorded message that waits for its turn."""

    recorded_ns: int
    frame_id: str
    has_clock: bool
    data: bytes


class _RecordedCamera:
    """One camera of a bag while it is read: order of the messages, position, and what was left out."""

    def __init__(self, bag: Bag, stream: Stream, every: int) -> None:
        self._bag = bag
        self._stream = stream
        self._every = every
        self._window: StampWindow[_Message] = StampWindow()
        self._arrived: tuple[int, int] | None = None  # stamp and time of recording of the last message
        self._index = 0
        self._dropped = 0
        self._epoch = 0
        self._last: tuple[int, bytes] | None = None  # stamp and bytes of the last one in order
        self._intervals: deque[int] = deque(maxlen=31)

    def take(self, recorded_ns: int, data: bytes) -> Iterator[Frame]:
        """The next recorded message; yields the frames whose turn has come."""
        try:
            header_ns, frame_id = bags.read_header(data)
            self._bag.remarks.update([] if header_ns else [NO_TIME])
        except BagError:  # it takes its place all the same, where reading the image will fail
            header_ns, frame_id = 0, ''
        stamp_ns = header_ns
        if not header_ns:
            last_ns, last_recorded_ns = self._arrived or (recorded_ns, recorded_ns)
            stamp_ns = last_ns + max(recorded_ns - last_recorded_ns, 0)
        self._arrived = stamp_ns, recorded_ns
        late = self._window.late
        ready = self._window.add(stamp_ns, _Message(recorded_ns, frame_id, header_ns != 0, data))
        if self._window.late > late:
            self._skip(LATE, f'an image of {self._stream.topic} came after later ones')
        yield from self._frames(ready)

    def end(self) -> Iterator[Frame]:
        """The frames that still wait."""
        yield from self._frames(self._window.flush())
        if self._window.reordered:
            self._bag.remarks[REORDERED] += self._window.reordered

    def _frames(self, ready: list[tuple[int, int, _Message]]) -> Iterator[Frame]:
        for epoch, stamp_ns, message in ready:
            index = self._index
            self._index += 1
            if self._is_known(epoch, stamp_ns, message.data):
                self._skip(TWICE, f'image {index} of {self._stream.topic} is there twice')
                continue
            if index % self._every == 0 and (frame := self._frame(epoch, stamp_ns, message, index)):
                self._dropped = 0
                yield frame

    def _is_known(self, epoch: int, stamp_ns: int, data: bytes) -> bool:
        """Whether this is the message before once more. Also notes how the stamps go on."""
        last, self._last = self._last, (stamp_ns, data)
        if epoch > self._epoch:
            self._epoch = epoch
            self._bag.remarks[SET_BACK] += 1
        elif last is not None and last[0] == stamp_ns:
            if last[1] == data:
                return True
            self._bag.remarks[SAME_STAMP] += 1
        elif last is not None:
            if len(self._intervals) > _FEW and stamp_ns - last[0] > _GAP * median(self._intervals):
                self._bag.remarks[GAP] += 1
            self._intervals.append(stamp_ns - last[0])
        return False

    def _frame(self, epoch: int, stamp_ns: int, message: _Message, index: int) -> Frame | None:
        try:
            image = bags.read_image(message.data, self._stream.type)
        except (ImageError, BagError) as error:
            self._skip(UNREADABLE, f'image {index} of {self._stream.topic}: {error}')
            return None
        return Frame(
            image,
            stamp_ns,
            message.frame_id,
            f'image {index}',
            index,
            self._stream.name,
            epoch,
            self._dropped,
            message.has_clock,
            message.recorded_ns,
            message.data,
        )

    def _skip(self, reason: str, problem: str) -> None:
        self._dropped += 1
        self._bag.skip(reason, problem)


def _defaults(camera: str) -> list[str]:
    """The topics of a camera of this name in the node."""
    return [f'/{camera}/image', f'/{camera}/image/compressed']


def _choose(wanted: str | list[str] | None, topics: list[Topic], path: Path) -> Topic:
    listed = ', '.join(map(str, topics))
    if not topics:
        raise ValueError(f'{path} has no topic with images ({" or ".join(IMAGE_TYPES)})')
    if wanted is None:
        if len(topics) > 1:
            raise ValueError(
                f'{path} has several topics with images, choose one with --topic (or each with --camera): {listed}'
            )
        topic = topics[0]
    else:
        names = [wanted] if isinstance(wanted, str) else wanted
        found = [topic for name in names for topic in topics if topic.name == '/' + name.lstrip('/')]
        if not found:
            raise ValueError(f'{path} has no images on the topic {" or ".join(names)}; it has {listed}')
        topic = found[0]
    if not topic.count:
        raise ValueError(f'{path} has no message on {topic.name}; it has {listed}')
    return topic
