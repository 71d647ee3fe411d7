"""Annotated videos: which object is where in which frame. Ground truth and results have the same structure.

Masks stay run-length coded and a video is read frame by frame, so that memory does not grow with its length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import Rle, encode_crop
from vis_ros.instances import Instances

EPOCH = 2**32
"""Track ids in annotations are epoch * EPOCH + track id of the message, which is below EPOCH."""

_KINDS_WITH_EPOCHS = ('bag', 'results of vis-ros replay')


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """The N objects of one frame.

    Attributes:
        name: file name or number of the frame in its format.
        index: position in the video, from 0.
        stamp_ns: acquisition time in nanoseconds; None if the format has no stamps.
        size: (height, width) in pixels.
        track_ids: (N,) int64, unique in the frame. An object has the same id in every frame of its video, and no other
            object of the video has it. Formats with epochs use epoch * EPOCH + track id.
        class_ids: (N,) int64, index into the `class_names` of the set.
        scores: (N,) float64 in [0, 1]; 1 for ground truth.
        masks: N run-length codes of `size`, one for each object.
        ignored: the pixels without annotation (crowds, void), or None.
        crowds: (class id, mask) of each group of objects of one class that are not labeled one by one; parts of
            `ignored`. Empty for formats that do not tell the class.
        read_image: decodes the image, (H, W, 3) uint8 BGR; None if there is no image.

    Raises:
        ValueError: lengths or sizes differ, or an id occurs twice; names the frame and the value.
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
    crowds: Sequence[tuple[int, Rle]] = ()
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


def predicted_frame(frame: AnnotatedFrame, instances: Instances) -> AnnotatedFrame:
    """The tracked instances found in a frame, as annotations of it. Instances with an empty mask are left out."""
    assert instances.track_ids is not None, 'the instances must be tracked'
    shown = np.flatnonzero(instances.areas()).tolist()
    return AnnotatedFrame(
        name=frame.name,
        index=frame.index,
        stamp_ns=frame.stamp_ns,
        size=frame.size,
        track_ids=instances.track_ids[shown].astype(np.int64),
        class_ids=instances.class_ids[shown].astype(np.int64),
        scores=instances.scores[shown].astype(np.float64),
        masks=[encode_crop(instances.masks[n], instances.rois[n].tolist(), frame.size) for n in shown],
    )


def id_text(track_id: int) -> str:
    """A track id for people: the id, and the epoch unless it is the first."""
    epoch, number = divmod(track_id, EPOCH)
    return f'{number} of epoch {epoch}' if epoch else str(number)


class AnnotatedVideo(ABC):
    """One video. Iterate over its frames in order, as often as needed; frames without objects are included.

    Attributes:
        name: unique in its set.
        length: number of frames.
    """

    def __init__(self, name: str, length: int) -> None:
        self.name = name
        self.length = length

    @property
    def inferred(self) -> str:
        """What was assumed about the meaning of the file, in words; '' for nothing."""
        return ''

    @abstractmethod
    def __iter__(self) -> Iterator[AnnotatedFrame]:
        """Read from the start.

        Raises:
            AnnotationError: a frame cannot be read; names the file and the record.
        """

    def __len__(self) -> int:
        return self.length


class IndexedVideo(AnnotatedVideo):
    """A video with random access to its frames, so that a bad frame does not hide the next ones."""

    @abstractmethod
    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`. Raises AnnotationError if it cannot be read; other frames still can."""

    def frame_names(self) -> list[str]:
        """The name of each frame."""
        return [frame.name for frame in self]

    def empty_masks(self, index: int) -> list[int]:
        """Ids of the objects that have an empty mask in a frame; `frame` leaves them out."""
        return []

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        return (self.frame(index) for index in range(self.length))


class Excerpt(AnnotatedVideo):
    """Frames `begin` to `end` - 1 of a video. They keep their own `index`."""

    def __init__(self, video: AnnotatedVideo, begin: int, end: int) -> None:
        self._begin, self._end = begin, min(end, len(video))
        super().__init__(video.name, max(self._end - begin, 0))
        self._video = video

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        return islice(iter(self._video), self._begin, self._end)


class PredictedVideo(IndexedVideo):
    """The predictions of a tracker for a video, held in memory as run lengths. See `predicted_frame`."""

    def __init__(self, name: str, frames: Sequence[AnnotatedFrame]) -> None:
        super().__init__(name, len(frames))
        self._frames = frames

    def frame(self, index: int) -> AnnotatedFrame:
        return self._frames[index]


@dataclass(frozen=True, eq=False)
class AnnotatedVideos:
    """A set of videos with one list of classes.

    Attributes:
        source: the path that they were read from.
        kind: the format, in words.
        class_names: by class id; a single name for formats without classes.
        videos: the videos.
        has_classes: whether the format has class labels.
        settings: what produced the results (version, weights, options), if known; empty for ground truth.
        labels: 'exhaustive' if every object is labeled, 'partial' if only some are; None if the files do not say it.
        of_photos: whether each video is a single photo that has nothing in common with the others.
        supercategories: class name -> the group that the file puts it in, if it has groups.
        cameras: video name -> its camera, where the videos are those of several cameras of a library of recordings.
        remarks: what was left out or assumed when the files were read, in words.
    """

    source: str
    kind: str
    class_names: tuple[str, ...]
    videos: Sequence[AnnotatedVideo]
    has_classes: bool = True
    settings: dict[str, object] = field(default_factory=dict)
    labels: Literal['exhaustive', 'partial'] | None = None
    of_photos: bool = False
    supercategories: Mapping[str, str] = field(default_factory=dict)
    cameras: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def inferred(self) -> list[str]:
        """What was assumed about the meaning of the files, in words."""
        return list(dict.fromkeys([*self.remarks, *(video.inferred for video in self.videos if video.inferred)]))


def renumber_epochs(videos: AnnotatedVideos) -> AnnotatedVideos:
    """Number the epochs in the track ids of each video 0, 1, 2, ... in order of appearance.

    The node derives its first epoch from the clock. Videos of formats without epochs are returned unchanged.
    """
    if videos.kind not in _KINDS_WITH_EPOCHS:
        return videos
    return replace(videos, videos=[_WithRenumberedEpochs(video) for video in videos.videos])


class _WithRenumberedEpochs(AnnotatedVideo):
    def __init__(self, video: AnnotatedVideo) -> None:
        super().__init__(video.name, video.length)
        self._video = video

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        new_epochs: dict[int, int] = {}
        for frame in self._video:
            epochs, numbers = np.divmod(frame.track_ids, EPOCH)
            renumbered = [new_epochs.setdefault(epoch, len(new_epochs)) for epoch in epochs.tolist()]
            yield replace(frame, track_ids=np.asarray(renumbered, np.int64) * EPOCH + numbers)
