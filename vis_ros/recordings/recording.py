"""Source: what all recordings are to the rest: streams of frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vis_ros.positions import CameraModel

UNREADABLE, LATE, TWICE = 'unreadable', 'out of order', 'recorded twice'
"""Reasons for skips."""

SET_BACK, NO_TIME, SAME_STAMP = 'clock set back', 'stamp tells no time', 'same stamp as the image before'
REORDERED, GAP, NO_DEPTH = 'put in order', 'gap', 'without depth'
"""Remarks. A gap is an interval of more than 2.5 times those before: images are missing in the recording."""

_NANOSECONDS = 1_000_000_000


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
    depth: (H, W) of its pixels, as `positions` takes it, and the camera; None where there is no depth.
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
        """Seconds."""
        return self.stamp_ns / _NANOSECONDS


class NoFrameError(ValueError):
    """A recording without a single frame that can be read."""


class Source(ABC):
    """A recording: iterate to read its frames in order, as often as wanted.

    path: where it is; description: what it is, in words.
    streams: its cameras; the frames of each come in the order of their stamps.
    skips: of the last iteration: why frames were left out -> how many.
    warnings: of the last iteration: what else is not as it should be -> how often.
    last_problem: why the last frame was left out.
    """

    def __init__(self, path: Path, description: str, streams: Sequence[Stream]) -> None:
        self.path = path
        self.description = description
        self.streams = tuple(streams)
        self.skips: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
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
        self.warnings.clear()
        self.last_problem = ''
        empty = True
        for frame in self._read(every):
            empty = False
            yield frame
        if empty:
            raise NoFrameError(f'{self.description}: no frame can be read. {self.last_problem}'.rstrip())

    @abstractmethod
    def _read(self, every: int) -> Iterator[Frame]:
        """Of each stream one frame of so many; what is left out is counted by `skip`."""

    def skip(self, reason: str, problem: str, frames: int = 1) -> None:
        """Count what is left out."""
        self.skips[reason] += frames
        self.last_problem = problem


def plausible(rate: float) -> float | None:
    """Frames per second, or None where they cannot be: a file's header may say anything."""
    return rate if 0 < rate < 1000 else None
