"""Evaluate one video: its masks are read twice, and only numbers are kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from vis_ros.evaluation.alignment import Alignment, FramePair
from vis_ros.evaluation.evaluation import IdentitySwitch, ObjectTrack
from vis_ros.evaluation.metrics.j_and_f import assign, frame_f
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, by_class, measure, without_ignored_pixels
from vis_ros.evaluation.scores import ObjectScore, VideoScores, score_video

READINGS = 2
"""How often the masks of a video are read."""

SEGMENT_FRAMES = 25
"""Length of the shortest segment: about a second. Shorter ones would mostly repeat the errors of their neighbors."""
_MOST_SEGMENTS = 10
"""Of one video."""


@dataclass(frozen=True, eq=False)
class VideoPair:
    """A video of the ground truth with its results.

    Attributes:
        alignment: which frames belong together.
        truth_classes: class name of each true object.
        result_classes: class name of each predicted track.
        result_scores: score of each predicted track.
        class_names: of the class ids of the ground truth.
    """

    alignment: Alignment
    truth_classes: Mapping[int, str]
    result_classes: Mapping[int, str]
    result_scores: Mapping[int, float]
    class_names: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class VideoEvaluation:
    """The evaluation of a video with at least one compared frame.

    Attributes:
        name: of the video.
        length: number of compared frames.
        digest: of the names of the compared frames and the ids and areas of their true objects.
        whole: scores of all objects.
        classes: scores of each class, by name.
        objects, switches: class-agnostic.
        segments: class-agnostic scores of consecutive parts, each as a video of its own, by name; empty unless asked.
    """

    name: str
    length: int
    digest: str
    whole: VideoScores
    classes: dict[str, VideoScores]
    objects: Sequence[ObjectTrack]
    switches: Sequence[IdentitySwitch]
    segments: dict[str, VideoScores] = field(default_factory=dict)


def evaluate_video(
    pair: VideoPair, *, class_aware: bool, in_segments: bool, on_frame: Callable[[], None]
) -> VideoEvaluation:
    """Evaluate the compared frames of a video.

    Args:
        pair: ground truth and results.
        class_aware: whether to score each class separately as well.
        in_segments: whether to score segments of the video as well.
        on_frame: called READINGS times for each frame.
    """
    name = pair.alignment.truth.name
    video = _measure_overlaps(_counted_pairs(pair.alignment, on_frame))
    parts = by_class(video, pair.truth_classes, pair.result_classes, pair.class_names) if class_aware else {}
    segments = _segments(name, video) if in_segments else {}
    objects, *others = _score_objects(
        [video, *parts.values(), *(each for _, each in segments.values())],
        [0] * (1 + len(parts)) + [first for first, _ in segments.values()],
        _counted_pairs(pair.alignment, on_frame),
    )
    objects_of_parts, objects_of_segments = others[: len(parts)], others[len(parts) :]
    whole = score_video(video, pair.result_scores, objects)
    return VideoEvaluation(
        name=name,
        length=video.length,
        digest=_digest(video),
        whole=whole,
        classes={
            class_name: score_video(part, pair.result_scores, of_part)
            for (class_name, part), of_part in zip(parts.items(), objects_of_parts, strict=True)
        },
        objects=_object_tracks(name, video, whole, pair.truth_classes),
        switches=[
            IdentitySwitch(name, each.frame, video.frames[each.frame].name, each.object_id, each.before, each.after)
            for each in whole.tracking.clear.switches
        ],
        segments={
            segment: score_video(part, pair.result_scores, of_part)
            for (segment, (_, part)), of_part in zip(segments.items(), objects_of_segments, strict=True)
        },
    )


def _segments(name: str, video: VideoOverlaps) -> dict[str, tuple[int, VideoOverlaps]]:
    """Name -> first frame and overlaps of each segment; segments differ in length by at most one frame."""
    count = min(_MOST_SEGMENTS, max(1, video.length // SEGMENT_FRAMES))
    ends = [round(part * video.length / count) for part in range(count + 1)]
    segments = {}
    for first, end in pairwise(ends):
        frames, seen = ([each for each in all_ if first <= each.position < end] for all_ in (video.frames, video.seen))
        part = VideoOverlaps(end - first, frames, frames if video.seen is video.frames else seen)
        segments[f'{name}, frames {first} to {end - 1}'] = first, part
    return segments


def _counted_pairs(alignment: Alignment, on_frame: Callable[[], None]) -> Iterator[FramePair]:
    for pair in alignment.pairs():
        yield pair
        on_frame()


def _measure_overlaps(pairs: Iterable[FramePair]) -> VideoOverlaps:
    frames, seen = [], []
    for position, (truth, results) in enumerate(pairs):
        frames.append(measure(position, truth, results))
        seen_truth, seen_results = without_ignored_pixels(truth, results)
        seen.append(frames[-1] if seen_truth is truth else measure(position, seen_truth, seen_results))
    nothing_ignored = all(each is frame for each, frame in zip(seen, frames, strict=True))
    return VideoOverlaps(len(frames), frames, frames if nothing_ignored else seen)


def _digest(video: VideoOverlaps) -> str:
    digest = hashlib.sha256()
    for frame in video.frames:
        objects = sorted(zip(frame.truth_ids.tolist(), frame.truth_areas.tolist(), strict=True))
        digest.update(json.dumps([frame.name, objects]).encode())
    return digest.hexdigest()


def _score_objects(
    parts: Sequence[VideoOverlaps], firsts: Sequence[int], pairs: Iterable[FramePair]
) -> list[list[ObjectScore]]:
    """J and F of the true objects of each part, which begins at the frame `first`, in one reading of the frames."""
    assigned = [assign(part) for part in parts]
    f_of = frame_f(pairs, {each.pair for part in assigned for each in part if each.pair})
    scores = []
    for part, first, its in zip(parts, firsts, assigned, strict=True):
        span = slice(first, first + part.length)
        f = [sum(f_of[each.pair][span]) / part.length if each.pair else 0.0 for each in its]
        scores.append(
            [ObjectScore(each.object_id, each.result_id, each.j, value) for each, value in zip(its, f, strict=True)]
        )
    return scores


def _object_tracks(
    name: str, video: VideoOverlaps, scores: VideoScores, classes: Mapping[int, str]
) -> list[ObjectTrack]:
    visible: dict[int, list[int]] = defaultdict(list)
    for frame in video.frames:
        for number in frame.truth_ids.tolist():
            visible[number].append(frame.position)
    matching = scores.tracking.clear
    switches = Counter(change.object_id for change in matching.switches)
    return [
        ObjectTrack(
            video=name,
            object_id=each.object_id,
            class_name=classes[each.object_id],
            frames=len(visible[each.object_id]),
            result_id=each.result_id,
            j=each.j,
            f=each.f,
            switches=switches[each.object_id],
            fragmentations=matching.fragmentations[each.object_id],
            runs=tuple(matching.runs.get(each.object_id, ())),
            visible=_stretches(visible[each.object_id]),
        )
        for each in scores.objects
    ]


def _stretches(frames: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """First and last of each run of consecutive numbers."""
    ends = np.flatnonzero(np.diff(frames) > 1).tolist()
    firsts, lasts = [frames[0], *(frames[end + 1] for end in ends)], [*(frames[end] for end in ends), frames[-1]]
    return tuple(zip(firsts, lasts, strict=True))
