"""LabeledVideos: annotated videos of any format as a source of training frames, checked frame by frame before use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.problems import AnnotationError
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, IndexedVideo
from vis_ros.synthetic.labeled_frame import LabeledFrame


class LabeledVideo:
    """The usable frames of one annotated video, in order.

    Args:
        video: the annotated video.
        times: frame numbers of the usable frames.
        track_ids: of the objects in these frames.
        class_id: class of all objects, or None if the frames have class labels.
        size: (height, width) that frames are resized into, aspect ratio kept.
        exhaustive: whether every object is annotated; see LabeledVideos.

    length: number of usable frames. object_ids: track id -> object id, counted from 1.
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

    def frame(self, time: int) -> LabeledFrame:
        """Usable frame number `time`, resized. Objects that become smaller than a pixel are left out."""
        frame = self._video.frame(self._times[time])
        assert frame.read_image is not None
        width, height = fit_size(frame.size, self._size)
        masks = np.array([decode(mask) for mask in frame.masks], np.uint8).reshape(-1, *frame.size)
        nothing = ~masks.any(0)
        unknown = np.full(frame.size, not self._exhaustive)
        if frame.ignored is not None:
            unknown |= decode(frame.ignored) > 0
        ignored = _shrink((unknown & nothing).astype(np.uint8), width, height)
        small = np.array([_shrink(mask, width, height) for mask in masks], bool).reshape(-1, height, width)
        classes = frame.class_ids if self._class_id is None else np.full(len(frame), self._class_id)
        shown = np.flatnonzero(small.any((1, 2)))
        return LabeledFrame(
            image=np.asarray(cv2.resize(frame.read_image(), (width, height)), np.uint8),
            object_ids=np.array([self.object_ids[int(frame.track_ids[n])] for n in shown], np.int32),
            class_ids=classes[shown].astype(np.int32),
            masks=small[shown],
            pasted=np.zeros(len(shown), bool),
            ignored=ignored.astype(bool) if ignored.any() else None,
        )


