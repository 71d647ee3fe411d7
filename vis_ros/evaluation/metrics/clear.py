"""CLEAR MOT (Bernardin and Stiefelhagen 2008) with masks (Voigtlaender et al. 2019, "MOTS", section 4)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vis_ros.evaluation.evaluation import MatchedRun
from vis_ros.evaluation.metrics.mask_overlaps import MATCH_IOU

_EPS = float(np.finfo(np.float64).eps)
_KEEP_IDENTITY = 1000.0
"""Gain of a pair that was matched in the previous frame: more than any sum of IoUs."""


@dataclass(frozen=True)
class IdentityChange:
    """In `frame` the predicted track of a true object is `after`; when it was last matched it was `before`."""

    frame: int
    object_id: int
    before: int
    after: int


class ClearMatching:
    """Matches true objects and predicted tracks of one video, frame by frame.

    Pairs with an IoU of at least MATCH_IOU may match. As many objects as possible keep the track of the previous frame;
    among these assignments the one with the largest sum of IoUs is taken. Frames without any true object or without any
    prediction are skipped: the frame before them still counts as the previous one. Matches and switches equal those of
    TrackEval.

    Attributes:
        runs: object id -> its matches over time.
        switches: in the order of the frames.
        fragmentations: object id -> how often it was found again after it was lost while visible (Li et al. 2009).
            TrackEval also counts objects that left the image and came back, which gives a perfect result
            fragmentations, and does not count objects lost in frames without any prediction.
        true_positives, truth, predictions: number of matches, true detections and predicted detections.
        iou_sum: sum of the IoUs of all matches.
    """

    def __init__(self) -> None:
        self.runs: dict[int, list[MatchedRun]] = defaultdict(list)
        self.switches: list[IdentityChange] = []
        self.fragmentations: Counter[int] = Counter()
        self.true_positives = self.truth = self.predictions = 0
        self.iou_sum = 0.0
        self._last: dict[int, int] = {}
        self._current: dict[int, int] = {}
        self._lost: set[int] = set()

    def add(
        self, frame: int, truth_ids: NDArray[np.int64], result_ids: NDArray[np.int64], iou: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Match the next frame.

        Args:
            frame: frame number, larger than the previous one; frames without true objects may be left out.
            truth_ids: (T,) ids of the true objects.
            result_ids: (N,) unique predicted track ids.
            iou: (T, N) mask IoU.

        Returns:
            rows and columns of the pairs that match.
        """
        rows, columns = self._match(truth_ids, result_ids, iou)
        matches = dict(zip(truth_ids[rows].tolist(), result_ids[columns].tolist(), strict=True))
        for object_id, result_id in matches.items():
            self._record(frame, object_id, result_id)
        self._lost = (self._lost | self._last.keys() & set(truth_ids.tolist())) - matches.keys()
        if len(truth_ids) and len(result_ids):
            self._current = matches
        self.true_positives += len(rows)
        self.truth += len(truth_ids)
        self.predictions += len(result_ids)
        self.iou_sum += float(iou[rows, columns].sum())
        return rows, columns

    def _match(
        self, truth_ids: NDArray[np.int64], result_ids: NDArray[np.int64], iou: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        current = np.array([self._current.get(number, -1) for number in truth_ids.tolist()], np.int64)
        gain = _KEEP_IDENTITY * (current[:, None] == result_ids) + iou
        gain[iou < MATCH_IOU - _EPS] = 0
        rows, columns = linear_sum_assignment(gain, maximize=True)
        matched = gain[rows, columns] > 0
        return rows[matched], columns[matched]

    def _record(self, frame: int, object_id: int, result_id: int) -> None:
        before = self._last.get(object_id, result_id)
        if before != result_id:
            self.switches.append(IdentityChange(frame, object_id, before, result_id))
        self.fragmentations[object_id] += object_id in self._lost
        self._last[object_id] = result_id
        runs = self.runs[object_id]
        if runs and runs[-1].result_id == result_id and runs[-1].last == frame - 1:
            runs[-1] = MatchedRun(runs[-1].first, frame, result_id)
        else:
            runs.append(MatchedRun(frame, frame, result_id))


def merge_clear(videos: Sequence[ClearMatching]) -> ClearMatching:
    """The counts of several videos together, for `clear`; without runs, whose objects belong to one video."""
    merged = ClearMatching()
    for video in videos:
        merged.switches += video.switches
        merged.fragmentations[0] += video.fragmentations.total()
        merged.true_positives += video.true_positives
        merged.truth += video.truth
        merged.predictions += video.predictions
        merged.iou_sum += video.iou_sum
    return merged


def clear(videos: Sequence[ClearMatching]) -> dict[str, float]:
    """IDSW, Frag, MOTA and sMOTSA of several videos together.

    With TP matches, FP unmatched predictions and GT true detections: MOTA = (TP - FP - IDSW) / GT. sMOTSA is the same
    with the sum of the IoUs of the matches in place of TP.
    """
    true_positives = sum(video.true_positives for video in videos)
    switches = sum(len(video.switches) for video in videos)
    errors = sum(video.predictions for video in videos) - true_positives + switches
    truth = max(1, sum(video.truth for video in videos))
    return {
        'IDSW': switches,
        'Frag': sum(video.fragmentations.total() for video in videos),
        'MOTA': (true_positives - errors) / truth,
        'sMOTSA': (sum(video.iou_sum for video in videos) - errors) / truth,
    }
