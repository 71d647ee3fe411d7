"""Bag: image topics of a ROS 2 bag as a source."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from vis_ros.images import ImageError
from vis_ros.positions import CameraModel
from vis_ros.recordings.bag_depth import BagDepth, DepthTopics
from vis_ros.recordings.bags import IMAGE_TYPES, BagError, BagReader, Topic, read_header, read_image
from vis_ros.recordings.recording import (
    GAP,
    LATE,
    NO_DEPTH,
    NO_TIME,
    REORDERED,
    SAME_STAMP,
    SET_BACK,
    TWICE,
    UNREADABLE,
    Frame,
    Source,
    Stream,
    plausible,
)
from vis_ros.ros.stamps import StampWindow

_GAP = 2.5  # times the median of the last intervals
_FEW = 5  # intervals of which the median tells little


class Bag(Source):
    """Image topics of a ROS 2 bag, raw or compressed; the frames of each come in the order of their stamps.

    A bag is in the order of recording. Images that are out of order by less than REGRESSION_TOLERANCE_NS are put in
    order; a larger step back is time set back and raises the epoch, as in the node. Where a stamp tells no time, as of
    drivers without a clock, it is the one before plus the time between their recordings. A message that was recorded
    twice, with the same stamp and bytes, is used once. Different images with the same stamp are all used, as the node
    does, and counted. With the topics of depth each frame of the one camera has the depth nearest to it in time.
    """

    def __init__(
        self,
        path: Path,
        topic: str | None,
        cameras: Mapping[str, str | None],
        name: str = '',
        depth: DepthTopics | None = None,
    ) -> None:
        self._reader = BagReader(path)
        images = self._reader.image_topics
        if topic is not None and cameras:
            raise ValueError('--topic names the one topic, --camera each of several: give one of the two')
        if depth is not None and len(cameras) > 1:
            raise ValueError('--depth goes with one camera; replay the others one by one')
        self._depth = None if depth is None else BagDepth(self._reader, depth)
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
                plausible((topic.count - 1) / duration_s if duration_s > 0 else 0),
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
        beside = () if self._depth is None else self._depth.topics
        if self._depth is not None:
            self._depth.restart()
        messages = self._reader.messages([*cameras, *beside])
        while True:
            try:
                topic, recorded_ns, data = next(messages)
            except StopIteration:
                break
            except BagError as error:
                damage = error
                break
            if self._depth is not None and topic in beside:
                self._depth.take(topic, data)
            else:
                yield from cameras[topic].take(recorded_ns, data)
        for camera in cameras.values():
            yield from camera.end()
        if damage:
            raise damage

    def depth_at(self, stamp_ns: int) -> tuple[NDArray[np.generic], CameraModel] | None:
        """What `Frame.depth` of an image is."""
        found = None if self._depth is None else self._depth.at(stamp_ns)
        self.warnings.update([NO_DEPTH] if self._depth is not None and found is None else [])
        return found


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
            header_ns, frame_id = read_header(data)
            self._bag.warnings.update([] if header_ns else [NO_TIME])
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
            self._bag.warnings[REORDERED] += self._window.reordered

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
            self._bag.warnings[SET_BACK] += 1
        elif last is not None and last[0] == stamp_ns:
            if last[1] == data:
                return True
            self._bag.warnings[SAME_STAMP] += 1
        elif last is not None:
            if len(self._intervals) > _FEW and stamp_ns - last[0] > _GAP * median(self._intervals):
                self._bag.warnings[GAP] += 1
            self._intervals.append(stamp_ns - last[0])
        return False

    def _frame(self, epoch: int, stamp_ns: int, message: _Message, index: int) -> Frame | None:
        try:
            image = read_image(message.data, self._stream.type)
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
            self._bag.depth_at(stamp_ns),
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
