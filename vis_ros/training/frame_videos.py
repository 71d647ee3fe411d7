"""FrameVideos: annotated videos of any format as a source of training pairs, every frame checked before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.indexed_video import IndexedVideo
from vis_ros.datasets.rle import decode
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, AnnotationError
from vis_ros.synthetic.labelled_frame import LabelledFrame


class FrameVideo:
    """The usable frames of one annotated video, in its order; `length` is how many there are.

    times: their numbers in the video; track_ids: of its objects; class_id: of all objects, None where the frames tell
    it; size: that frames are fitted into; exhaustive: as of FrameVideos.
    """

    def __init__(
        self,
        video: IndexedVideo,
        times: Sequence[int],
        track_ids: Iterable[int],
        class_id: int | None,
        size: tuple[int, int],
        exhaustive: bool,
    ) -> None:
        self.length = len(times)
        self.object_ids = {track_id: number for number, track_id in enumerate(sorted(track_ids), start=1)}
        self._video, self._times = video, times
        self._class_id, self._size, self._exhaustive = class_id, size, exhaustive

    def frame(self, time: int) -> LabelledFrame:
        """Usable frame number `time`, fitted into the size; objects that are then less than a pixel are left out."""
        frame = self._video.frame(self._times[time])
        assert frame.read_image is not None
        width, height = fitted(frame.size, self._size)
        masks = np.array([decode(mask) for mask in frame.masks], np.uint8).reshape(-1, *frame.size)
        nothing = ~masks.any(0)
        unknown = np.full(frame.size, not self._exhaustive)
        if frame.ignored is not None:
            unknown |= decode(frame.ignored) > 0
        ignored = _shrink((unknown & nothing).astype(np.uint8), width, height)
        small = np.array([_shrink(mask, width, height) for mask in masks], bool).reshape(-1, height, width)
        classes = frame.class_ids if self._class_id is None else np.full(len(frame), self._class_id)
        shown = np.flatnonzero(small.any((1, 2)))
        return LabelledFrame(
            image=np.asarray(cv2.resize(frame.read_image(), (width, height)), np.uint8),
            object_ids=np.array([self.object_ids[int(frame.track_ids[n])] for n in shown], np.int32),
            class_ids=classes[shown].astype(np.int32),
            masks=small[shown],
            pasted=np.zeros(len(shown), bool),
            ignored=ignored.astype(bool) if ignored.any() else None,
        )


def fitted(size: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a picture of (height, width) as the network gets it: ratio kept, the shorter side at most the
    smaller of the limits and the longer at most the larger."""
    scale = min(max(limits) / max(size), min(limits) / min(size))
    return max(int(size[1] * scale + 0.5), 1), max(int(size[0] * scale + 0.5), 1)


