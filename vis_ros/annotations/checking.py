"""Check annotations as a whole: every problem at once, and what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vis_ros.annotations.indexed_video import IndexedVideo
from vis_ros.annotations.mots import MotsVideo
from vis_ros.annotations.opening import open_annotations
from vis_ros.annotations.overlaps import overlapping
from vis_ros.annotations.replay_folder import ReplayVideo
from vis_ros.annotations.tracks import VideoSummary
from vis_ros.annotations.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, AnnotationError, Problem


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
    for video in result.videos.videos:
        summary = VideoSummary(video.name)
        for frame in _frames(video, result):
            summary.add(frame)
            result.problems += _frame_problems(video, frame, summary)
            on_frame()
        result.summaries.append(summary)
    result.problems += _missing_pictures(result)
    return result


def _frames(video: AnnotatedVideo, result: Check) -> Iterator[AnnotatedFrame]:
    """The frames that can be read; the problems of the others go into the result."""
    if not isinstance(video, IndexedVideo):
        try:
            yield from video
        except AnnotationError as error:
            result.problems += error.problems
        return
    for index in range(len(video)):
        try:
            frame = video.frame(index)
        except AnnotationError as error:
            result.problems += error.problems
            continue
        empty = video.empty_masks(index)
        if isinstance(video, ReplayVideo):
            result.empty += len(empty)
        else:
            result.problems += [_problem(video, frame, f'object {number} has no pixel') for number in empty]
        yield frame


def _frame_problems(video: AnnotatedVideo, frame: AnnotatedFrame, summary: VideoSummary) -> list[Problem]:
    problems = []
    if frame.size != summary.sizes[0]:
        what = f'has {_pixels(frame.size)} pixels, but {summary.names[0]} has {_pixels(summary.sizes[0])}'
        problems.append(_problem(video, frame, what))
    if isinstance(video, MotsVideo):
        pixels = overlapping([*frame.masks, *([] if frame.ignored is None else [frame.ignored])])
        if pixels:
            problems.append(_problem(video, frame, f'masks overlap in {pixels} pixels, which MOTS does not allow'))
    if frame.read_image is not None:
        try:
            image = frame.read_image()
        except AnnotationError as error:
            return problems + error.problems
        if image.shape[:2] != frame.size:
            what = f'the picture has {_pixels(image.shape)} pixels, the masks have {_pixels(frame.size)}'
            problems.append(_problem(video, frame, what))
    return problems


def _missing_pictures(result: Check) -> list[Problem]:
    """Pictures may be elsewhere as a whole, but some of them alone are missing."""
    if not any(summary.pictures for summary in result.summaries):
        return []
    return [
        Problem(
            summary.name, '', f'{len(summary.names) - summary.pictures} of {len(summary.names)} frames have no picture'
        )
        for summary in result.summaries
        if summary.pictures < len(summary.names)
    ]


def _problem(video: AnnotatedVideo, frame: AnnotatedFrame, what: str) -> Problem:
    return Problem(video.name, f'frame {frame.name}', what)


def _pixels(size: tuple[int, ...]) -> str:
    return f'{size[1]}x{size[0]}'
