"""Annotated videos: which object is where in which frame. The same structure holds truth and results.

Masks stay run-length coded and a video is read frame by frame, so that memory does not grow with its length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.rle import Rle


class AnnotationError(ValueError):
    """Annotations that cannot be used. `problems` has every one; the message shows the first twenty of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        shown = [str(problem) for problem in self.problems[:_SHOWN_PROBLEMS]]
        if len(self.problems) > len(shown):
            shown.append(f'... and {len(self.problems) - len(shown)} more; `vis-ros data check` lists them all')
        super().__init__('\n'.join(shown))


_SHOWN_PROBLEMS = 20

EPOCH = 2**32
"""Identities of different epochs are different ones; a track id of a message is below."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with annotations, and where.

    file: the file; record: which part of it ('annotations[3], id 17', 'line 12', ...), '' for the whole; what: the
    fault, with the value that is wrong.
    """

    file: str
    record: str
    what: str

    def __str__(self) -> str:
        return ': '.join(part for part in (self.file, self.record, self.what) if part)


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """The N objects of one frame.

    name: what the format calls the frame: the name of its file, or its number.
    index: position in the video, from 0.
    stamp_ns: when the image was taken, in nanoseconds; None where the format has no clock.
    size: (height, width) in pixels.
    track_ids: (N,) int64, each once in a frame; the same object has the same in every frame of its video, and no other
        object of the video has it. Where identities are counted in epochs: epoch * EPOCH + track id.
    class_ids: (N,) int64, index into the `class_names` of the set.
    scores: (N,) float64 in [0, 1]; 1 for truth.
    masks: N run-length codes of `size`; none of an object that is not in the frame.
    ignored: the pixels where nobody said what is there (crowds, void), or None.
    read_image: decodes the picture, (H, W, 3) uint8 BGR; None where the format leads to none.

    Raises ValueError that names the frame and the value where lengths or sizes differ or an id occurs twice.
    """

    name: str
    index: int
    stamp_ns: int | None
    size: tuple[int, int]
    track_ids: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    masks: Sequence[Rle]
    ignored: Rle | None = None
    read_image: Callable[[], NDArray[np.uint8]] | None = None

    def __post_init__(self) -> None:
        count = len(self.track_ids)
        for name, dtype in (('track_ids', np.int64), ('class_ids', np.int64), ('scores', np.float64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype).reshape(-1))
        for name in ('class_ids', 'scores', 'masks'):
            if len(getattr(self, name)) != count:
                raise ValueError(f'frame {self.name!r} has {count} track ids, but {len(getattr(self, name))} {name}')
        ids, counts = np.unique(self.track_ids, return_counts=True)
        if (counts > 1).any():
            twice = ', '.join(id_text(number) for number in ids[counts > 1].tolist())
            raise ValueError(f'frame {self.name!r} has the track id {twice} more than once')
        for mask in (*self.masks, *([] if self.ignored is None else [self.ignored])):
            if tuple(mask['size']) != tuple(self.size):
                raise ValueError(
                    f'frame {self.name!r} has (height, width) {tuple(self.size)}, but a mask of {tuple(mask["size"])}'
                )

    def __len__(self) -> int:
        return len(self.track_ids)


def id_text(track_id: int) -> str:
    """A track id as people know it: its number, and the epoch where that is not the first."""
    epoch, number = divmod(track_id, EPOCH)
    return f'{number} of epoch {epoch}' if epoch else str(number)


class AnnotatedVideo(ABC):
    """One video: iterate over its frames in order, as often as wanted; frames without objects are among them.

    name: unique in its set; length: how many frames there are.
    """

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self.length = length

    @abstractmethod
    def __iter__(self) -> Iterator[AnnotatedFrame]:
        """Read from the start.

        Raises:
            AnnotationError: a record that could only be seen now is bad; it names the file and the record.
        """

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True, eq=False)
class AnnotatedVideos:
    """A set of videos with one list of classes.

    source: the path that they come from; kind: its format, in words.
    class_names: of the class ids; a single name for formats that tell no classes.
    has_classes: whether the format tells classes at all.
    settings: what produced results (version, weights, options), where that is known; empty for truth.
    """

    source: str
    kind: str
    class_names: tuple[str, ...]
    videos: Sequence[AnnotatedVideo]
    has_classes: bool = True
    settings: dict[str, object] = field(default_factory=dict)
