"""Evaluate results against truth: every video is read three times, and only numbers are kept of its frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.evaluation.alignment import Alignment, align, pair_videos
from vis_ros.evaluation.evaluation import COUNTS, METRICS, Coverage, Evaluation
from vis_ros.evaluation.metrics.average_precision import IOU_THRESHOLDS, precision_at_recalls
from vis_ros.evaluation.metrics.tracking_measures import TrackingMeasures
from vis_ros.evaluation.scores import figures
from vis_ros.evaluation.survey import Survey, survey
from vis_ros.evaluation.video_evaluation import VideoEvaluation, evaluate_video

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
    class_aware = results.has_classes and truth.has_classes
    alignments, videos = [], []
    for true_video, result_video in pair_videos(results, truth):
        true_tracks = survey(true_video)
        result_tracks = Survey() if result_video is None else survey(result_video)
        alignment = align(
            true_video, true_tracks.frames, result_video, result_tracks.frames, common_frames=common_frames
        )
        alignments.append(alignment)
        if alignment.compared:
            videos.append(
                evaluate_video(
                    alignment,
                    _class_names(truth, true_tracks),
                    _class_names(results, result_tracks),
                    result_tracks.scores,
                    measures,
                    class_aware=class_aware,
                    on_frame=on_frame,
                )
            )
    if not videos:
        raise ValueError(f'no frame of {truth.source} has a result in {results.source}: there is nothing to compare')
    whole = [video.whole for video in videos]
    precision = precision_at_recalls([scores.tracks for scores in whole]).tolist()
    per_class, unknown_classes = _per_class(videos, measures)
    agnostic = figures(whole, measures)
    live = results.settings.get('live')
    return Evaluation(
        results=results.source,
        truth=truth.source,
        settings=dict(results.settings),
        agnostic=agnostic,
        aware=(_over_classes(per_class) if per_class else agnostic) if class_aware else None,
        per_class=per_class,
        per_video={video.name: figures([video.whole], measures) for video in videos},
        lengths={video.name: video.length for video in videos},
        objects=tuple(each for video in videos for each in video.objects),
        switches=tuple(each for video in videos for each in video.switches),
        precision={f'{level:.2f}': tuple(row) for level, row in zip(IOU_THRESHOLDS, precision, strict=True)},
        coverage=_coverage(results, alignments, sum(each.left_out for each in whole), unknown_classes),
        latencies_ms=tuple(live.get('latency_ms', ())) if isinstance(live, dict) else (),
        truth_digest=hashlib.sha256(json.dumps([(video.name, video.digest) for video in videos]).encode()).hexdigest(),
    )


def _class_names(videos: AnnotatedVideos, tracks: Survey) -> dict[int, str]:
    return {number: videos.class_names[class_id] for number, class_id in tracks.class_ids.items()}


def _per_class(
    videos: Sequence[VideoEvaluation], measures: TrackingMeasures
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
