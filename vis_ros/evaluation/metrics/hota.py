"""HOTA, Higher Order Tracking Accuracy (Luiten et al. 2021, "HOTA: A Higher Order Metric for Evaluating Multi-Object
Tracking", section 5).

At a localization threshold a, true objects and predictions of a frame match one to one where their IoU is at least a:

    DetA = TP / (TP + FN + FP)
    AssA = mean over all TP c of A(c),  A(c) = TPA(c) / (TPA(c) + FNA(c) + FPA(c))
    HOTA = sqrt(DetA * AssA)

TPA(c) counts the matches between the same two tracks as c, FNA(c) and FPA(c) the other detections of its true track
and of its predicted track. The reported values are means over 19 thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vis_ros.evaluation.metrics.mask_overlaps import VideoOverlaps

LOCALIZATION_THRESHOLDS = np.arange(1, 20) / 20
"""0.05, 0.10, ..., 0.95: the mask IoU from which a detection may match a true object."""


@dataclass(frozen=True, eq=False)
class HotaCounts:
    """The counts of one video, for `hota`.

    true_positives: (19,) matches at each threshold.
    association: (19,) sum of A(c) over these matches.
    truth, predictions: number of true and of predicted detections over all frames.
    """

    true_positives: NDArray[np.int64]
    association: NDArray[np.float64]
    truth: int
    predictions: int


def count_hota(video: VideoOverlaps) -> HotaCounts:
    """Match one video at every threshold and count."""
    truth_frames, predicted_frames, alignment = _align_tracks(video)
    matches = np.zeros((len(LOCALIZATION_THRESHOLDS), *alignment.shape), np.int64)
    for frame in video.frames:
        rows, columns = video.truth_rows(frame), video.result_columns(frame)
        pairs = linear_sum_assignment(alignment[np.ix_(rows, columns)] * frame.iou, maximize=True)
        matches[:, rows[pairs[0]], columns[pairs[1]]] += frame.iou[pairs] >= LOCALIZATION_THRESHOLDS[:, None]
    association = matches / np.maximum(1, truth_frames[:, None] + predicted_frames - matches)
    return HotaCounts(
        true_positives=matches.sum((1, 2)),
        association=(matches * association).sum((1, 2)),
        truth=int(truth_frames.sum()),
        predictions=int(predicted_frames.sum()),
    )


def hota(videos: Sequence[HotaCounts]) -> dict[str, float]:
    """HOTA, DetA and AssA of several videos together."""
    true_positives = np.sum([video.true_positives for video in videos], 0)
    detections = sum(video.truth + video.predictions for video in videos)
    detection = true_positives / np.maximum(1, detections - true_positives)
    association = np.sum([video.association for video in videos], 0) / np.maximum(1, true_positives)
    metrics = {'HOTA': np.sqrt(detection * association), 'DetA': detection, 'AssA': association}
    return {name: float(values.mean()) for name, values in metrics.items()}


def _align_tracks(video: VideoOverlaps) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Measure how well each pair of tracks agrees over the whole video.

    Like the authors' reference implementation, one matching per frame serves all thresholds: it maximizes the sum of
    alignment * IoU. The alignment is the Jaccard index of the frames of both tracks. Each frame contributes IoU / (sum
    of all IoUs of the two detections - IoU), so a detection that overlaps several others is shared among them.

    Returns:
        (T,) frames of each true track, (N,) frames of each predicted track, (T, N) alignment in [0, 1].
    """
    truth_frames, predicted_frames = np.zeros(len(video.truth_ids), np.int64), np.zeros(len(video.result_ids), np.int64)
    shared = np.zeros((len(truth_frames), len(predicted_frames)))
    for frame in video.frames:
        rows, columns = video.truth_rows(frame), video.result_columns(frame)
        truth_frames[rows] += 1
        predicted_frames[columns] += 1
        others = frame.iou.sum(0) + frame.iou.sum(1)[:, None] - frame.iou
        shared[np.ix_(rows, columns)] += np.divide(frame.iou, others, out=np.zeros_like(frame.iou), where=others > 0)
    return truth_frames, predicted_frames, shared / (truth_frames[:, None] + predicted_frames - shared)
