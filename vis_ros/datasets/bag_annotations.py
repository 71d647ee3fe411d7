"""Annotations in a ROS 2 bag: InstanceMaskArray messages, and the images that they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from vis_ros.datasets import coco_rle
from vis_ros.datasets.images_by_stamp import ImagesByStamp, VideoByStamp
from vis_ros.datasets.problems import AnnotationError, Problem, ProblemLog
from vis_ros.datasets.video import EPOCH, AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.image_headers import LARGEST_IMAGE
from vis_ros.images import ImageError
from vis_ros.instances import LOST, Instances
from vis_ros.masks.encodings import MASK_NONE, decode
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.bag_recording import is_video
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import deserialize, read_header, read_image, serialize
from vis_ros.recordings.plain_messages import plain_header, plain_message
from vis_ros.recordings.topics import COMPRESSED_TYPE, IMAGE_TYPE, INSTANCES_TYPE, Topic, ignored_topic, topic_name
from vis_ros.ros.messages import to_image
from vis_ros.ros.serialized_instances import MessageContext, encode_masks, serialized_instances
from vis_ros.ros.stamps import FOLDER_RATE, NS_PER_S

_COMPARED_IMAGES = 100
"""Images of a topic whose stamps are compared with those of the annotations, to find the annotated camera."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_bag(path: str | Path, topic: str | None = None) -> AnnotatedVideos:
    """Open the InstanceMaskArray topics of a bag, each as a video.

    All messages are checked first, so that all problems are reported together. Frames are read when they are iterated
    over, in recording order.

    - A video is named after its camera: /vis_node/front/instances is 'front', /vis_node/instances is 'vis_node'. Bags
      written by `write_bag` keep the names of their videos.
    - Track ids are epoch * EPOCH + track_id. LOST instances and empty masks are left out.
    - A stamp of 0 that occurs more than once means that the images had no stamps; then no frame of the video has one.
    - Frames have `read_image` if exactly one image topic has the stamps of the annotations, or one of several is
      called /<video>/image. It raises AnnotationError if an image is missing.
    - Ignored regions are those that `write_bag` wrote.

    Args:
        path: a bag file (.mcap, .db3) or folder.
        topic: read only this topic.

    Raises:
        FileNotFoundError: `path` does not exist.
        AnnotationError: the bag is damaged or has no such topic; or a message is invalid: a track id occurs twice,
            there are boxes but no masks, or masks cannot be decoded or are outside the image. Every problem names
            topic, stamp and track id.
    """
    try:
        reader = BagReader(path)
        if reader.damage:
            raise BagError(reader.damage)
        topics = _choose_topics(reader, topic)
        log = ProblemLog(path)
        summaries = {each: _TopicSummary(each.name) for each in topics}
        for each, _, data in reader.messages(topics):
            summaries[each].add(data, log)
        class_names = _class_names(summaries.values(), log)
        log.raise_any()
        names = _names_of_videos(topics)
        images = {each: _images_of(reader, summaries[each], names[each]) for each in topics}
        ignored = {each: _ignored_of(reader, each) for each in topics}
        names.update({each: reader.videos[each.name] for each in topics if each.name in reader.videos})
    except BagError as error:
        raise AnnotationError([Problem('', '', str(error))]) from error
    models = sorted({model for summary in summaries.values() for model in summary.models})
    return AnnotatedVideos(
        source=str(path),
        kind='bag',
        class_names=class_names,
        videos=[
            _BagVideo(names[each], reader, each, summaries[each].has_clock, images[each], ignored[each])
            for each in topics
        ],
        settings={'model': ', '.join(models)} if models else {},
    )


def _choose_topics(reader: BagReader, topic: str | None) -> list[Topic]:
    topics = reader.of_type(INSTANCES_TYPE)
    listed = ', '.join(map(str, topics))
    if not topics:
        others = ', '.join(map(str, reader.topics)) or 'none'
        raise BagError(f'{reader.path} has no InstanceMaskArray topic; its topics are {others}')
    if topic is not None:
        wanted = [each for each in topics if each.name == '/' + topic.lstrip('/')]
        if not wanted:
            raise BagError(f'{reader.path} has no InstanceMaskArray topic {topic}; it has {listed}')
        topics = wanted
    if not any(each.count for each in topics):
        raise BagError(f'{reader.path} contains no InstanceMaskArray messages: {listed}')
    return [each for each in topics if each.count]


