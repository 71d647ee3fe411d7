"""IDF1 (Ristani et al. 2016, "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", section 3).

Each true track is assigned at most one predicted track for the whole video, and each predicted track at most one true
track, such that as many detections as possible agree (IDTP). IDF1 is the share of all true and predicted detections
that belong to these agreements: 2 IDTP / (true detections + predicted detections).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vis_ros.evaluation.metrics.mask_overlaps import MATCH_IOU, VideoOverlaps


@dataclass(frozen=True)
class IdentityCounts:
    """The counts of one video, for `idf1`: IDTP, and the number of true and of predicted detections."""

    true_positives: int
    truth: int
    predictions: int


def count_identity(video: VideoOverlaps) -> IdentityCounts:
    """Assign the tracks of one video and count their common detections, those with an IoU of at least MATCH_IOU."""
    agreements = np.zeros((len(video.truth_ids), len(video.result_ids)), np.int64)
    for frame in video.frames:
        agreements[np.ix_(video.truth_rows(frame), video.result_columns(frame))] += frame.iou >= MATCH_IOU
    return IdentityCounts(
        true_positives=int(agreements[linear_sum_assignment(agreements, maximize=True)].sum()),
        truth=sum(len(frame.truth_ids) for frame in video.frames),
        predictions=sum(len(frame.result_ids) for frame in video.frames),
    )


def idf1(videos: Sequence[IdentityCounts]) -> float:
    """IDF1 of several videos together."""
    detections = sum(video.truth + video.predictions for video in videos)
    return 2 * sum(video.true_positives for video in videos) / max(1, detections)
