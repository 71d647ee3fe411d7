"""Scores: what the measures count in one video; figures come from the scores of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vis_ros.evaluation.evaluation import COUNTS, METRICS
from vis_ros.evaluation.metrics.average_precision import TrackMatches, average_precision, match_tracks
from vis_ros.evaluation.metrics.clear import ClearMatching
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps, without_ignored_results
from vis_ros.evaluation.metrics.tracking_measures import TrackingMeasures


@dataclass(frozen=True)
class ObjectScore:
    """A true object, the identity that it is assigned, or None, and the J and F of the two."""

    object_id: int
    result_id: int | None
    j: float
    f: float


@dataclass(frozen=True, eq=False)
class Scores:
    """One video, all of its objects or those of one class.

    tracking: of `TrackingMeasures`; matching: by CLEAR; tracks: for average precision; objects: each true one.
    identities: how many there are in the results.
    results: objects in the results, one count a frame; left_out: those beside them that ignored pixels excuse.
    """

    tracking: dict[str, Any]
    matching: ClearMatching
    tracks: TrackMatches
    objects: tuple[ObjectScore, ...]
    identities: int
    results: int
    left_out: int


def score(
    video: VideoOverlaps, track_scores: Mapping[int, float], objects: Sequence[ObjectScore], measures: TrackingMeasures
) -> Scores:
    """Count everything in a video.

    Args:
        video: only the objects that matter.
        track_scores: of each identity.
        objects: with J and F, which need masks.
        measures: of TrackEval.
    """
    tracked = without_ignored_results(video)
    matching = ClearMatching()
    for frame in tracked.frames:
        matching.add(frame.position, frame.truth_ids, frame.result_ids, frame.iou)
    everything, results = (sum(len(frame.result_ids) for frame in each.frames) for each in (video, tracked))
    return Scores(
        tracking=measures.count(tracked),
        matching=matching,
        tracks=match_tracks(video, track_scores),
        objects=tuple(objects),
        identities=len(video.result_ids),
        results=results,
        left_out=everything - results,
    )


def figures(videos: Sequence[Scores], measures: TrackingMeasures) -> dict[str, float]:
    """All METRICS of several videos together."""
    if not any(video.tracks.truth for video in videos):
        right = not any(video.results for video in videos)
        return {name: 0 if name in COUNTS else float(right) for name in METRICS}
    objects = [each for video in videos for each in video.objects]
    j, f = float(np.mean([each.j for each in objects])), float(np.mean([each.f for each in objects]))
    values = {
        **average_precision([video.tracks for video in videos]),
        **measures.combine([video.tracking for video in videos]),
        'Frag': sum(video.matching.fragmentations.total() for video in videos),
        **{'J': j, 'F': f, 'J&F': (j + f) / 2},
    }
    return {name: values[name] for name in METRICS}
