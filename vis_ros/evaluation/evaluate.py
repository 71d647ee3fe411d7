"""Evaluate results against truth: every video is read three times, and only numbers are kept of its frames."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vis_ros.annotations.video import AnnotatedFrame, AnnotatedVideos
from vis_ros.evaluation.alignment import Alignment, align, pair_videos
from vis_ros.evaluation.average_precision import IOU_THRESHOLDS, precision_at_recalls
from vis_ros.evaluation.evaluation import COUNTS, METRICS, Coverage, Evaluation, ObjectTrack, Switch
from vis_ros.evaluation.j_and_f import assign, mean_f
from vis_ros.evaluation.overlaps import (
    VideoOverlaps,
    by_class,
    measure,
    without_ignored_pixels,
)
from vis_ros.evaluation.scores import ObjectScore, Scores, figures, score
from vis_ros.evaluation.survey import Survey, survey
from vis_ros.evaluation.tracking import TrackingMeasures

READINGS = 2
"""How often `evaluate` calls `on_frame` for each compared frame."""


def evaluate(
    results: AnnotatedVideos,
    truth: AnnotatedVideos,
    *,
    common_frames: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """All figures of results against truth.

    A frame of the truth without a result counts as one in which nothing was found, and so do those of a video without
    results; the coverage has their numbers. The class of a track is the one that it has in most frames, and its score
    the mean of its scores, over all frames of the results.

    Args:
        results: what was found.
        truth: of at least some of the frames.
        common_frames: leave out frames of the truth without a result; the coverage has their number.
        on_frame: called READINGS times for each compared frame (a progress bar).

    Raises:
        ValueError: results and truth have no video or no frame in common, or images of different sizes; TrackEval is
            not installed; or what reading either of them raises.
    """
    measures = TrackingMeasures()
    aware = results.has_classes and truth.has_classes
    digest = hashlib.sha256()
    alignments, videos = [], []
    for true_video, result_video in pair_videos(results, truth):
        true_tracks = survey(true_video)
        result_tracks = Survey() if result_video is None else survey(result_video)
        alignment = align(
            true_video, true_tracks.frames, result_video, result_tracks.frames, common_frames=common_frames
        )
        alignments.append(alignment)
        if alignment.compared:
            classes = (_class_names(truth, true_tracks), _class_names(results, result_tracks))
            videos.append(
                _evaluate_video(alignment, classes, result_tracks.scores, aware, measures, digest.update, on_frame)
            )
    if not videos:
        raise ValueError(f'no frame of {truth.source} has a result in {results.source}: there is nothing to compare')
    whole = [video.whole for video in videos]
    per_class, unknown_classes = _per_class(videos, measures)
    agnostic = figures(whole, measures)
    live = results.settings.get('live')
    return Evaluation(
        results=results.source,
        truth=truth.source,
        settings=dict(results.settings),
        agnostic=agnostic,
        aware=(_over_classes(per_class) if per_class else agnostic) if aware else None,
        per_class=per_class,
        per_video={video.name: figures([video.whole], measures) for video in videos},
        lengths={video.name: video.length for video in videos},
        objects=tuple(each for video in videos for each in video.objects),
        switches=tuple(each for video in videos for each in video.switches),
        precision={
            f'{threshold:.2f}': tuple(row)
            for threshold, row in zip(
                IOU_THRESHOLDS, precision_at_recalls([each.tracks for each in whole]).tolist(), strict=True
            )
        },
        coverage=_coverage(results, alignments, sum(each.left_out for each in whole), unknown_classes),
        latencies_ms=tuple(live.get('latency_ms', ())) if isinstance(live, dict) else (),
        truth_digest=digest.hexdigest(),
    )


@dataclass(frozen=True, eq=False)
class _Video:
    name: str
    length: int
    whole: Scores
    classes: dict[str, Scores]
    objects: Sequence[ObjectTrack]
    switches: Sequence[Switch]


def _class_names(videos: AnnotatedVideos, tracks: Survey) -> dict[int, str]:
    return {number: videos.class_names[class_id] for number, class_id in tracks.class_ids.items()}


def _evaluate_video(
    alignment: Alignment,
    classes: tuple[Mapping[int, str], Mapping[int, str]],
    track_scores: Mapping[int, float],
    aware: bool,
    measures: TrackingMeasures,
    digest: Callable[[bytes], None],
    on_frame: Callable[[], None],
) -> _Video:
    whole = _read(alignment, digest, on_frame)
    parts = by_class(whole, *classes) if aware else {}
    everything, *of_parts = _object_scores([whole, *parts.values()], _counted(alignment, on_frame))
    scores = score(whole, track_scores, everything, measures)
    objects, switches = _follow(alignment.truth.name, whole, scores, classes[0])
    return _Video(
        alignment.truth.name,
        whole.length,
        scores,
        {
            name: score(part, track_scores, of_part, measures)
            for (name, part), of_part in zip(parts.items(), of_parts, strict=True)
        },
        objects,
        switches,
    )


def _counted(
    alignment: Alignment, on_frame: Callable[[], None]
) -> Iterator[tuple[AnnotatedFrame, AnnotatedFrame | None]]:
    for both in alignment.pairs():
        yield both
        on_frame()


def _read(alignment: Alignment, digest: Callable[[bytes], None], on_frame: Callable[[], None]) -> VideoOverlaps:
    frames, seen = [], []
    for position, (truth, results) in enumerate(_counted(alignment, on_frame)):
        frame = measure(position, truth, results)
        objects = sorted(zip(frame.truth_ids.tolist(), frame.truth_areas.tolist(), strict=True))
        digest(json.dumps([alignment.truth.name, frame.name, objects]).encode())
        frames.append(frame)
        seen_truth, seen_results = without_ignored_pixels(truth, results)
        seen.append(frame if seen_truth is truth else measure(position, seen_truth, seen_results))
    nothing_ignored = all(each is frame for each, frame in zip(seen, frames, strict=True))
    return VideoOverlaps(len(frames), frames, frames if nothing_ignored else seen)


def _object_scores(
    parts: Sequence[VideoOverlaps], frames: Iterable[tuple[AnnotatedFrame, AnnotatedFrame | None]]
) -> list[list[ObjectScore]]:
    """J and F of the true objects of each part, with one reading of the frames."""
    assigned = [assign(part) for part in parts]
    f_of = mean_f(frames, {each.pair for part in assigned for each in part if each.pair})
    return [
        [ObjectScore(each.object_id, each.result_id, each.j, f_of[each.pair] if each.pair else 0.0) for each in part]
        for part in assigned
    ]


def _follow(
    name: str, video: VideoOverlaps, scores: Scores, classes: Mapping[int, str]
) -> tuple[list[ObjectTrack], list[Switch]]:
    """Who was on which true object when."""
    visible: dict[int, list[int]] = defaultdict(list)
    for frame in video.frames:
        for number in frame.truth_ids.tolist():
            visible[number].append(frame.position)
    matching = scores.matching
    switched = Counter(change.object_id for change in matching.switches)
    objects = [
        ObjectTrack(
            video=name,
            object_id=each.object_id,
            class_name=classes[each.object_id],
            frames=len(visible[each.object_id]),
            result_id=each.result_id,
            j=each.j,
            f=each.f,
            switches=switched[each.object_id],
            fragmentations=matching.fragmentations[each.object_id],
            runs=tuple(matching.runs.get(each.object_id, ())),
            visible=_stretches(visible[each.object_id]),
        )
        for each in scores.objects
    ]
    return objects, [
        Switch(name, change.frame, video.frames[change.frame].name, change.object_id, change.before, change.after)
        for change in matching.switches
    ]


def _stretches(frames: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """First and last of each run of consecutive numbers."""
    ends = np.flatnonzero(np.diff(frames) > 1).tolist()
    firsts, lasts = [frames[0], *(frames[end + 1] for end in ends)], [*(frames[end] for end in ends), frames[-1]]
    return tuple(zip(firsts, lasts, strict=True))


def _per_class(
    videos: Sequence[_Video], measures: TrackingMeasures
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """The figures of each class that has true objects, and how many tracks of the results each other class has."""
    per_class, unknown = {}, {}
    for name in sorted({name for video in videos for name in video.classes}):
        scores = [video.classes[name] for video in videos if name in video.classes]
        if any(each.objects for each in scores):
            per_class[name] = figures(scores, measures)
        else:
            unknown[name] = sum(each.identities for each in scores)
    return per_class, unknown


def _over_classes(per_class: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Counts are summed and all else is averaged."""
    over = {name: [figures_of[name] for figures_of in per_class.values()] for name in METRICS}
    return {name: sum(values) if name in COUNTS else float(np.mean(values)) for name, values in over.items()}


def _coverage(
    results: AnnotatedVideos, alignments: Sequence[Alignment], left_out: int, unknown_classes: dict[str, int]
) -> Coverage:
    common = sum(alignment.common for alignment in alignments)
    labelled = {alignment.results.name for alignment in alignments if alignment.results is not None}
    result_frames = sum(len(video) for video in results.videos)
    without = sum(len(alignment.partners) for alignment in alignments) - common
    common_frames = any(alignment.common_frames for alignment in alignments)
    return Coverage(
        videos=sum(alignment.compared > 0 for alignment in alignments),
        compared=sum(alignment.compared for alignment in alignments),
        missing=0 if common_frames else without,
        unlabelled=result_frames - common,
        left_out=without if common_frames else 0,
        result_frames=result_frames,
        ignored=left_out,
        unknown_classes=unknown_classes,
        missing_videos=tuple(alignment.truth.name for alignment in alignments if alignment.results is None),
        unlabelled_videos=tuple(video.name for video in results.videos if video.name not in labelled),
        matched_by={alignment.truth.name: alignment.matched_by for alignment in alignments if alignment.matched_by},
    )