def _shrink(mask: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


class FrameVideos:
    """The videos of a set that have a frame with an object and a picture.

    Every frame is read and every picture decoded here: what is wrong is counted by kind in `problems` and left out, and
    nothing of it fails later. class_names: of the class ids of its frames.

    Args:
        videos: read frame by frame (YouTube-VIS, DAVIS, MOTS).
        size: (height, width) that frames are fitted into.
        only: names of the videos to use; all if empty.
        object_class: where the format tells no classes: that of all objects, or of those of each video by name.
        exhaustive: whether all objects of the classes are annotated; None takes what the format promises.
        progress: around the videos while they are checked.

    Raises:
        ValueError: nothing is left, a name in `only` does not exist, or a class is missing.
    """

    def __init__(
        self,
        videos: AnnotatedVideos,
        size: tuple[int, int],
        *,
        only: Sequence[str] = (),
        object_class: str | Mapping[str, str] = '',
        exhaustive: bool | None = None,
        progress: Callable[[Sequence[AnnotatedVideo]], Iterable[AnnotatedVideo]] = iter,
    ) -> None:
        self.source = videos.source
        self.problems: dict[str, list[str]] = {}
        chosen = choose(videos, only)
        class_of_video = _classes_of_videos(videos, chosen, object_class)
        names = class_of_video.values() if class_of_video else videos.class_names
        self.class_names = tuple(dict.fromkeys(names))
        exhaustive = videos.has_classes if exhaustive is None else exhaustive
        self.videos: list[FrameVideo] = []
        with ThreadPoolExecutor(4) as pool:
            for video in progress(chosen):
                if not isinstance(video, IndexedVideo):
                    raise ValueError(
                        f'{videos.source} ({videos.kind}) cannot be read frame by frame: convert it, for example with '
                        f'vis-ros data convert {videos.source} FOLDER --to youtube-vis'
                    )
                times, tracks = self._check(video, pool)
                constant = self.class_names.index(class_of_video[video.name]) if class_of_video else None
                if times:
                    self.videos.append(FrameVideo(video, times, tracks, constant, size, exhaustive))
                else:
                    self._problem('video without a usable frame', video.name)
        if not self.videos:
            raise ValueError(f'{videos.source} has no frame with an object and its picture; {self.report()}')

    def video(self, seed: int) -> FrameVideo:
        """One of the videos, by a whole number from 0."""
        return self.videos[int(np.random.default_rng((int(seed), 0xF7A)).integers(len(self.videos)))]

    def report(self, examples: int = 3) -> str:
        """What is used, and what is left out: how many of each kind, with a few examples."""
        frames, objects = sum(v.length for v in self.videos), sum(len(v.object_ids) for v in self.videos)
        lines = [f'{self.source}: {len(self.videos)} videos, {frames} frames with objects, {objects} objects']
        for kind, where in self.problems.items():
            shown = ', '.join(where[:examples]) + (', ...' if len(where) > examples else '')
            lines.append(f'  left out: {len(where)} x {kind}: {shown}')
        return '\n'.join(lines)

    def _check(self, video: IndexedVideo, pool: ThreadPoolExecutor) -> tuple[list[int], set[int]]:
        """The usable frames of a video and the ids of their objects."""
        times: list[int] = []
        tracks: set[int] = set()
        frames: list[AnnotatedFrame] = []
        for time in range(len(video)):
            where = f'{video.name} frame {time}'
            try:
                frame = video.frame(time)
            except AnnotationError as error:
                self._problem('frame that cannot be read', f'{where} ({error.problems[0].what})')
                continue
            for number in video.empty_masks(time):
                self._problem('mask without a pixel', f'{where} object {number}')
            if len(frame):
                times.append(time)
                frames.append(frame)
        kept = []
        for time, frame, fault in zip(times, frames, pool.map(_picture_fault, frames), strict=True):
            if fault:
                self._problem(fault, f'{video.name} frame {frame.name}')
            else:
                kept.append(time)
                tracks.update(frame.track_ids.tolist())
        return kept, tracks

    def _problem(self, kind: str, where: str) -> None:
        self.problems.setdefault(kind, []).append(where)


def choose(videos: AnnotatedVideos, only: Sequence[str]) -> list[AnnotatedVideo]:
    """The videos of these names, all if there are none; ValueError tells a name that does not exist."""
    missing = sorted(set(only) - {video.name for video in videos.videos})
    if missing:
        raise ValueError(f'{videos.source} has no video {", ".join(map(repr, missing))}')
    return [video for video in videos.videos if not only or video.name in only]


def _picture_fault(frame: AnnotatedFrame) -> str | None:
    if frame.read_image is None:
        return 'frame without a picture'
    try:
        size = frame.read_image().shape[:2]
    except AnnotationError:
        return 'picture that cannot be decoded'
    return None if size == tuple(frame.size) else 'picture of another size than its masks'


def _classes_of_videos(
    videos: AnnotatedVideos, chosen: Sequence[AnnotatedVideo], object_class: str | Mapping[str, str]
) -> dict[str, str]:
    """Video -> class of all its objects; empty where the format tells the classes itself."""
    if videos.has_classes:
        if object_class:
            raise ValueError(f'{videos.source} ({videos.kind}) has classes of its own: leave object_class out')
        return {}
    given = {video.name: object_class for video in chosen} if isinstance(object_class, str) else object_class
    missing = [video.name for video in chosen if not given.get(video.name)]
    if missing:
        raise ValueError(
            f'{videos.source} ({videos.kind}) tells no classes: give object_class, one name or one for each video; '
            f'there is none for {", ".join(missing[:5])}'
        )
    return {video.name: given[video.name] for video in chosen}
