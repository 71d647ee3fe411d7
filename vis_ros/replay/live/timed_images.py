"""TimedImages: the images of a recording as serialized messages, with the times at which they were recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from std_msgs.msg import Header

from vis_ros.recordings.bag_files import BagError, is_bag
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.cdr import read_header, serialize, with_stamp
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.recording import Recording
from vis_ros.recordings.topics import IMAGE_TYPE, IMAGE_TYPES, Topic
from vis_ros.ros.messages import to_image
from vis_ros.ros.stamps import to_time


@dataclass(frozen=True)
class TimedImage:
    """One image of a recording.

    topic: of the recording; '' for a video or an image folder.
    name: of the frame, as in an offline replay.
    recorded_ns: time of recording.
    stamp_ns: stamp of the message, never 0.
    frame_stamp_ns: stamp of the frame in an offline replay. It differs in videos and image folders only, which start
        at 0 there.
    data: the serialized message.
    """

    topic: str
    name: str
    recorded_ns: int
    stamp_ns: int
    frame_stamp_ns: int
    data: bytes


class TimedImages(ABC):
    """Iterates over the images in the order of recording, reading one at a time. It can be iterated repeatedly.

    path: of the recording; description: for messages to the user.
    topics: image topic -> type of its messages.
    counts: image topic -> number of images; None if only reading the file tells.
    skipped: number of images of the last iteration that could not be read; last_problem: why the last one could not.
    """

    def __init__(self, path: Path, description: str, topics: dict[str, str], counts: dict[str, int | None]) -> None:
        self.path = path
        self.description = description
        self.topics = topics
        self.counts = counts
        self.skipped = 0
        self.last_problem = ''

    def __iter__(self) -> Iterator[TimedImage]:
        return self.read(tuple(self.topics))

    @abstractmethod
    def read(self, topics: Sequence[str]) -> Iterator[TimedImage]:
        """The images of some of the topics."""


def open_timed_images(path: str | Path) -> TimedImages:
    """Open a bag with all of its image topics, a video file, or an image folder.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: it is none of these, cannot be read, or has no images.
    """
    path = Path(path)
    if not is_bag(path):
        return FrameImages(open_recording(path))
    reader = BagReader(path)
    topics = [topic for topic in reader.image_topics if topic.count or reader.damage]
    if not topics:
        raise ValueError(f'{path} has no images ({" or ".join(IMAGE_TYPES)})')
    return BagImages(reader, topics)


class BagImages(TimedImages):
    """The image messages of a bag, byte for byte, except that a stamp of 0 is replaced by the time of recording."""

    def __init__(self, reader: BagReader, topics: Sequence[Topic]) -> None:
        self._reader = reader
        self._topics = topics
        super().__init__(
            reader.path,
            f'bag {reader.path}',
            {topic.name: topic.type for topic in topics},
            {topic.name: topic.count for topic in topics},
        )

    def read(self, topics: Sequence[str]) -> Iterator[TimedImage]:
        """The images of some of the topics. Messages that have no valid header are skipped."""
        self.skipped, self.last_problem = 0, ''
        indices = dict.fromkeys(topics, -1)
        for topic, recorded_ns, data in self._reader.messages([each for each in self._topics if each.name in topics]):
            indices[topic.name] += 1
            name = f'image {indices[topic.name]}'
            try:
                stamp_ns, _ = read_header(data)
            except BagError as error:
                self.skipped += 1
                self.last_problem = f'{name} of {topic.name}: {error}'
                continue
            if not stamp_ns:
                stamp_ns, data = recorded_ns, with_stamp(data, recorded_ns)
            yield TimedImage(topic.name, name, recorded_ns, stamp_ns, stamp_ns, data)


class FrameImages(TimedImages):
    """A video file or an image folder as bgr8 messages. They start at 1 ns because a stamp of 0 is invalid in ROS."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        super().__init__(recording.path, recording.description, {'': IMAGE_TYPE}, {'': recording.count})

    def read(self, topics: Sequence[str]) -> Iterator[TimedImage]:
        """All images."""
        for frame in self._recording:
            stamp_ns = max(frame.stamp_ns, 1)
            message = to_image(frame.image, 'bgr8', Header(stamp=to_time(stamp_ns), frame_id=frame.frame_id))
            yield TimedImage('', frame.name, stamp_ns, stamp_ns, frame.stamp_ns, serialize(message, IMAGE_TYPE))
        self.skipped, self.last_problem = self._recording.skipped, self._recording.last_problem
