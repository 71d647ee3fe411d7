"""TimedImages: the images of a recording as they go through DDS, serialised, with the times of their recording."""

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
    """One image.

    topic: of the recording; '' where it has none.
    name: what offline replay calls the frame.
    recorded_ns: when it was recorded; stamp_ns: when it was taken, as the message says; taken_ns: the same as offline
        replay has it, where 0 is a time too.
    data: the serialised message, with that stamp.
    """

    topic: str
    name: str
    recorded_ns: int
    stamp_ns: int
    taken_ns: int
    data: bytes


class TimedImages(ABC):
    """Iterate to read the images in the order of recording, one at a time, as often as wanted.

    path: where it is; description: what it is, in words.
    topics: name of each image topic -> type of its messages.
    counts: name of each image topic -> how many images; None where only reading tells.
    skipped, last_problem: images of the last iteration that could not be read, and why the last of them could not.
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
    """Open a recording: a bag with all of its image topics, a video file or an image folder.

    Raises:
        FileNotFoundError: there is nothing at `path`.
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
    """The image topics of a bag, byte for byte; only stamps of zero are replaced by the times of recording."""

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
    """A video file or an image folder as bgr8 images. Time begins at 1 ns: a stamp of zero tells no time in ROS."""

    def __init__(self, source: Recording) -> None:
        self._source = source
        super().__init__(source.path, source.description, {'': IMAGE_TYPE}, {'': source.count})

    def read(self, topics: Sequence[str]) -> Iterator[TimedImage]:
        for frame in self._source:
            stamp_ns = max(frame.stamp_ns, 1)
            message = to_image(frame.image, 'bgr8', Header(stamp=to_time(stamp_ns), frame_id=frame.frame_id))
            yield TimedImage('', frame.name, stamp_ns, stamp_ns, frame.stamp_ns, serialize(message, IMAGE_TYPE))
        self.skipped, self.last_problem = self._source.skipped, self._source.last_problem
