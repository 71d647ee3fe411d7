"""Evaluate one video: its masks are read twice, and what is kept are numbers."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.evaluation.alignment import Alignment
from vis_ros.evaluation.evaluation import ObjectTrack, Switch
from vis_ros.evaluation.metrics.j_and_f import assign, mean_f
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, by_class, measure, without_ignored_pixels
from vis_ros.evaluation.metrics.tracking_measures import TrackingMeasures
from vis_ros.evaluation.scores import ObjectScore, Scores, score


@dataclass(frozen=True, eq=False)
class VideoEvaluation:
    """What `evaluate` needs of a video with at least one compared frame.

    length: number of compared frames. whole: all objects; classes: those of each class name.
    digest: of the names of the compared frames and the numbers and areas of their true objects.
    """

    name: str
    length: int
    digest: str
    whole: Scores
    classes: dict[str, Scores]
    objects: Sequence[ObjectTrack]
    switches: Sequence[Switch]


def evaluate_video(
    alignment: Alignment,
    truth_classes: Mapping[int, str],
    result_classes: Mapping[int, str],
    result_scores: Mapping[int, float],
    measures: TrackingMeasures,
    *,
    class_aware: bool,
    on_frame: Callable[[], None],
) -> VideoEvaluation:
    """Evaluate the compared frames of a video.

    Args:
        alignment: the two videos.
        truth_classes: class name of each true object.
        result_classes: class name of each identity.
        result_scores: score of each identity.
        measures: of TrackEval.
        class_aware: whether to score the objects of each class apart as well.
        on_frame: called twice for each frame.
    """
    video = _read(_counted(alignment, on_frame))
    parts = by_class(video, truth_classes, result_classes) if class_aware else {}
    objects, *objects_of_parts = _object_scores([video, *parts.values()], _counted(alignment, on_frame))
    whole = score(video, result_scores, objects, measures)
    return VideoEvaluation(
        name=alignment.truth.name,
        length=video.length,
        digest=_digest(video),
        whole=whole,
        classes={
            name: score(part, result_scores, of_part, measures)
            for (name, part), of_part in zip(parts.items(), objects_of_parts, strict=True)
        },
        objects=_object_tracks(alignment.truth.name, video, whole, truth_classes),
        switches=[
            Switch(
                alignment.truth.name, each.frame, video.frames[each.frame].name, each.object_id, each.before, each.after
            )
            for each in whole.matching.switches
        ],
    )


_Frames = Iterable[tuple[AnnotatedFrame, AnnotatedFrame | None]]


def _counted(
    alignment: Alignment, on_frame: Callable[[], None]
) -> Iterator[tuple[AnnotatedFrame, AnnotatedFrame | None]]:
    for both in alignment.pairs():
        yield both
        on_frame()


def _read(pairs: _Frames) -> VideoOverlaps:
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


def _object_scores(parts: Sequence[VideoOverlaps], pairs: _Frames) -> list[list[ObjectScore]]:
    """J and F of the true objects of each part, with one reading of the frames."""
    assigned = [assign(part) for part in parts]
    f_of = mean_f(pairs, {each.pair for part in assigned for each in part if each.pair})
    return [
        [ObjectScore(each.object_id, each.result_id, each.j, f_of[each.pair] if each.pair else 0.0) for each in part]
        for part in assigned
    ]


def _object_tracks(name: str, video: VideoOverlaps, scores: Scores, classes: Mapping[int, str]) -> list[ObjectTrack]:
    """Who was on which true object when."""
    visible: dict[int, list[int]] = defaultdict(list)
    for frame in video.frames:
        for number in frame.truth_ids.tolist():
            visible[number].append(frame.position)
    matching = scores.matching
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
