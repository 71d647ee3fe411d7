"""The tracking measures HOTA, Identity and CLEAR: counted in each video, combined over several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vis_ros.evaluation.metrics.clear import ClearMatching, clear, merge_clear
from vis_ros.evaluation.metrics.hota import HotaCounts, count_hota, hota
from vis_ros.evaluation.metrics.identity import IdentityCounts, count_identity, idf1
from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps


@dataclass(frozen=True, eq=False)
class TrackingCounts:
    """What each measure counts in one video."""

    hota: HotaCounts
    identity: IdentityCounts
    clear: ClearMatching


def count_tracking(video: VideoOverlaps) -> TrackingCounts:
    """Match the true objects of one video with its predicted tracks, once for each measure."""
    matching = ClearMatching()
    for frame in video.frames:
        matching.add(frame.position, frame.truth_ids, frame.result_ids, frame.iou)
    return TrackingCounts(count_hota(video), count_identity(video), matching)


def merge_counts(videos: Sequence[TrackingCounts]) -> TrackingCounts:
    """Several videos as one, for `tracking_metrics`: all counts are sums."""
    return TrackingCounts(
        hota=HotaCounts(
            true_positives=np.sum([video.hota.true_positives for video in videos], 0),
            association=np.sum([video.hota.association for video in videos], 0),
            truth=sum(video.hota.truth for video in videos),
            predictions=sum(video.hota.predictions for video in videos),
        ),
        identity=IdentityCounts(
            true_positives=sum(video.identity.true_positives for video in videos),
            truth=sum(video.identity.truth for video in videos),
            predictions=sum(video.identity.predictions for video in videos),
        ),
        clear=merge_clear([video.clear for video in videos]),
    )


def tracking_metrics(videos: Sequence[TrackingCounts]) -> dict[str, float]:
    """HOTA, DetA, AssA, IDF1, IDSW, Frag, MOTA and sMOTSA of several videos together."""
    return {
        **hota([video.hota for video in videos]),
        'IDF1': idf1([video.identity for video in videos]),
        **clear([video.clear for video in videos]),
    }
