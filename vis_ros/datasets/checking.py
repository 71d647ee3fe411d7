"""Check annotations completely: all problems at once, and a summary of the contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vis_ros.datasets.coco_json import JsonVideos
from vis_ros.datasets.conversion_losses import overlapping_pixels
from vis_ros.datasets.davis import GrayMasks
from vis_ros.datasets.mots import MotsVideo
from vis_ros.datasets.open_annotations import open_annotations
from vis_ros.datasets.problems import AnnotationError, Problem
from vis_ros.datasets.replay_folder import ReplayVideo
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, IndexedVideo
from vis_ros.datasets.video_summary import VideoSummary


@dataclass
class CheckedAnnotations:
    """What a check found.

    Attributes:
        videos: the annotations; None if they cannot be opened.
        problems: all problems.
        summaries: one for each video.
        empty: number of empty masks in results, which are left out of their frames.
        inferred: what was assumed about the meaning of the files.
    """

    videos: AnnotatedVideos | None = None
    problems: list[Problem] = field(default_factory=list)
    summaries: list[VideoSummary] = field(default_factory=list)
    empty: int = 0
    inferred: list[str] = field(default_factory=list)


def check_annotations(
    path: str | Path,
    *,
    topic: str | None = None,
    truth: AnnotatedVideos | None = None,
    images: str | Path | None = None,
    gray: GrayMasks = 'auto',
    on_open: Callable[[AnnotatedVideos], None] = lambda videos: None,
    on_frame: Callable[[], None] = lambda: None,
) -> CheckedAnnotations:
    """Open annotations, read every frame and decode every image.

    Args:
        path, topic, truth, images, gray: see `open_annotations`.
        on_open: called with the opened annotations, before their frames are read.
        on_frame: called after each frame (a progress bar).

    Raises:
        FileNotFoundError: `path` does not exist.
    """
    result = CheckedAnnotations()
    try:
        result.videos = open_annotations(path, topic=topic, truth=truth, images=images, gray=gray)
    except AnnotationError as error:
        result.problems = error.problems
        return result
    on_open(result.videos)
    source = result.videos.source
    for video in result.videos.videos:
        summary = VideoSummary(video.name)
        for position, frame in _readable_frames(video, result.problems):
            summary.add(frame)
            where = f'{video.name}, frame {frame.name}'
            result.problems += [Problem(source, where, what) for what in _mask_faults(video, position, frame, summary)]
            result.problems += _image_problems(frame, source, where)
            if isinstance(video, ReplayVideo):
                result.empty += len(video.empty_masks(position))
            on_frame()
        result.summaries.append(summary)
    with suppress(AnnotationError):  # it is among the problems
        result.inferred = result.videos.inferred
    names_images = isinstance(result.videos, JsonVideos) and result.videos.names_images
    result.problems += _missing_images(result.summaries, source, names_images)
    result.problems = list(dict.fromkeys(result.problems))
    return result


def _readable_frames(video: AnnotatedVideo, problems: list[Problem]) -> Iterator[tuple[int, AnnotatedFrame]]:
    """The frames that can be read, with their positions. The problems of the other frames are added to `problems`."""
    if not isinstance(video, IndexedVideo):
        try:
            yield from enumerate(video)
        except AnnotationError as error:
            problems += error.problems
        return
    for position in range(len(video)):
        try:
            frame = video.frame(position)
        except AnnotationError as error:
            problems += error.problems
        else:
            yield position, frame


def _mask_faults(video: AnnotatedVideo, position: int, frame: AnnotatedFrame, summary: VideoSummary) -> Iterator[str]:
    if frame.size != summary.sizes[0]:
        yield f'has {_pixels(frame.size)} pixels, but {summary.names[0]} has {_pixels(summary.sizes[0])}'
    if isinstance(video, IndexedVideo) and not isinstance(video, ReplayVideo):
        for number in video.empty_masks(position):
            yield f'the mask of object {number} is empty'
    if isinstance(video, MotsVideo) and (pixels := overlapping_pixels(frame)):
        yield f'masks overlap in {pixels} pixels, which MOTS does not allow'


def _image_problems(frame: AnnotatedFrame, source: str, where: str) -> list[Problem]:
    if frame.read_image is None:
        return []
    try:
        image = frame.read_image()
    except AnnotationError as error:
        return error.problems
    if image.shape[:2] == frame.size:
        return []
    return [
        Problem(source, where, f'the image has {_pixels(image.shape)} pixels, the masks have {_pixels(frame.size)}')
    ]


def _missing_images(summaries: list[VideoSummary], source: str, names_images: bool) -> list[Problem]:
    """Report missing images. A format that does not name its images may have none at all."""
    if not any(summary.images for summary in summaries):
        frames = sum(len(summary.frames) for summary in summaries)
        text = f'names {frames} image files, and none of them is there: give their folder with --images'
        return [Problem(source, '', text)] if names_images and frames else []
    missing = [(summary, len(summary.frames) - summary.images) for summary in summaries]
    return [
        Problem(source, summary.name, f'{count} of {len(summary.frames)} frames have no image')
        for summary, count in missing
        if count
    ]


def _pixels(size: tuple[int, ...]) -> str:
    return f'{size[1]}x{size[0]}'