def fit_size(size: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image of (height, width) once it is scaled into the limits, aspect ratio kept.

    As at inference, the shorter side is at most the smaller limit and the longer side at most the larger one.
    """
    scale = min(max(limits) / max(size), min(limits) / min(size))
    return max(int(size[1] * scale + 0.5), 1), max(int(size[0] * scale + 0.5), 1)


def _shrink(mask: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


class LabeledVideos:
    """The videos of a set that have at least one frame with an object and an image.

    Every frame is read and every image decoded at construction. What cannot be used is left out and listed by kind in
    `problems`, so that nothing fails later in the run.

    Args:
        videos: a set that can be read frame by frame (YouTube-VIS, DAVIS, MOTS).
        size: (height, width) that frames are resized into, aspect ratio kept.
        only: names of the videos to use; empty uses all.
        object_class: for formats without class labels, the class of all objects, or video name -> class.
        exhaustive: whether every object of the classes is annotated. If not, pixels on no object are ignored instead
            of counted as background. None uses what the format guarantees.
        progress: wraps the iteration over the videos while they are checked.

    class_names: names of the class ids in the frames.

    Raises:
        ValueError: no frame is usable, a name in `only` does not exist, or a class is missing.
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
        chosen = select_videos(videos, only)
        class_of_video = classes_of_videos(videos, chosen, object_class)
        names = class_of_video.values() if class_of_video else videos.class_names
        self.class_names = tuple(dict.fromkeys(names))
        exhaustive = videos.has_classes if exhaustive is None else exhaustive
        self.videos: list[LabeledVideo] = []
        with ThreadPoolExecutor(4) as pool:
            for video in progress(chosen):
                times, tracks = self._check(indexed(video, videos), pool)
                constant = self.class_names.index(class_of_video[video.name]) if class_of_video else None
                if times:
                    self.videos.append(LabeledVideo(indexed(video, videos), times, tracks, constant, size, exhaustive))
                else:
                    self._add_problem('video without a usable frame', video.name)
        if not self.videos:
            raise ValueError(f'{videos.source} has no frame with both an object and an image; {self.report()}')

    def video(self, seed: int) -> LabeledVideo:
        """One of the videos, drawn by a seed, any integer from 0."""
        return self.videos[int(np.random.default_rng((int(seed), 0xF7A)).integers(len(self.videos)))]

    def report(self, examples: int = 3) -> str:
        """What is used and what is left out: the number of problems of each kind, with a few examples."""
        frames, objects = sum(v.length for v in self.videos), sum(len(v.object_ids) for v in self.videos)
        lines = [f'{self.source}: {len(self.videos)} videos, {frames} frames with objects, {objects} objects']
        for kind, where in self.problems.items():
            shown = ', '.join(where[:examples]) + (', ...' if len(where) > examples else '')
            lines.append(f'  left out: {len(where)} x {kind}: {shown}')
        return '\n'.join(lines)

    def _check(self, video: IndexedVideo, pool: ThreadPoolExecutor) -> tuple[list[int], set[int]]:
        """The numbers of the usable frames of a video, and the track ids in them."""
        times: list[int] = []
        tracks: set[int] = set()
        frames: list[AnnotatedFrame] = []
        for time in range(len(video)):
            where = f'{video.name} frame {time}'
            try:
                frame = video.frame(time)
            except AnnotationError as error:
                self._add_problem('unreadable frame', f'{where} ({error.problems[0].what})')
                continue
            for track_id in video.empty_masks(time):
                self._add_problem('empty mask', f'{where} object {track_id}')
            if len(frame):
                times.append(time)
                frames.append(frame)
        usable = []
        for time, frame, fault in zip(times, frames, pool.map(_image_fault, frames), strict=True):
            if fault:
                self._add_problem(fault, f'{video.name} frame {frame.name}')
            else:
                usable.append(time)
                tracks.update(frame.track_ids.tolist())
        return usable, tracks

    def _add_problem(self, kind: str, where: str) -> None:
        self.problems.setdefault(kind, []).append(where)


def select_videos(videos: AnnotatedVideos, only: Sequence[str]) -> list[AnnotatedVideo]:
    """The videos with the given names, or all if there are no names. ValueError lists names that do not exist."""
    missing = sorted(set(only) - {video.name for video in videos.videos})
    if missing:
        raise ValueError(f'{videos.source} has no video {", ".join(map(repr, missing))}')
    return [video for video in videos.videos if not only or video.name in only]


def indexed(video: AnnotatedVideo, videos: AnnotatedVideos) -> IndexedVideo:
    """The video, if it can be read frame by frame; otherwise ValueError says how to convert the set."""
    if isinstance(video, IndexedVideo):
        return video
    raise ValueError(
        f'{videos.source} ({videos.kind}) cannot be read frame by frame: convert it, for example with '
        f'vis-ros data convert {videos.source} FOLDER --to youtube-vis'
    )


def _image_fault(frame: AnnotatedFrame) -> str | None:
    """What is wrong with the image of a frame, or None."""
    if frame.read_image is None:
        return 'frame without an image'
    try:
        size = frame.read_image().shape[:2]
    except AnnotationError:
        return 'image that cannot be decoded'
    return None if size == tuple(frame.size) else 'image of another size than its masks'


def classes_of_videos(
    videos: AnnotatedVideos, chosen: Sequence[AnnotatedVideo], object_class: str | Mapping[str, str]
) -> dict[str, str]:
    """Video name -> class of all its objects; empty if the format has class labels."""
    if videos.has_classes:
        if object_class:
            raise ValueError(f'{videos.source} ({videos.kind}) has its own class labels: remove object_class')
        return {}
    given = {video.name: object_class for video in chosen} if isinstance(object_class, str) else object_class
    missing = [video.name for video in chosen if not given.get(video.name)]
    if missing:
        raise ValueError(
            f'{videos.source} ({videos.kind}) has no class labels: set object_class to one name, or to one for each '
            f'video; it is missing for {", ".join(missing[:5])}'
        )
    return {video.name: given[video.name] for video in chosen}
