"""Recording: streams of frames, whatever kind of file they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.images import Scale16
from vis_ros.positions import CameraModel
from vis_ros.ros.stamps import NS_PER_S

UNREADABLE, LATE, TWICE, MISSING = 'unreadable', 'out of order', 'recorded twice', 'missing'
"""Why a frame is left out: keys of `Recording.skips`."""

OUTLIER = 'stamp far from those before and after it, replaced'
SET_BACK, NO_TIME, SAME_STAMP = 'clock set back', 'invalid stamp', 'same stamp as the previous image'
REORDERED, GAP, NO_DEPTH = 'reordered', 'gap', 'without depth'
OTHER_FRAME = 'depth or calibration of another frame'
UNUSABLE_CALIBRATION = 'calibration that cannot be used, left out'
"""Keys of `Recording.warnings`. A gap is an interval of more than 2.5 times the usual one: images are missing."""


@dataclass(frozen=True)
class Stream:
    """The images of one camera in a recording.

    name: of the camera or the video; '' for the only stream of a recording without a name.
    count: number of frames; None if only reading the file tells.
    rate: frames per second; None if unknown.
    topic: in a bag, else ''.
    type: of the messages of the topic, else ''.
    is_video: whether each message is a packet of a video, which needs those before it.
    """

    name: str
    count: int | None
    rate: float | None
    topic: str = ''
    type: str = ''
    is_video: bool = False


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a recording.

    image: (H, W, 3) uint8 BGR.
    stamp_ns: when the image was taken, in nanoseconds: stamp of the message in a bag, else the time since the start.
    frame_id: the optical frame in a bag, else ''.
    name: of the file, or the position in the recording.
    index: position in its stream, from 0; frames that cannot be read are counted too.
    stream: name of its stream.
    epoch: raised each time the clock was set back, and for each of several photos.
    dropped: number of images between the previous frame and this one that could not be used.
    has_clock: False if the stamp of the message is invalid, and `stamp_ns` follows the time of recording.
    recorded_ns: when the message was recorded, in nanoseconds; None without a message.
    message: the serialized message, or None.
    depth: depth image (H, W), as `vis_ros.positions.positions` takes it, and its camera; None without depth.
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
    depth: tuple[NDArray[np.generic], CameraModel] | None = None

    @property
    def stamp(self) -> float:
        """`stamp_ns` in seconds."""
        return self.stamp_ns / NS_PER_S


class NoFrameError(ValueError):
    """Not a single frame of a recording can be read."""


class Recording(ABC):
    """A bag, a video or a folder of images. Iterate to read its frames in order, as often as you like.

    path: of the file or folder; description: of the recording, in words.
    streams: its cameras; the frames of each are in the order of their stamps.
    skips: reason -> number of frames left out in the last iteration.
    warnings: problem -> its number in the last iteration.
    last_problem: why the last frame was left out.
    left_out: what the source holds beside the frames that are read, in words; from the moment it is opened.
    scale16: how images of 16 bits become 8 bits, and the values met.
    photos: whether the frames are photos that have nothing in common.
    """

    def __init__(self, path: Path, description: str, streams: Sequence[Stream]) -> None:
        self.path = path
        self.description = description
        self.streams = tuple(streams)
        self.skips: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.last_problem = ''
        self.left_out: list[str] = []
        self.scale16 = Scale16()
        self.photos = False

    @property
    def count(self) -> int | None:
        """Number of frames, unreadable ones included; None if only reading the file tells."""
        counts = [stream.count for stream in self.streams]
        return None if None in counts else sum(count or 0 for count in counts)

    def __len__(self) -> int:
        """`count`.

        Raises:
            TypeError: the number is not known before the end.
        """
        if self.count is None:
            raise TypeError(f'{self.description} does not say how many frames it has; read it to the end to count them')
        return self.count

    @property
    def rate(self) -> float | None:
        """Frames per second of the first stream; None if unknown."""
        return self.streams[0].rate

    @property
    def inferred(self) -> list[str]:
        """What was assumed about the meaning of the frames of the last iteration, in words."""
        return [text for text in [self.scale16.in_words()] if text]

    @property
    def skipped(self) -> int:
        """Number of frames left out in the last iteration."""
        return sum(self.skips.values())

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, stride: int = 1) -> Iterator[Frame]:
        """Read from the start, of each stream every `stride`-th frame.

        Raises:
            NoFrameError: not a single frame can be read.
            BagError: a bag is damaged; raised after all frames before the damage.
        """
        self.skips.clear()
        self.warnings.clear()
        self.scale16 = Scale16(self.scale16.low, self.scale16.high)
        self.last_problem = ''
        empty = True
        for frame in self._read(stride):
            empty = False
            yield frame
        if empty:
            raise NoFrameError(f'{self.description}: no frame can be read. {self.last_problem}'.rstrip())

    @abstractmethod
    def _read(self, stride: int) -> Iterator[Frame]:
        """Every `stride`-th frame of each stream; `skip` counts what is left out."""

    def skip(self, reason: str, problem: str, frames: int = 1) -> None:
        """Count frames that are left out."""
        self.skips[reason] += frames
        self.last_problem = problem


def plausible_rate(rate: float) -> float | None:
    """Frames per second; None for an impossible value, since the header of a file may say anything."""
    return rate if 0 < rate < 1000 else None