@dataclass
class _TopicSummary:
    """What the messages of a topic contain.

    Attributes:
        topic: its name.
        names: class id -> the names used for it.
        stamps: how often each stamp occurs.
        models: the models named in the messages.
    """

    topic: str
    names: dict[int, set[str]] = field(default_factory=dict)
    stamps: Counter[int] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)

    @property
    def has_clock(self) -> bool:
        return self.stamps[0] < 2

    def add(self, data: bytes, log: ProblemLog) -> None:
        """Check the next message."""
        try:
            stamp_ns, _ = read_header(data)
            message = deserialize(data, INSTANCES_TYPE)
        except BagError as error:
            log.add(f'{self.topic}, message {sum(self.stamps.values())}', str(error))
            return
        self.stamps[stamp_ns] += 1
        if message.image_height * message.image_width > LARGEST_IMAGE:
            size = f'{message.image_width}x{message.image_height}'
            log.add(
                f'{self.topic}, message {sum(self.stamps.values()) - 1}',
                f'the image has {size} pixels, more than the limit of {LARGEST_IMAGE}',
            )
            return
        where = f'{self.topic}, stamp {_seconds(stamp_ns)} s'
        if message.model:
            self.models.add(message.model)
        ids = Counter(int(instance.track_id) for instance in message.instances)
        for track_id, count in sorted(ids.items()):
            if count > 1:
                log.add(
                    where,
                    f'track id {track_id} occurs {count} times, as the association rules paper and mmtracking allow: '
                    'evaluate results.jsonl of the replay, where the last one counts, or use association one_to_one',
                )
            if track_id == 0:
                log.add(where, 'track id 0 is not a valid track id')
        for instance in message.instances:
            self.names.setdefault(int(instance.class_id), set()).add(str(instance.class_name))
            if problem := _problem(instance, message.image_height, message.image_width):
                log.add(f'{where}, track id {instance.track_id}', problem)


def _problem(instance: Any, height: int, width: int) -> str:
    """What is wrong with an instance of an image of height x width pixels; '' if nothing."""
    roi = instance.roi
    if instance.state == LOST:
        return ''
    if instance.mask_encoding == MASK_NONE:
        return "has a box but no mask: record with a node parameter mask_encoding other than 'none'"
    if roi.x_offset + roi.width > width or roi.y_offset + roi.height > height:
        return (
            f'the roi of {roi.width}x{roi.height} pixels at ({roi.x_offset}, {roi.y_offset}) is not inside the '
            f'image of {width}x{height}'
        )
    if not 0 <= instance.score <= 1:
        return f'the score is {instance.score}, expected a number from 0 to 1'
    try:
        decode(instance.mask_data, instance.mask_encoding, roi.height, roi.width)
    except ValueError as error:
        return str(error)
    return ''


def _class_names(summaries: Iterable[_TopicSummary], log: ProblemLog) -> tuple[str, ...]:
    names: dict[int, set[str]] = {}
    for summary in summaries:
        for class_id, found in summary.names.items():
            names.setdefault(class_id, set()).update(found)
    for class_id, found in sorted(names.items()):
        if len(found) > 1:
            log.add('', f'class id {class_id} has several names: {", ".join(sorted(found))}')
    return tuple(
        next(iter(names[class_id])) if class_id in names else f'class {class_id}'
        for class_id in range(max(names, default=-1) + 1)
    )


def _names_of_videos(topics: Sequence[Topic]) -> dict[Topic, str]:
    short = {}
    for topic in topics:
        node, *camera = topic.name.removesuffix('/instances').strip('/').split('/')
        short[topic] = '/'.join(camera) or node
    is_unique = len(set(short.values())) == len(short)
    return short if is_unique else {topic: topic.name for topic in topics}


def _images_of(reader: BagReader, summary: _TopicSummary, video: str) -> ImagesByStamp | VideoByStamp | None:
    """The image topic of the camera: the only one whose first images have stamps of the annotations, or the one of
    several that is named after the video."""
    shared = {
        topic.name.removesuffix('/compressed'): topic
        for topic in reversed(reader.image_topics)
        if _shares_stamps(reader, topic, summary.stamps)
    }
    chosen = shared.get(f'/{video}/image') or (next(iter(shared.values())) if len(shared) == 1 else None)
    if chosen is None or not summary.has_clock:
        return None
    return VideoByStamp(reader, chosen) if is_video(reader, chosen) else ImagesByStamp(reader, chosen)


def _shares_stamps(reader: BagReader, topic: Topic, stamps: Container[int]) -> bool:
    first = islice(reader.messages([topic]), _COMPARED_IMAGES)
    return any(read_header(data)[0] in stamps for _, _, data in first)


