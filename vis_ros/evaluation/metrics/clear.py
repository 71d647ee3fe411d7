"""CLEAR matching: which identity is on which true object when (Bernardin and Stiefelhagen 2008)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vis_ros.evaluation.evaluation import Run
from vis_ros.evaluation.metrics.mask_overlaps import MATCH_IOU

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class IdentityChange:
    """At a frame a true object is on identity `after`, and was on `before` when it was last on any."""

    frame: int
    object_id: int
    before: int
    after: int


class ClearMatching:
    """Matches the true objects of a video with identities, frame by frame.

    The rule is that of TrackEval, which has the same matches and switches. In each frame the pairs with an IoU of at
    least a half may match. As many as possible go on with the identity of the frame before; among those choices the sum
    of IoUs is largest. Frames in which there is no true object or no result at all are passed over: what was matched
    before them still counts as the frame before.

    runs: object id -> its matches in time.
    switches: in the order of the frames.
    fragmentations: object id -> how often it was found again after it had been lost while it was visible (Li et al.
        2009). TrackEval also counts the returns of objects that had left the image, so that perfect results have
        fragmentations, and overlooks that objects are lost in frames without any result.
    """

    def __init__(self) -> None:
        self.runs: dict[int, list[Run]] = defaultdict(list)
        self.switches: list[IdentityChange] = []
        self.fragmentations: Counter[int] = Counter()
        self._last: dict[int, int] = {}
        self._current: dict[int, int] = {}
        self._lost: set[int] = set()

    def add(
        self, frame: int, truth_ids: NDArray[np.int64], result_ids: NDArray[np.int64], iou: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Match the next frame.

        Args:
            frame: its number, larger than that of the one before; frames without true objects may be left out.
            truth_ids: (T,). result_ids: (N,), each once. iou: (T, N).

        Returns:
            rows of true objects and columns of results that match.
        """
        rows, columns = self._match(truth_ids, result_ids, iou)
        matches = dict(zip(truth_ids[rows].tolist(), result_ids[columns].tolist(), strict=True))
        for object_id, result_id in matches.items():
            self._note(frame, object_id, result_id)
        self._lost = (self._lost | self._last.keys() & set(truth_ids.tolist())) - matches.keys()
        if len(truth_ids) and len(result_ids):
            self._current = matches
        return rows, columns

    def _match(
        self, truth_ids: NDArray[np.int64], result_ids: NDArray[np.int64], iou: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        current = np.array([self._current.get(number, -1) for number in truth_ids.tolist()], np.int64)
        gain = 1000.0 * (current[:, None] == result_ids) + iou
        gain[iou < MATCH_IOU - _EPS] = 0
        rows, columns = linear_sum_assignment(gain, maximize=True)
        matched = gain[rows, columns] > 0
        return rows[matched], columns[matched]

    def _note(self, frame: int, object_id: int, result_id: int) -> None:
        before = self._last.get(object_id, result_id)
        if before != result_id:
            self.switches.append(IdentityChange(frame, object_id, before, result_id))
        self.fragmentations[object_id] += object_id in self._lost
        self._last[object_id] = result_id
        runs = self.runs[object_id]
        if runs and runs[-1].result_id == result_id and runs[-1].last == frame - 1:
            runs[-1] = Run(runs[-1].first, frame, result_id)
        else:
            runs.append(Run(frame, frame, result_id))
