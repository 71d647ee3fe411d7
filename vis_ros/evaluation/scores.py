"""VideoScores: what all measures count in one video. The metrics of several videos are computed from their counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vis_ros.evaluation.evaluation import COUNTS, METRICS
from vis_ros.evaluation.metrics.average_precision import TrackMatches, average_precision, match_tracks, merge_matches
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, without_ignored_results
from vis_ros.evaluation.metrics.tracking_measures import TrackingCounts, count_tracking, merge_counts, tracking_metrics


@dataclass(frozen=True)
class ObjectScore:
    """A true object, the predicted track assigned to it (or None), and J and F of the two."""

    object_id: int
    result_id: int | None
    j: float
    f: float


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The counts of one video, for all of its objects or those of one class.

    Attributes:
        tracking: for HOTA, Identity and CLEAR.
        tracks: for average precision.
        objects: J and F of each true object.
        predicted_tracks: number of predicted tracks.
        detections: number of predicted detections over all frames, without the ignored ones.
        ignored: number of predicted detections left out because they are in ignored pixels.
    """

    tracking: TrackingCounts
    tracks: TrackMatches
    objects: tuple[ObjectScore, ...]
    predicted_tracks: int
    detections: int
    ignored: int


def score_video(video: VideoOverlaps, track_scores: Mapping[int, float], objects: Sequence[ObjectScore]) -> VideoScores:
    """Count everything in a video.

    Args:
        video: the overlaps of the objects to score.
        track_scores: score of each predicted track.
        objects: J and F of each true object, which are computed from the masks.
    """
    tracked = without_ignored_results(video)
    everything, detections = (sum(len(frame.result_ids) for frame in each.frames) for each in (video, tracked))
    return VideoScores(
        tracking=count_tracking(tracked),
        tracks=match_tracks(video, track_scores),
        objects=tuple(objects),
        predicted_tracks=len(video.result_ids),
        detections=detections,
        ignored=everything - detections,
    )


def merge_scores(videos: Sequence[VideoScores]) -> VideoScores:
    """Several videos as one with the same `metrics_of`, which takes less time."""
    return VideoScores(
        tracking=merge_counts([video.tracking for video in videos]),
        tracks=merge_matches([video.tracks for video in videos]),
        objects=tuple(each for video in videos for each in video.objects),
        predicted_tracks=sum(video.predicted_tracks for video in videos),
        detections=sum(video.detections for video in videos),
        ignored=sum(video.ignored for video in videos),
    )


def metrics_of(videos: Sequence[VideoScores]) -> dict[str, float]:
    """All METRICS of several videos together."""
    if not any(video.tracks.truth for video in videos):
        is_right = not any(video.detections for video in videos)
        return {name: 0 if name in COUNTS else float(is_right) for name in METRICS}
    objects = [each for video in videos for each in video.objects]
    j, f = float(np.mean([each.j for each in objects])), float(np.mean([each.f for each in objects]))
    values = {
        **average_precision([video.tracks for video in videos]),
        **tracking_metrics([video.tracking for video in videos]),
        **{'J': j, 'F': f, 'J&F': (j + f) / 2},
    }
    return {name: values[name] for name in METRICS}
