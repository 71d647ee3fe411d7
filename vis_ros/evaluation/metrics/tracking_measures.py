"""The tracking measures HOTA, Identity and CLEAR: counted in each video, combined over several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vis_ros.evaluation.metrics.clear import ClearMatching, clear
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


def tracking_metrics(videos: Sequence[TrackingCounts]) -> dict[str, float]:
    """HOTA, DetA, AssA, IDF1, IDSW, Frag, MOTA and sMOTSA of several videos together."""
    return {
        **hota([video.hota for video in videos]),
        'IDF1': idf1([video.identity for video in videos]),
        **clear([video.clear for video in videos]),
    }
