"""PublishedMemory: the association rules of two published codes, reproduced exactly, as a reference to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks.iou import box_iou
from vis_ros.tracking import association
from vis_ros.tracking.association import NEW, Floats
from vis_ros.tracking.detections import Detections
from vis_ros.tracking.track_table import TrackTable
from vis_ros.tracking.tracks import Tracks

PublishedRule = Literal['paper', 'mmtracking']

_LOWEST_SCORE = {'paper': -100.0, 'mmtracking': -1e6}
"""A detection needs a matching score above this to continue a track."""


@dataclass(frozen=True)
class PublishedConfig:
    """Settings of a `PublishedMemory`; ValueError names a value that is not allowed.

    rule: 'paper' is the rule of the official MaskTrackRCNN code, 'mmtracking' that of mmtracking and mmdetection.
    weights: a, b, c of the matching score log p_i(n) + a log s_i + b IoU + c [same category]; published (1, 2, 10).
    min_hits: a track is TENTATIVE until it was detected in this many frames.
    max_age_frames: 'mmtracking' deletes a track after this many frames without a detection; 'paper' never does.
    """

    rule: PublishedRule = 'paper'
    weights: tuple[float, float, float] = (1.0, 2.0, 10.0)
    min_hits: int = 3
    max_age_frames: int = 20

    def __post_init__(self) -> None:
        if self.rule not in get_args(PublishedRule):
            raise ValueError(f'rule {self.rule!r} is not one of {", ".join(get_args(PublishedRule))}')
        if len(self.weights) != 3 or not all(0 <= weight < math.inf for weight in self.weights):
            raise ValueError(f'weights {self.weights!r} are not three finite numbers (a, b, c) from 0')
        for name in ('min_hits', 'max_age_frames'):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f'{name} {getattr(self, name)!r} is not a whole number from 1')


class PublishedMemory:
    """The tracks of one camera by a published rule, including what it gets wrong.

    Detections are taken in the given order, each with the best track of its row; two detections of a frame can get the
    same id. A track stores its latest embedding. With 'paper' the category of a track never changes and no track is
    ever deleted, as in the original code.
    """

    def __init__(self, config: PublishedConfig | None = None) -> None:
        self.config = config or PublishedConfig()
        self._table = TrackTable()

    def __len__(self) -> int:
        """Number of tracks in memory."""
        return len(self._table)

    def reset(self) -> None:
        """Delete every track, and count track ids from 1 again. The next stamp may be any."""
        self._table.clear()

    def update(
        self, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike, embeddings: ArrayLike, stamp: float
    ) -> Tracks:
        """As `IdentityMemory.update`. The class of each track is that of its detection."""
        detections = Detections.validated(boxes, scores, class_ids, embeddings)
        self._table.start_frame(detections, stamp)
        track_ids, match_scores = np.zeros(len(detections), np.uint32), np.zeros(len(detections), np.float32)
        if len(detections):
            track_ids, match_scores = self._associate(detections)
        return self._table.answer(track_ids, detections.class_ids.copy(), match_scores, self.config.min_hits)

    def _associate(self, detections: Detections) -> tuple[NDArray[np.uint32], Floats]:
        self._reserve(len(self), detections)
        log_probability = association.log_probabilities(detections.embeddings, self._table.embeddings)
        columns = self._assign(detections, log_probability)
        matched, starting = np.flatnonzero(columns > NEW), np.flatnonzero(columns == NEW)
        track_ids, match_scores = np.zeros(len(columns), np.uint32), np.zeros(len(columns), np.float32)
        track_ids[matched] = self._continue(columns[matched] - 1, detections[matched])
        match_scores[matched] = np.exp(log_probability[matched, columns[matched]])
        if self.config.rule == 'mmtracking':
            unseen_frames = self._table.frame - self._table.rows['last_frame']
            self._table.remove(unseen_frames >= self.config.max_age_frames)
        self._reserve(len(self) + len(starting), detections)
        track_ids[starting] = self._table.append(detections[starting])
        match_scores[starting] = 1
        return track_ids, match_scores

    def _assign(self, detections: Detections, log_probability: Floats) -> association.Columns:
        table, rule = self._table.rows, self.config.rule
        iou = box_iou(detections.boxes, table['box'], inclusive=rule == 'paper')
        same_category = detections.class_ids[:, None] == table['class_id'].copy()
        if rule == 'mmtracking':
            log_probability = association.log_of_softmax(log_probability)
        scores = association.matching_scores(
            log_probability, detections.scores, iou, same_category, self.config.weights
        )
        return association.assign_in_turn(scores, lowest=_LOWEST_SCORE[rule])

    def _continue(self, rows: NDArray[np.intp], detections: Detections) -> NDArray[np.uint32]:
        """Update the tracks of these rows. A row may occur twice: its last detection counts."""
        self._table.embeddings[rows] = detections.embeddings
        if self.config.rule != 'paper':
            self._table.rows['class_id'][rows] = detections.class_ids
        return self._table.see(rows, detections)

    def _reserve(self, count: int, detections: Detections) -> None:
        self._table.reserve(count, detections.embeddings.shape[1], capacity=2 * count)
