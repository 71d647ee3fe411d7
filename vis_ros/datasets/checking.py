"""Check annotations as a whole: every problem at once, and what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vis_ros.datasets.indexed_video import IndexedVideo
from vis_ros.datasets.mots import MotsVideo
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.pixel_owners import overlapping
from vis_ros.datasets.replay_folder import ReplayVideo
from vis_ros.datasets.track_summary import VideoSummary
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, AnnotationError, Problem


@dataclass
class Check:
    """What a check found. videos: None where the annotations cannot be opened; summaries: one a video.

    empty: objects of results that have no pixel; they are not in their frames.
    """

    videos: AnnotatedVideos | None = None
    problems: list[Problem] = field(default_factory=list)
    summaries: list[VideoSummary] = field(default_factory=list)
    empty: int = 0


def check(
    path: str | Path,
    *,
    topic: str | None = None,
    truth: AnnotatedVideos | None = None,
    images: str | Path | None = None,
    on_open: Callable[[AnnotatedVideos], None] = lambda videos: None,
    on_frame: Callable[[], None] = lambda: None,
) -> Check:
    """Open annotations (arguments as of `open_annotations`), read every frame and decode every picture.

    Args:
        on_open: called with what was opened, before its frames are read.
        on_frame: called after each frame (a progress bar).

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    result = Check()
    try:
        result.videos = open_annotations(path, topic=topic, truth=truth, images=images)
    except AnnotationError as error:
        result.problems = error.problems
        return result
    on_open(result.videos)
    source = result.videos.source
    for video in result.videos.videos:
        summary = VideoSummary(video.name)
        for position, frame in _frames(video, result):
            summary.add(frame)
            where = f'{video.name}, frame {frame.name}'
            result.problems += [Problem(source, where, what) for what in _mask_faults(video, position, frame, summary)]
            result.problems += _picture_problems(frame, source, where)
            if isinstance(video, ReplayVideo):
                result.empty += len(video.empty_masks(position))
            on_frame()
        result.summaries.append(summary)
    result.problems += _missing_pictures(result.summaries, source)
    return result


def _frames(video: AnnotatedVideo, result: Check) -> Iterator[tuple[int, AnnotatedFrame]]:
    """The frames that can be read, with their position; the problems of the others go into the result."""
    if not isinstance(video, IndexedVideo):
        try:
            yield from enumerate(video)
        except AnnotationError as error:
            result.problems += error.problems
        return
    for position in range(len(video)):
        try:
            frame = video.frame(position)
        except AnnotationError as error:
            result.problems += error.problems
        else:
            yield position, frame


def _mask_faults(video: AnnotatedVideo, position: int, frame: AnnotatedFrame, summary: VideoSummary) -> Iterator[str]:
    if frame.size != summary.sizes[0]:
        yield f'has {_pixels(frame.size)} pixels, but {summary.names[0]} has {_pixels(summary.sizes[0])}'
    if isinstance(video, IndexedVideo) and not isinstance(video, ReplayVideo):
        for number in video.empty_masks(position):
            yield f'object {number} has no pixel'
    if isinstance(video, MotsVideo):
        pixels = overlapping([*frame.masks, *([] if frame.ignored is None else [frame.ignored])])
        if pixels:
            yield f'masks overlap in {pixels} pixels, which MOTS does not allow'


def _picture_problems(frame: AnnotatedFrame, source: str, where: str) -> list[Problem]:
    if frame.read_image is None:
        return []
    try:
        image = frame.read_image()
    except AnnotationError as error:
        return error.problems
    if image.shape[:2] == frame.size:
        return []
    what = f'the picture has {_pixels(image.shape)} pixels, the masks have {_pixels(frame.size)}'
    return [Problem(source, where, what)]


def _missing_pictures(summaries: list[VideoSummary], source: str) -> list[Problem]:
    """Pictures may be elsewhere as a whole, but some of them alone are missing."""
    if not any(summary.pictures for summary in summaries):
        return []
    missing = [(summary, len(summary.names) - summary.pictures) for summary in summaries]
    return [
        Problem(source, summary.name, f'{count} of {len(summary.names)} frames have no picture')
        for summary, count in missing
        if count
    ]


def _pixels(size: tuple[int, ...]) -> str:
    return f'{size[1]}x{size[0]}'
