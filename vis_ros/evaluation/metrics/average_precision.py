"""Average precision and recall of tracks, following YouTube-VIS (Yang et al. 2019, "Video Instance Segmentation",
section 4).

The protocol is that of COCO with the IoU of whole tracks: intersections and unions are summed over the frames of a
video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps

IOU_THRESHOLDS = np.round(np.arange(0.5, 0.96, 0.05), 2)
RECALLS = np.linspace(0, 1, 101)
MAX_TRACKS = 100
"""Number of tracks per class and video that are evaluated, those with the highest scores."""

RECALLED_TRACKS = (1, 10)
"""Numbers of tracks of each video for AR1 and AR10."""

_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class TrackMatches:
    """The N <= MAX_TRACKS predicted tracks of a video, highest score first.

    Attributes:
        scores: (N,).
        found: (10, N) whether the track matches a true object, at each of IOU_THRESHOLDS.
        ignored: (10, N) whether it matches none but is in ignored pixels, and is neither a true nor a false positive.
        truth: number of true objects.
        recalled: k -> (10,) number of true objects that the k tracks with the highest scores match.
    """

    scores: NDArray[np.float64]
    found: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truth: int
    recalled: Mapping[int, NDArray[np.int64]]


def match_tracks(video: VideoOverlaps, scores: Mapping[int, float]) -> TrackMatches:
    """Match the predicted tracks of one class in a video to the true objects.

    In order of their scores (then of their ids), the tracks take the free true object with the largest IoU, if that
    reaches the threshold. Ignored pixels are treated like COCO's crowds: a track without a true object is ignored if
    the share of it in ignored pixels reaches the threshold.

    Args:
        video: only objects of this class.
        scores: of each predicted track.
    """
    overlaps, ignored = track_iou(video)
    score = np.array([scores[number] for number in video.result_ids.tolist()], np.float64)
    order = np.argsort(-score, kind='stable')[:MAX_TRACKS]
    found = np.stack([_match(overlaps[:, order], threshold) for threshold in IOU_THRESHOLDS])
    inside = ignored[order] >= IOU_THRESHOLDS[:, None] - _ROUNDING
    recalled = {most: found[:, :most].sum(1) for most in RECALLED_TRACKS}
    return TrackMatches(score[order], found, inside & ~found, len(video.truth_ids), recalled)


def merge_matches(videos: Sequence[TrackMatches]) -> TrackMatches:
    """Several videos as one, for `average_precision`; the scores are not in order then."""
    return TrackMatches(
        scores=np.concatenate([video.scores for video in videos]),
        found=np.concatenate([video.found for video in videos], 1),
        ignored=np.concatenate([video.ignored for video in videos], 1),
        truth=sum(video.truth for video in videos),
        recalled={most: np.sum([video.recalled[most] for video in videos], 0) for most in RECALLED_TRACKS},
    )


def track_iou(video: VideoOverlaps) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T, N) IoU of true objects and predicted tracks over the whole video, (N,) ignored share of each track."""
    truth, results = np.zeros(len(video.truth_ids)), np.zeros(len(video.result_ids))
    shared, ignored = np.zeros((len(truth), len(results))), np.zeros(len(results))
    for frame in video.frames:
        rows, columns = video.truth_rows(frame), video.result_columns(frame)
        truth[rows] += frame.truth_areas
        results[columns] += frame.result_areas
        shared[np.ix_(rows, columns)] += frame.intersections
        ignored[columns] += frame.ignored * frame.result_areas
    return shared / (truth[:, None] + results - shared), ignored / results


def _match(overlaps: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """(N,) whether each track gets one of the T true objects, in their order."""
    free = overlaps >= threshold - _ROUNDING
    found = np.zeros(overlaps.shape[1], bool)
    for track in np.flatnonzero(free.any(0)):
        candidates = np.flatnonzero(free[:, track])[::-1]  # like COCO, the last of equal ones
        if len(candidates):
            free[candidates[np.argmax(overlaps[candidates, track])]] = False
            found[track] = True
    return found


def precision_at_recalls(videos: Sequence[TrackMatches]) -> NDArray[np.float64]:
    """(10, 101) the best precision with at least the recalls RECALLS, at each of IOU_THRESHOLDS; 0 if not reached."""
    order = np.argsort(-np.concatenate([video.scores for video in videos]), kind='stable')
    found = np.concatenate([video.found for video in videos], 1)[:, order]
    ignored = np.concatenate([video.ignored for video in videos], 1)[:, order]
    truth = max(1, sum(video.truth for video in videos))
    precision = np.zeros((len(IOU_THRESHOLDS), len(RECALLS)))
    for row, hits, counts in zip(precision, found, ~ignored, strict=True):
        true_positives = np.cumsum(hits)
        envelope = np.maximum.accumulate((true_positives / np.maximum(np.cumsum(counts), 1))[::-1])[::-1]
        reached = np.searchsorted(true_positives / truth, RECALLS)
        row[reached < len(envelope)] = envelope[reached[reached < len(envelope)]]
    return precision


def average_precision(videos: Sequence[TrackMatches]) -> dict[str, float]:
    """AP, AP50, AP75, AR1 and AR10 of videos that have true objects.

    AR1 and AR10 are the recalls with the best one or ten tracks of each video, averaged over the IoU thresholds. Even
    perfect results have an AR1 below 1 if a video has several objects of the class.
    """
    precision = precision_at_recalls(videos).mean(1)
    truth = sum(video.truth for video in videos)
    recall = {most: np.sum([video.recalled[most] for video in videos], 0) / truth for most in RECALLED_TRACKS}
    return {
        'AP': float(precision.mean()),
        'AP50': float(precision[IOU_THRESHOLDS == 0.5][0]),
        'AP75': float(precision[IOU_THRESHOLDS == 0.75][0]),
        **{f'AR{most}': float(np.mean(values)) for most, values in recall.items()},
    }
