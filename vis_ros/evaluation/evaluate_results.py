"""Evaluate results against ground truth: read, align and score each video, then pool the scores."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vis_ros.datasets.labels import Labels, labels_of
from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.datasets.video_summary import VideoSummary, summarize
from vis_ros.evaluation.alignment import Alignment, align, pair_videos
from vis_ros.evaluation.class_map import unmatched as unmatched_classes
from vis_ros.evaluation.evaluation import Coverage, Evaluation
from vis_ros.evaluation.metrics.average_precision import IOU_THRESHOLDS, precision_at_recalls
from vis_ros.evaluation.paired_interval import FEWEST
from vis_ros.evaluation.scores import VideoScores, metrics_of
from vis_ros.evaluation.totals import ClassTotals, UnitScores, totals
from vis_ros.evaluation.video_evaluation import VideoPair, evaluate_video


def evaluate(
    results: AnnotatedVideos,
    truth: AnnotatedVideos,
    *,
    common_frames: bool = False,
    labels: Labels | None = None,
    over: ClassTotals = 'macro',
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """All metrics of results against ground truth.

    A ground truth frame or video without results counts as one in which nothing was found; the coverage reports these.
    The class of a predicted track is its most frequent one and its score the mean, over all frames of the results.
    Where there are fewer than FEWEST videos, segments of them are scored too, for intervals.

    Args:
        results: what was predicted.
        truth: the ground truth, of at least some of the frames.
        common_frames: leave out ground truth frames without results; the coverage reports these too.
        labels: whether every object is labeled; None: as stored with the ground truth, or as its format suggests.
        over: how class-aware metrics are computed, see `totals`.
        on_frame: called `video_evaluation.READINGS` times for each compared frame (a progress bar).

    Raises:
        ValueError: results and ground truth have no video or no frame in common, or their images differ in size.
        AnnotationError: a video cannot be read.
    """
    pairs = [_pair(results, truth, *both, common_frames) for both in pair_videos(results, truth)]
    class_aware = results.has_classes and truth.has_classes
    compared = [pair for pair in pairs if pair.alignment.compared]
    in_segments = len(compared) < FEWEST and not truth.of_photos
    videos = [
        evaluate_video(pair, class_aware=class_aware, in_segments=in_segments, on_frame=on_frame) for pair in compared
    ]
    if not videos:
        raise ValueError(f'no frame of {truth.source} has results in {results.source}: there is nothing to compare')
    scores = [UnitScores(video.name, video.whole, video.classes) for video in videos]
    unmatched = unmatched_classes(results, truth)
    only = frozenset(name for unit in scores for name in unit.classes) - unmatched
    total = totals(scores, over, only)
    labels, how = labels_of(truth, labels)
    segments = [UnitScores(name, each, {}) for video in videos for name, each in video.segments.items()]
    return Evaluation(
        results=results.source,
        truth=truth.source,
        settings=dict(results.settings),
        agnostic=total.agnostic,
        aware=total.aware or (total.agnostic if class_aware and not unmatched else None),
        per_class=total.per_class,
        per_video={video.name: metrics_of([video.whole]) for video in videos},
        per_camera=_per_camera(results.cameras, {video.name: video.whole for video in videos}),
        lengths={video.name: video.length for video in videos},
        objects=tuple(each for video in videos for each in video.objects),
        switches=tuple(each for video in videos for each in video.switches),
        precision=_precision([unit.whole for unit in scores]),
        coverage=_coverage(results, [pair.alignment for pair in pairs], scores, unmatched, truth.of_photos),
        latencies_ms=_latencies_ms(results),
        inferred=tuple(dict.fromkeys([how, *results.inferred, *truth.inferred])),
        truth_digest=hashlib.sha256(json.dumps([(video.name, video.digest) for video in videos]).encode()).hexdigest(),
        photos=truth.of_photos,
        labels=labels,
        over=over,
        unit='photo' if truth.of_photos else 'segment' if in_segments else 'video',
        units=tuple(segments if in_segments else [replace(unit, classes=_only(unit.classes, only)) for unit in scores]),
    )


def _per_camera(cameras: Mapping[str, str], scores: Mapping[str, VideoScores]) -> dict[str, dict[str, float]]:
    names = sorted({cameras[video] for video in scores if cameras.get(video)})
    if len(names) < 2:
        return {}
    return {name: metrics_of([each for video, each in scores.items() if cameras.get(video) == name]) for name in names}


def _only(classes: Mapping[str, VideoScores], names: frozenset[str]) -> dict[str, VideoScores]:
    return {name: scores for name, scores in classes.items() if name in names}


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
        class_names=truth.class_names,
    )


def _precision(videos: Sequence[VideoScores]) -> dict[str, tuple[float, ...]]:
    rows = precision_at_recalls([video.tracks for video in videos]).tolist()
    return {f'{threshold:.2f}': tuple(row) for threshold, row in zip(IOU_THRESHOLDS, rows, strict=True)}


def _latencies_ms(results: AnnotatedVideos) -> tuple[float, ...]:
    live = results.settings.get('live')
    return tuple(live.get('latency_ms', ())) if isinstance(live, dict) else ()


def _coverage(
    results: AnnotatedVideos,
    alignments: Sequence[Alignment],
    scores: Sequence[UnitScores],
    unmatched: frozenset[str],
    photos: bool,
) -> Coverage:
    objects, tracks = _by_class(scores)
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
        ignored=sum(unit.whole.ignored for unit in scores),
        unknown_classes={name: count for name, count in tracks.items() if name not in objects},
        unmatched_classes={name: count for name, count in objects.items() if name in unmatched},
        photos=photos,
        missing_videos=tuple(alignment.truth.name for alignment in alignments if alignment.results is None),
        unlabeled_videos=tuple(video.name for video in results.videos if video.name not in labeled),
        matched_by={alignment.truth.name: alignment.matched_by for alignment in alignments if alignment.matched_by},
    )


def _by_class(units: Sequence[UnitScores]) -> tuple[dict[str, int], dict[str, int]]:
    """Number of true objects of each class that has some, and of predicted tracks of each class."""
    objects: Counter[str] = Counter()
    tracks: Counter[str] = Counter()
    for unit in units:
        for name, scores in unit.classes.items():
            objects[name] += len(scores.objects)
            tracks[name] += scores.predicted_tracks
    return +objects, dict(sorted(tracks.items()))