def _ignored_of(reader: BagReader, topic: Topic) -> Topic | None:
    wanted = ignored_topic(topic.name)
    return next((each for each in reader.of_type(COMPRESSED_TYPE) if each.name == wanted), None)


class _BagVideo(AnnotatedVideo):
    """One InstanceMaskArray topic of a bag, with the topics of its images and ignored regions."""

    def __init__(
        self,
        name: str,
        reader: BagReader,
        topic: Topic,
        has_clock: bool,
        images: ImagesByStamp | VideoByStamp | None,
        ignored: Topic | None,
    ) -> None:
        super().__init__(name, topic.count)
        self._ignored = ignored
        self._reader = reader
        self._topic = topic
        self._has_clock = has_clock
        self._images = images

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        index, ignored = 0, b''
        topics = [self._topic] if self._ignored is None else [self._topic, self._ignored]
        try:
            for topic, _, data in self._reader.messages(topics):
                if topic == self._ignored:
                    ignored = data
                    continue
                yield self._frame(index, data, ignored)
                index, ignored = index + 1, b''
        except (BagError, ImageError) as error:
            raise AnnotationError([Problem(str(self._reader.path), self._topic.name, str(error))]) from error

    def _frame(self, index: int, data: bytes, ignored: bytes) -> AnnotatedFrame:
        stamp_ns, _ = read_header(data)
        message = deserialize(data, INSTANCES_TYPE)
        size = int(message.image_height), int(message.image_width)
        decoded = [(each, _decode_mask(each)) for each in message.instances if each.state != LOST]
        objects = [(each, mask) for each, mask in decoded if mask.any()]
        return AnnotatedFrame(
            name=f'{stamp_ns} ns' if self._has_clock else f'message {index}',
            index=index,
            stamp_ns=stamp_ns if self._has_clock else None,
            size=size,
            track_ids=np.array([message.epoch * EPOCH + int(each.track_id) for each, _ in objects], np.int64),
            class_ids=np.array([each.class_id for each, _ in objects], np.int64),
            scores=np.array([each.score for each, _ in objects], np.float64),
            masks=[coco_rle.encode_crop(mask, _corners(each.roi), size) for each, mask in objects],
            ignored=coco_rle.encode(read_image(ignored, COMPRESSED_TYPE)[..., 0]) if ignored else None,
            read_image=_BagImage(self._images, stamp_ns) if self._images else None,
        )


def _decode_mask(instance: Any) -> NDArray[np.uint8]:
    return decode(instance.mask_data, instance.mask_encoding, instance.roi.height, instance.roi.width)


def _corners(roi: Any) -> tuple[int, int, int, int]:
    return roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height


@dataclass(frozen=True, eq=False)
class _BagImage:
    """The image of one frame. Call it to decode the image."""

    images: ImagesByStamp | VideoByStamp
    stamp_ns: int

    def __call__(self) -> NDArray[np.uint8]:
        return self.images.read(self.stamp_ns)


def _seconds(stamp_ns: int) -> str:
    return f'{stamp_ns // NS_PER_S}.{stamp_ns % NS_PER_S:09d}'


# --- writing ----------------------------------------------------------------------------------------------------------


def write_bag(videos: AnnotatedVideos, path: str | Path, on_frame: Callable[[], None] = lambda: None) -> None:
    """Write annotations as a bag, with the images of the frames that have one.

    A single video has the topics /truth/instances and /camera/image; several have /truth/<video>/instances and
    /<video>/image, where characters that are not allowed in topic names become underscores (the metadata keep the
    name). Images are raw bgr8. Frames without a stamp get FOLDER_RATE images per second from 0, as in `vis-ros replay`
    of an image folder. Ignored regions do not fit into the messages: they are PNG images, 255 where ignored, on
    /truth/ignored/compressed (/truth/<video>/ignored/compressed), each before the message of its frame.

    Args:
        videos: what to write.
        path: the new bag.
        on_frame: called after each frame.

    Raises:
        FileExistsError: `path` exists.
        AnnotationError: a track id does not fit into a message, or two videos have the same topic.
    """
    names = {video.name: topic_name(video.name) for video in videos.videos}
    if len(set(names.values())) < len(videos.videos):
        raise AnnotationError(
            [Problem(videos.source, '', f'several videos would have the same topic: {", ".join(sorted(names))}')]
        )
    single = len(videos.videos) == 1
    with BagWriter(path) as bag:
        for video in videos.videos:
            instances = '/truth/instances' if single else f'/truth/{names[video.name]}/instances'
            images = '/camera/image' if single else f'/{names[video.name]}/image'
            _write_video(bag, video, videos, instances, images, on_frame)


