"""The images of one topic of a bag by their stamps, where annotations belong to them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.problems import AnnotationError, Problem
from vis_ros.images import ImageError
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.cdr import read_header, read_image
from vis_ros.recordings.image_decoder import ImageDecoder
from vis_ros.recordings.topics import Topic
from vis_ros.ros.stamps import NS_PER_S
from vis_ros.video.video_decoder import Pixels


class ImagesByStamp:
    """The images of one topic by stamp. Reading them in recording order reads the bag only once.

    The stamps are indexed when the first image is read.
    """

    def __init__(self, reader: BagReader, topic: Topic) -> None:
        self._reader = reader
        self._topic = topic
        self._recorded: dict[int, int] = {}
        self._rest: Iterator[tuple[int, bytes]] = iter(())
        self._position: int | None = None  # recording time of the last image that was read

    def read(self, stamp_ns: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR. Raises AnnotationError if there is no such image or it cannot be decoded."""
        where = f'{self._topic.name}, stamp {_seconds(stamp_ns)} s'
        if not self._recorded:
            self._recorded = {read_header(data)[0]: ns for _, ns, data in self._reader.messages([self._topic])}
        if stamp_ns not in self._recorded:
            raise AnnotationError([Problem(str(self._reader.path), where, 'there is no image with this stamp')])
        try:
            return read_image(self._message(stamp_ns), self._topic.type)
        except (BagError, ImageError) as error:
            raise AnnotationError([Problem(str(self._reader.path), where, str(error))]) from error

    def _message(self, stamp_ns: int) -> bytes:
        recorded_ns = self._recorded[stamp_ns]
        is_near = self._position is not None and self._position < recorded_ns <= self._position + NS_PER_S
        if not is_near:
            self._rest = ((ns, data) for _, ns, data in self._reader.messages([self._topic], start_ns=recorded_ns))
        for position, data in self._rest:
            self._position = position
            if read_header(data)[0] == stamp_ns:
                return data
        raise BagError('the bag changed while it was being read')


class VideoByStamp:
    """The images of one topic with video by stamp. Every packet before an image is decoded: reading images in order
    reads the bag only once, and one that is earlier than the last one from the start.
    """

    def __init__(self, reader: BagReader, topic: Topic) -> None:
        self._reader = reader
        self._topic = topic
        self._rest: Iterator[tuple[int, Pixels]] = iter(())
        self._position: int | None = None  # stamp of the last image that was read

    def read(self, stamp_ns: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR. Raises AnnotationError if there is no such image or it cannot be decoded."""
        if self._position is None or stamp_ns <= self._position:
            self._rest = self._images()
        self._position = stamp_ns
        try:
            for image_stamp_ns, pixels in self._rest:
                if image_stamp_ns == stamp_ns:
                    return pixels()
            raise BagError('there is no image with this stamp')
        except (ValueError, BagError) as error:
            where = f'{self._topic.name}, stamp {_seconds(stamp_ns)} s'
            raise AnnotationError([Problem(str(self._reader.path), where, str(error))]) from error

    def _images(self) -> Iterator[tuple[int, Pixels]]:
        decoder: ImageDecoder[int] = ImageDecoder(self._topic.type, None, lambda stamp_ns, error: None)
        for _, _, data in self._reader.messages([self._topic]):
            yield from decoder.take(read_header(data)[0], data)
        yield from decoder.end()


def _seconds(stamp_ns: int) -> str:
    return f'{stamp_ns // NS_PER_S}.{stamp_ns % NS_PER_S:09d}'
