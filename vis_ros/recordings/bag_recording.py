"""BagRecording: image topics of a ROS 2 bag as a recording."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from vis_ros.extras import require
from vis_ros.images import ImageError
from vis_ros.listing import listed
from vis_ros.positions import CameraModel
from vis_ros.recordings.bag_depth import BagDepth, DepthTopics
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.cdr import read_header
from vis_ros.recordings.image_decoder import ImageDecoder
from vis_ros.recordings.recording import (
    GAP,
    LATE,
    NO_DEPTH,
    NO_TIME,
    OTHER_FRAME,
    OUTLIER,
    REORDERED,
    SAME_STAMP,
    SET_BACK,
    TWICE,
    UNREADABLE,
    UNUSABLE_CALIBRATION,
    Frame,
    Recording,
    Stream,
    plausible_rate,
)
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPES, VIDEO_TYPES, Topic, absolute
from vis_ros.recordings.video_messages import read_video_packet
from vis_ros.ros.stamps import REGRESSION_TOLERANCE_NS, Order, StampOrder, StampWindow
from vis_ros.video.video_decoder import PacketError, Pixels

_GAP = 2.5  # times the median of the last intervals
_VIDEO = re.compile(r'Packet|Video', re.IGNORECASE)
"""Types of messages that hold encoded video, read or not."""
_MIN_INTERVALS = 5  # the median of fewer says little


class BagRecording(Recording):
    """Image topics of a ROS 2 bag, raw, compressed or video; the frames of each come in the order of their stamps.

    A bag is in the order of recording. Images that are out of order by less than REGRESSION_TOLERANCE_NS are reordered;
    a larger step back means that the clock was set back and raises the epoch, as in the node. An invalid stamp, as of
    drivers without a clock, is replaced by the previous one plus the time between their recordings. A message that was
    recorded twice, with the same stamp and bytes, is used once. Different images with the same stamp are all used and
    counted, as in the node. With depth topics, each frame of the one camera has the depth nearest to it in time. Of
    video, every packet is decoded in the order of recording, also those that a stride leaves out.
    """

    def __init__(
        self,
        path: Path,
        topic: str | None,
        cameras: Mapping[str, str | None],
        name: str = '',
        depth: DepthTopics | None = None,
    ) -> None:
        """Open a bag; for the arguments and errors see `vis_ros.recordings.opening.open_recording`."""
        if topic is not None and cameras:
            raise ValueError('--topic names a single topic, --camera one of several: give only one of the two')
        if depth is not None and len(cameras) > 1:
            raise ValueError('--depth works with one camera; replay the cameras one by one')
        self._reader = BagReader(path)
        self._other_frames: dict[tuple[str, ...], None] = {}
        self._depth = None if depth is None else BagDepth(self._reader, depth)
        wanted: dict[str, list[str] | None] = {name: None if topic is None else [topic]}
        if cameras:
            wanted = {camera: [given] if given else _default_topics(camera) for camera, given in cameras.items()}
        self._streams = choose_streams(self._reader, wanted)
        streams = list(self._streams.values())
        for each in streams:
            if each.is_video:
                require('video', f'{path}: the H.264 or H.265 video of {each.topic}')
        of = ', '.join(stream.topic for stream in streams)
        self.files: Sequence[Path] = self._reader.files
        super().__init__(path, f'bag {path}, topic{"s" if len(streams) > 1 else ""} {of}', streams)
        names = {topic.name for topic in self._streams}
        if same := [t for t in self._reader.image_topics if t.count and t.name in names and t not in self._streams]:
            self.left_out.append(f'images of another type on the same topic: {listed(same)}')
        unread = [each for each in (*self._reader.topics, *self._reader.foreign) if is_picture(each)]
        if topic is None and not cameras and unread:
            self.left_out.append(f'topics of types that are not read: {", ".join(map(str, unread))}')

    def _read(self, stride: int) -> Iterator[Frame]:
        cameras = {topic: _RecordedCamera(self, stream, stride) for topic, stream in self._streams.items()}
        depth_topics: tuple[Topic, ...] = ()
        if self._depth is not None:
            self._depth.restart()
            self._other_frames.clear()
            depth_topics = self._depth.topics
        messages = self._reader.messages([*cameras, *depth_topics])
        damage: BagError | None = None
        while True:
            try:
                topic, recorded_ns, data = next(messages)
            except StopIteration:
                break
            except BagError as error:
                damage = error
                break
            if self._depth is not None and topic in depth_topics:
                self._depth.take(topic, data)
            else:
                yield from cameras[topic].take(recorded_ns, data)
        for camera in cameras.values():
            yield from camera.end()
        if self._depth is not None and self._depth.unusable:
            self.warnings[UNUSABLE_CALIBRATION] = self._depth.unusable
        if damage:
            raise damage

    def depth_at(
        self, stamp_ns: int, frame_id: str, size: tuple[int, ...]
    ) -> tuple[NDArray[np.generic], CameraModel] | None:
        """`Frame.depth` of the image with this stamp, frame and size. Those of another frame are counted."""
        if self._depth is None:
            return None
        found = self._depth.at(stamp_ns, size)
        if found is None:
            self.warnings[NO_DEPTH] += 1
        elif other := sorted({id.lstrip('/') for id in self._depth.frame_ids or ()} - {frame_id.lstrip('/')}):
            self.warnings[OTHER_FRAME] += 1
            self._other_frames[(frame_id, *other)] = None
        return found

    @property
    def inferred(self) -> list[str]:
        return [
            *super().inferred,
            *(
                f'depth or calibration of the frame {" and ".join(map(repr, others))} was used as registered to the '
                f'images of the frame {frame_id!r}: if it is not, the positions are wrong'
                for frame_id, *others in self._other_frames
            ),
        ]


def is_picture(topic: Topic) -> bool:
    """Whether a topic has images in messages that cannot be read: other video, or another serialization."""
    if topic.type in IMAGE_TYPES:
        return False
    return bool(topic.count and (_VIDEO.search(topic.type) or ('Image' in topic.type and ' in ' in topic.type)))


# --- topics -----------------------------------------------------------------------------------------------------------


def choose_streams(reader: BagReader, wanted: Mapping[str, list[str] | None]) -> dict[Topic, Stream]:
    """The image topic of each camera, and the stream that it is.

    Args:
        reader: of the bag.
        wanted: name of each camera -> topics, of which the first that the bag has is used; None: the only topic.

    Raises:
        ValueError: the bag has no such topic, none with messages, several to choose from, or two cameras share one. If
            the bag is damaged, the message says so too, because the topic may have been lost.
    """
    try:
        chosen = {camera: _choose(reader, names) for camera, names in wanted.items()}
    except ValueError as error:
        raise ValueError(f'{error}. {reader.damage}'.rstrip('. ')) from error
    if len(set(chosen.values())) < len(chosen):
        names = listed(topic.name for topic in chosen.values())
        raise ValueError(f'{reader.path}: two cameras have the same topic: {names}')
    return {topic: _stream(camera, topic, reader) for camera, topic in chosen.items()}


def _choose(reader: BagReader, names: list[str] | None) -> Topic:
    topics = reader.image_topics
    available = listed(topics)
    if not topics:
        raise ValueError(f'{reader.path} has no topic with images ({" or ".join(IMAGE_TYPES)}). {_others(reader)}')
    if names is None and len(topics) > 1:
        raise ValueError(
            f'{reader.path} has several topics with images, choose one with --topic (or each with --camera): '
            f'{available}'
        )
    found = topics if names is None else [t for name in names for t in _named(topics, name)]
    if not found:
        raise ValueError(f'{reader.path} has no images on the topic {" or ".join(names or ())}; it has {available}')
    if not found[0].count:
        raise ValueError(f'{reader.path} has no message on {found[0].name}; it has {available}')
    return found[0]


def _named(topics: list[Topic], name: str) -> list[Topic]:
    """The topics with a name, its leading slash left out or not; the one with the most messages first."""
    same = [topic for topic in topics if topic.name == name]
    found = same or [topic for topic in topics if absolute(topic.name) == absolute(name)]
    return sorted(found, key=lambda topic: -topic.count)


def _others(reader: BagReader) -> str:
    """What a bag without images has, and what to do with its video."""
    others = [*reader.topics, *reader.foreign]
    text = f'It has {listed(f"{each.name} ({each.type}, {each.count})" for each in others) or "no topic at all"}'
    if any(_VIDEO.search(topic.type) for topic in others):
        text += (
            f'. Video is read from messages of the types {" and ".join(VIDEO_TYPES)} in ROS 2 serialization (CDR): '
            'convert it, or republish the topic as raw images and record those'
        )
    return text


def _stream(camera: str, topic: Topic, reader: BagReader) -> Stream:
    rate = (topic.count - 1) / reader.duration_s if reader.duration_s > 0 else 0
    return Stream(camera, topic.count, plausible_rate(rate), topic.name, topic.type, is_video(reader, topic))


def is_video(reader: BagReader, topic: Topic) -> bool:
    """Whether the first message of an image topic is a packet of a video."""
    if topic.type != COMPRESSED_TYPE:
        return topic.type in VIDEO_TYPES
    try:
        _, _, data = next(reader.messages([topic]))
        return read_video_packet(data, topic.type) is not None
    except (StopIteration, BagError, ImageError):
        return False


def _default_topics(camera: str) -> list[str]:
    """The topics of a camera of this name in the node."""
    return [f'/{camera}/image', f'/{camera}/image/compressed']


# --- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Message:
    """A recorded message that waits until its stamp is due."""

    recorded_ns: int
    frame_id: str
    has_clock: bool
    data: bytes
    pixels: Pixels


class _RecordedCamera:
    """One camera of a bag while the bag is read: puts its messages in order and counts what is left out."""

    def __init__(self, bag: BagRecording, stream: Stream, stride: int) -> None:
        self._bag = bag
        self._stream = stream
        self._stride = stride
        self._decoder: ImageDecoder[tuple[int, bytes]] = ImageDecoder(stream.type, bag.scale16, self._lost)
        self._order = StampOrder()
        self._suspect: tuple[int, int, _Message] | None = None  # an outlier, until the next one: stamp, expected stamp
        self._window: StampWindow[_Message] = StampWindow()
        self._arrived: tuple[int, int] | None = None  # stamp and time of recording of the last message
        self._index = 0
        self._dropped = 0
        self._epoch = 0
        self._last: tuple[int, bytes] | None = None  # stamp and bytes of the last message in order
        self._intervals: deque[int] = deque(maxlen=31)

    def take(self, recorded_ns: int, data: bytes) -> Iterator[Frame]:
        """Take the next recorded message; yields the frames that are due."""
        for (image_recorded_ns, image_data), pixels in self._decoder.take((recorded_ns, data), data):
            yield from self._order_image(image_recorded_ns, image_data, pixels)

    def _lost(self, message: tuple[int, bytes], error: PacketError) -> None:
        """A message of video turned out to give no image, when its turn had passed."""
        self._skip(error.reason, f'a message of {self._stream.topic}: {error}')

    def _order_image(self, recorded_ns: int, data: bytes, pixels: Pixels) -> Iterator[Frame]:
        try:
            header_ns, frame_id = read_header(data)
            self._bag.warnings.update([] if header_ns else [NO_TIME])
        except BagError:  # it keeps its place, and is left out when reading its image fails
            header_ns, frame_id = 0, ''
        stamp_ns = header_ns
        if not header_ns:
            last_ns, last_recorded_ns = self._arrived or (recorded_ns, recorded_ns)
            stamp_ns = last_ns + max(recorded_ns - last_recorded_ns, 0)
        elapsed_ns = recorded_ns - self._arrived[1] if self._arrived else 0
        self._arrived = stamp_ns, recorded_ns
        newest_ns = self._order.last
        order = self._order.follow(stamp_ns, elapsed_ns)
        message = _Message(recorded_ns, frame_id, header_ns != 0, data, pixels)
        if self._suspect is not None and newest_ns is not None:
            suspect_ns, expected_ns, suspect = self._suspect
            self._suspect = None
            goes_on = newest_ns <= suspect_ns <= stamp_ns + REGRESSION_TOLERANCE_NS
            if order is Order.BACKWARD or (order is Order.FORWARD and goes_on):  # time was set
                yield from self._add(suspect_ns, suspect)
            else:
                yield from self._add_outlier(max(min(expected_ns, stamp_ns), newest_ns), suspect)
        if order is Order.OUTLIER:
            assert newest_ns is not None
            self._suspect = stamp_ns, newest_ns + max(elapsed_ns, 0), message
            return
        if order is Order.BACKWARD:
            self._order.forget()
            self._order.follow(stamp_ns)
        yield from self._add(stamp_ns, message)

    def _add_outlier(self, stamp_ns: int, message: _Message) -> Iterator[Frame]:
        """An image with a stamp that fits its neighbors in place of its own."""
        self._bag.warnings[OUTLIER] += 1
        yield from self._add(stamp_ns, message)

    def _add(self, stamp_ns: int, message: _Message) -> Iterator[Frame]:
        late = self._window.late
        ready = self._window.add(stamp_ns, message)
        if self._window.late > late:
            self._skip(LATE, f'an image of {self._stream.topic} came after later ones')
        yield from self._frames(ready)

    def end(self) -> Iterator[Frame]:
        """The frames that still wait."""
        for (recorded_ns, data), pixels in self._decoder.end():
            yield from self._order_image(recorded_ns, data, pixels)
        if self._suspect is not None:
            _, expected_ns, message = self._suspect
            self._suspect = None
            yield from self._add_outlier(expected_ns, message)
        yield from self._frames(self._window.flush())
        if self._window.reordered:
            self._bag.warnings[REORDERED] += self._window.reordered

    def _frames(self, ready: list[tuple[int, int, _Message]]) -> Iterator[Frame]:
        for epoch, stamp_ns, message in ready:
            index = self._index
            self._index += 1
            if self._is_repeated(epoch, stamp_ns, message.data):
                self._skip(TWICE, f'image {index} of {self._stream.topic} was recorded twice')
                continue
            if index % self._stride == 0 and (frame := self._frame(epoch, stamp_ns, message, index)):
                self._dropped = 0
                yield frame

    def _is_repeated(self, epoch: int, stamp_ns: int, data: bytes) -> bool:
        """Whether this is the previous message again. Also counts irregular stamps."""
        last, self._last = self._last, (stamp_ns, data)
        if epoch > self._epoch:
            self._epoch = epoch
            self._bag.warnings[SET_BACK] += 1
        elif last is not None and last[0] == stamp_ns:
            if last[1] == data:
                return True
            self._bag.warnings[SAME_STAMP] += 1
        elif last is not None:
            if len(self._intervals) > _MIN_INTERVALS and stamp_ns - last[0] > _GAP * median(self._intervals):
                self._bag.warnings[GAP] += 1
            self._intervals.append(stamp_ns - last[0])
        return False

    def _frame(self, epoch: int, stamp_ns: int, message: _Message, index: int) -> Frame | None:
        try:
            image = message.pixels()
        except (ImageError, BagError) as error:
            self._skip(getattr(error, 'reason', UNREADABLE), f'image {index} of {self._stream.topic}: {error}')
            return None
        return Frame(
            image=image,
            stamp_ns=stamp_ns,
            frame_id=message.frame_id,
            name=f'image {index}',
            index=index,
            stream=self._stream.name,
            epoch=epoch,
            dropped=self._dropped,
            has_clock=message.has_clock,
            recorded_ns=message.recorded_ns,
            message=message.data,
            depth=self._bag.depth_at(stamp_ns, message.frame_id, image.shape[:2]),
        )

    def _skip(self, reason: str, problem: str) -> None:
        self._dropped += 1
        self._bag.skip(reason, problem)