def _write_video(
    bag: BagWriter,
    video: AnnotatedVideo,
    videos: AnnotatedVideos,
    instances: str,
    images: str,
    on_frame: Callable[[], None],
) -> None:
    bag.add_topic(instances, INSTANCES_TYPE, video.name)
    model = str(videos.settings.get('model', 'truth'))
    history: _TrackHistory | None = None
    has_images = has_ignored = False
    for frame in video:
        stamp_ns = round(frame.index / FOLDER_RATE * NS_PER_S) if frame.stamp_ns is None else frame.stamp_ns
        history = history or _TrackHistory(f'{videos.source}, {video.name}', model, stamp_ns)
        header = plain_header(stamp_ns, topic_name(video.name))
        if frame.read_image is not None:
            if not has_images:
                bag.add_topic(images, IMAGE_TYPE)
                has_images = True
            image = to_image(frame.read_image(), 'bgr8', header, plain_message)
            bag.write(images, stamp_ns, serialize(image, IMAGE_TYPE))
        if frame.ignored is not None:
            if not has_ignored:
                bag.add_topic(ignored_topic(instances), COMPRESSED_TYPE)
                has_ignored = True
            bag.write(ignored_topic(instances), stamp_ns, serialize(_png(frame.ignored, header), COMPRESSED_TYPE))
        found, context = history.add(frame, header, stamp_ns)
        found = found.with_fields(class_names=tuple(videos.class_names))
        bag.write(instances, stamp_ns, serialized_instances(found, context, encode_masks(found, 'rle')))
        on_frame()


def _png(mask: coco_rle.Rle, header: Any) -> Any:
    message = plain_message(COMPRESSED_TYPE)
    message.header, message.format = header, 'png'
    message.data.frombytes(cv2.imencode('.png', coco_rle.decode(mask) * np.uint8(255))[1].tobytes())
    return message


class _TrackHistory:
    """What a message contains besides its frame: epoch, sequence number, hits and first stamp of each track."""

    def __init__(self, where: str, model: str, origin_ns: int) -> None:
        self._where = where
        self._model = model
        self._origin_ns = origin_ns
        self._epoch = 0
        self._sequence = 0
        self._hits: Counter[int] = Counter()
        self._first_seen: dict[int, float] = {}

    def add(self, frame: AnnotatedFrame, header: Any, stamp_ns: int) -> tuple[Instances, MessageContext]:
        """The objects of the next frame and their context, for `serialized_instances`."""
        ids = frame.track_ids.tolist()
        self._count_message(ids, frame.name)
        self._hits.update(ids)
        for track_id in ids:
            self._first_seen.setdefault(track_id, (stamp_ns - self._origin_ns) / NS_PER_S)
        rois = [_bounds(mask) for mask in frame.masks]
        found = Instances(
            image_size=frame.size,
            boxes=np.array(rois, np.float32).reshape(-1, 4),
            scores=frame.scores.astype(np.float32),
            class_ids=frame.class_ids.astype(np.int32),
            rois=np.array(rois, np.int32).reshape(-1, 4),
            masks=[
                coco_rle.decode(mask)[y0:y1, x0:x1] for mask, (x0, y0, x1, y1) in zip(frame.masks, rois, strict=True)
            ],
            track_ids=np.array([track_id % EPOCH for track_id in ids], np.uint32),
            hits=np.array([self._hits[track_id] for track_id in ids], np.uint32),
            first_seen=np.array([self._first_seen[track_id] for track_id in ids], np.float64),
        )
        return found, MessageContext(header, self._epoch, self._sequence, 0, self._model, origin_ns=self._origin_ns)

    def _count_message(self, ids: Sequence[int], name: str) -> None:
        epochs = {track_id // EPOCH for track_id in ids}
        if len(epochs) > 1 or any(track_id % EPOCH == 0 or track_id < 0 for track_id in ids):
            what = f'the track ids {ids} do not fit into one message: one of them is 0, or they are from several epochs'
            raise AnnotationError([Problem(self._where, f'frame {name}', what)])
        epoch = epochs.pop() if epochs else self._epoch
        self._sequence = self._sequence + 1 if epoch == self._epoch else 1
        self._epoch = epoch


def _bounds(mask: coco_rle.Rle) -> tuple[int, int, int, int]:
    x, y, width, height = (int(value) for value in coco.toBbox(mask))
    return x, y, x + width, y + height
