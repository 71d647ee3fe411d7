"""Evaluate results against ground truth: read, align and score each video, then pool the scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.datasets.video_summary import VideoSummary, summarize
from vis_ros.evaluation.alignment import Alignment, align, pair_videos
from vis_ros.evaluation.evaluation import COUNTS, METRICS, Coverage, Evaluation
from vis_ros.evaluation.metrics.average_precision import IOU_THRESHOLDS, precision_at_recalls
from vis_ros.evaluation.scores import VideoScores, metrics_of
from vis_ros.evaluation.video_evaluation import VideoEvaluation, VideoPair, evaluate_video


def evaluate(
    results: AnnotatedVideos,
    truth: AnnotatedVideos,
    *,
    common_frames: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """All metrics of results against ground truth.

    A ground truth frame or video without results counts as one in which nothing was found; the coverage reports these.
    The class of a predicted track is its most frequent one and its score the mean, over all frames of the results.

    Args:
        results: what was predicted.
        truth: the ground truth, of at least some of the frames.
        common_frames: leave out ground truth frames without results; the coverage reports these too.
        on_frame: called `video_evaluation.READINGS` times for each compared frame (a progress bar).

    Raises:
        ValueError: results and ground truth have no video or no frame in common, or their images differ in size.
        AnnotationError: a video cannot be read.
    """
    pairs = [_pair(results, truth, *both, common_frames) for both in pair_videos(results, truth)]
    class_aware = results.has_classes and truth.has_classes
    videos = [
        evaluate_video(pair, class_aware=class_aware, on_frame=on_frame) for pair in pairs if pair.alignment.compared
    ]
    if not videos:
        raise ValueError(f'no frame of {truth.source} has results in {results.source}: there is nothing to compare')
    whole = [video.whole for video in videos]
    agnostic = metrics_of(whole)
    per_class, unknown_classes = _per_class(videos)
    return Evaluation(
        results=results.source,
        truth=truth.source,
        settings=dict(results.settings),
        agnostic=agnostic,
        aware=(_over_classes(per_class) if per_class else agnostic) if class_aware else None,
        per_class=per_class,
        per_video={video.name: metrics_of([video.whole]) for video in videos},
        lengths={video.name: video.length for video in videos},
        objects=tuple(each for video in videos for each in video.objects),
        switches=tuple(each for video in videos for each in video.switches),
        precision=_precision(whole),
        coverage=_coverage(results, [pair.alignment for pair in pairs], whole, unknown_classes),
        latencies_ms=_latencies_ms(results),
        inferred=tuple(dict.fromkeys([*results.inferred, *truth.inferred])),
        truth_digest=hashlib.sha256(json.dumps([(video.name, video.digest) for video in videos]).encode()).hexdigest(),
    )


def _pair(
    results: AnnotatedVideos,
    truth: AnnotatedVideos,
    truth_video: AnnotatedVideo,
    result_video: AnnotatedVideo | None,
    common_frames: bool,
) -> VideoPair:
    """Read two videos once and align their frames."""
    true = summarize(truth_video)
    found = VideoSummary(truth_video.name) if result_video is None else summarize(result_video)
    return VideoPair(
        alignment=align(truth_video, true.frames, result_video, found.frames, common_frames=common_frames),
        truth_classes={number: truth.class_names[track.class_id] for number, track in true.tracks.items()},
        result_classes={number: results.class_names[track.class_id] for number, track in found.tracks.items()},
        result_scores={number: track.score for number, track in found.tracks.items()},
    )


def _per_class(videos: Sequence[VideoEvaluation]) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    """The metrics of each class with true objects, and the number of predicted tracks of each other class."""
    per_class, unknown = {}, {}
    for name in sorted({name for video in videos for name in video.classes}):
        scores = [video.classes[name] for video in videos if name in video.classes]
        if any(each.objects for each in scores):
            per_class[name] = metrics_of(scores)
        else:
            unknown[name] = sum(each.predicted_tracks for each in scores)
    return per_class, unknown


def _over_classes(per_class: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Sums of counts, means of the other metrics."""
    over = {name: [metrics[name] for metrics in per_class.values()] for name in METRICS}
    return {name: sum(values) if name in COUNTS else float(np.mean(values)) for name, values in over.items()}


def _precision(videos: Sequence[VideoScores]) -> dict[str, tuple[float, ...]]:
    rows = precision_at_recalls([video.tracks for video in videos]).tolist()
    return {f'{threshold:.2f}': tuple(row) for threshold, row in zip(IOU_THRESHOLDS, rows, strict=True)}


def _latencies_ms(results: AnnotatedVideos) -> tuple[float, ...]:
    live = results.settings.get('live')
    return tuple(live.get('latency_ms', ())) if isinstance(live, dict) else ()


def _coverage(
    results: AnnotatedVideos,
    alignments: Sequence[Alignment],
    scores: Sequence[VideoScores],
    unknown_classes: dict[str, int],
) -> Coverage:
    common = sum(alignment.common for alignment in alignments)
    labeled = {alignment.results.name for alignment in alignments if alignment.results is not None}
    result_frames = sum(len(video) for video in results.videos)
    without_results = sum(len(alignment.partners) for alignment in alignments) - common
    common_frames = any(alignment.common_frames for alignment in alignments)
    return Coverage(
        videos=sum(alignment.compared > 0 for alignment in alignments),
        compared=sum(alignment.compared for alignment in alignments),
        missing=0 if common_frames else without_results,
        unlabeled=result_frames - common,
        left_out=without_results if common_frames else 0,
        result_frames=result_frames,
        ignored=sum(video.ignored for video in scores),
        unknown_classes=unknown_classes,
        missing_videos=tuple(alignment.truth.name for alignment in alignments if alignment.results is None),
        unlabeled_videos=tuple(video.name for video in results.videos if video.name not in labeled),
        matched_by={alignment.truth.name: alignment.matched_by for alignment in alignments if alignment.matched_by},
    )
