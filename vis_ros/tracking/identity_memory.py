"""IdentityMemory: the tracks of one camera, and the rule that assigns detections to them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.masks.iou import box_iou
from vis_ros.tracking import association
from vis_ros.tracking.association import NEW, Columns, Floats
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detections import Detections
from vis_ros.tracking.track_table import TrackTable
from vis_ros.tracking.tracks import Tracks

_SPEED_RATE = np.float32(0.5)
"""Weight of the newest displacement in a velocity."""

_VOTES_KEPT = np.float32(0.98)
"""Share of the votes that is left after another detection: about fifty of them decide."""
_RENAMING_LEAD = np.float32(1.25)
"""How many times the votes of its name another class must have to rename a track."""

_RECENT_FRAMES = 2
"""A weak detection continues only a track that was seen in one of this many previous frames."""


class Memory(Protocol):
    """What gives the detections of each frame of one camera their track ids."""

    def update(
        self, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike, embeddings: ArrayLike, stamp: float
    ) -> Tracks:
        """Associate the detections of the next frame; see `IdentityMemory.update`."""
        ...

    def reset(self) -> None:
        """Delete every track, and count track ids from 1 again. The next stamp may be any."""
        ...

    def __len__(self) -> int:
        """Number of tracks in memory."""
        ...


class IdentityMemory:
    """The tracks of one camera. Each frame it gives every detection a track id that no other detection of that frame
    has.

    A track stores a running mean of its embeddings, its latest box, class label and velocity, its times and its hits.
    Storing the embedding is equivalent to storing the RoI feature of MaskTrack R-CNN (Yang et al. 2019, section 3.3),
    since the layers in between do not depend on the pair, and takes 4 KB instead of 50 KB.
    Track ids count from 1 and are never reused before `reset`. All arrays have their full size from the first frame on.

    >>> import numpy as np
    >>> memory = IdentityMemory(AssociationConfig())
    >>> boxes, scores = np.array([[0, 0, 10, 10], [50, 50, 70, 70]]), np.array([0.9, 0.8])
    >>> embeddings = np.array([[3.0, 0.0], [0.0, 3.0]])
    >>> memory.update(boxes, scores, np.array([0, 0]), embeddings, stamp=0.0).track_ids
    array([1, 2], dtype=uint32)
    >>> memory.update(boxes[::-1] + 2, scores, np.array([0, 0]), embeddings[::-1], stamp=0.1).track_ids
    array([2, 1], dtype=uint32)
    """

    def __init__(self, config: AssociationConfig | None = None) -> None:
        self.config = self._config = config or AssociationConfig()
        """The settings. They may be replaced at any time, also from another thread, and apply from the next update."""
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
        """Associate the detections of the next frame. Call it for every frame, also for one without detections.

        Args:
            boxes: (N, 4) x0 y0 x1 y1 in source pixels.
            scores: (N,) of the detector, in [0, 1].
            class_ids: (N,) integers.
            embeddings: (N, D), the same D in every frame until `reset`; need not be normalized.
            stamp: time of the frame in seconds, not before that of the previous frame.

        Raises:
            ValueError: shapes do not match, a number is not finite or out of range (the message names the first such
                detection), or the stamp goes back. The memory is unchanged.
        """
        detections = Detections.validated(boxes, scores, class_ids, embeddings)
        self._table.start_frame(detections, stamp)
        self._config = self.config  # the same settings for the whole frame
        self._table.remove(stamp - self._table.rows['last_seen'] > self._config.max_age_s)
        self._evict(len(self) - self._config.max_identities)
        track_ids, match_scores = np.zeros(len(detections), np.uint32), np.zeros(len(detections), np.float32)
        if len(detections):
            order = detections.order_by_content()
            track_ids[order], match_scores[order] = self._associate(detections[order])
        return self._table.answer(track_ids, self._labels(detections, track_ids), match_scores, self._config.min_hits)

    def start(self, box: Floats, class_id: int, embedding: Floats) -> int:
        """Start a track in the last frame by other means than a detection, and return its id. Its first detection
        names it.

        Args:
            box: (4,) x0 y0 x1 y1 in source pixels.
            class_id: until then.
            embedding: (D,); zeros if there is none, which is as similar to a detection as a new object.
        """
        one = Detections(box[None], np.zeros(1, np.float32), np.array([class_id], np.int32), embedding[None])
        self._evict(len(self) + 1 - self._config.max_identities)
        self._table.reserve(len(self) + 1, len(embedding), capacity=max(self._config.max_identities, len(self) + 1))
        return int(self._table.append(one)[0])

    def keep(self, track_id: int, box: Floats | None = None) -> None:
        """Do not let a track grow old: it is seen in the last frame by other means, or looked for.

        box: (4,) where it is; None if that is unknown. Hits are detections and do not grow. A track that is not in
        memory any more is left alone.
        """
        row = self._table.rows['track_id'] == track_id
        self._table.rows['last_seen'][row] = self._table.stamp
        if box is not None:
            self._table.rows['last_frame'][row] = self._table.frame
            self._table.rows['box'][row] = box

    def _labels(self, detections: Detections, track_ids: NDArray[np.uint32]) -> NDArray[np.int32]:
        """(N,) class of the track of each detection; the detection's own class where it has no track."""
        labels, tracked = detections.class_ids.copy(), track_ids > 0
        table = self._table.rows
        labels[tracked] = table['label'][np.searchsorted(table['track_id'], track_ids[tracked])]
        return labels

    def _associate(self, detections: Detections) -> tuple[NDArray[np.uint32], Floats]:
        """Track ids and match scores of at least one detection; updates the tracks."""
        self._reserve(len(self), detections)
        log_probability = association.log_probabilities(detections.embeddings, self._table.embeddings)
        columns, starting = self._assign(detections, log_probability)
        matched = np.flatnonzero(columns > NEW)
        track_ids, match_scores = np.zeros(len(columns), np.uint32), np.zeros(len(columns), np.float32)
        track_ids[matched] = self._continue(columns[matched] - 1, detections[matched])
        match_scores[matched] = np.exp(log_probability[matched, columns[matched]])
        started = self._start(detections[starting])
        starting = starting[: len(started)]
        track_ids[starting] = started
        match_scores[starting] = 1
        return track_ids, match_scores

    def _assign(self, detections: Detections, log_probability: Floats) -> tuple[Columns, NDArray[np.intp]]:
        """Column of each detection, and the rows that start a track."""
        config, table, frame = self._config, self._table.rows, self._table.frame
        iou = box_iou(detections.boxes, self._expected_boxes())
        same_category = detections.class_ids[:, None] == table['class_id'].copy()  # contiguous: twice as fast
        same_category |= (iou > config.continuity_iou) & (table['last_frame'] == frame - 1)
        scores = association.matching_scores(log_probability, detections.scores, iou, same_category, config.weights)
        confident = detections.scores >= np.float32(config.confident_score)
        recent = table['last_frame'] >= frame - _RECENT_FRAMES
        columns = association.assign_in_stages(scores, iou, recent, confident, config.weak_iou)
        return columns, association.new_tracks(
            columns, detections.scores, detections.boxes, config.new_track_score, config.new_track_iou
        )

    def _continue(self, rows: NDArray[np.intp], detections: Detections) -> NDArray[np.uint32]:
        """Update the tracks of these rows with their detections; returns the track ids."""
        table, stored = self._table.rows, self._table.embeddings
        table['velocity'][rows] = self._velocities(rows, detections.boxes)
        rate = np.maximum(np.float32(self._config.memory_rate), 1 / (table['hits'][rows] + np.float32(1)))[:, None]
        embeddings = stored[rows]
        embeddings += rate * (detections.embeddings - embeddings)
        stored[rows] = embeddings
        self._vote(rows, detections)
        table['class_id'][rows] = detections.class_ids
        return self._table.see(rows, detections)

    def _vote(self, rows: NDArray[np.intp], detections: Detections) -> None:
        """Name tracks after the class with the most votes: the scores of their detections, of which older ones count
        less. A lead keeps the name from changing to and fro between two classes.
        """
        table, each = self._table.rows, np.arange(len(rows))
        classes, votes = table['classes'][rows], table['votes'][rows] * _VOTES_KEPT
        known = classes == detections.class_ids[:, None]
        slot = np.where(known.any(1), known.argmax(1), votes.argmin(1))
        votes[each, slot] = np.where(known.any(1), votes[each, slot], 0) + detections.scores
        classes[each, slot] = detections.class_ids
        table['classes'][rows], table['votes'][rows] = classes, votes
        label, leader = table['label'][rows], votes.argmax(1)
        behind = np.where(classes == label[:, None], votes, 0).max(1) * _RENAMING_LEAD
        table['label'][rows] = np.where(votes[each, leader] > behind, classes[each, leader], label)

    def _expected_boxes(self) -> Floats:
        """(M, 4) boxes of the tracks, moved by their velocity to the time of this frame."""
        table = self._table.rows
        elapsed = np.minimum(self._table.stamp - table['last_seen'], self._config.motion_s).astype(np.float32)
        shift = table['velocity'] * elapsed[:, None]
        boxes: Floats = table['box'] + np.concatenate([shift, shift], axis=1)
        return boxes

    def _velocities(self, rows: NDArray[np.intp], boxes: Floats) -> Floats:
        """(R, 2) velocities of tracks that are now detected in these boxes (R, 4)."""
        table = self._table.rows[rows]
        elapsed = self._table.stamp - table['last_seen']
        divisor = elapsed.astype(np.float32)
        known = (divisor > 0) & (elapsed <= self._config.motion_s)
        displacement = (boxes[:, :2] + boxes[:, 2:] - table['box'][:, :2] - table['box'][:, 2:]) / 2
        newest = displacement / np.where(known, divisor, 1)[:, None]
        rate = np.where(table['hits'] == 1, np.float32(1), _SPEED_RATE)[:, None]
        moved = table['velocity'] + rate * (newest - table['velocity'])
        at_once = np.where((divisor > 0)[:, None], np.float32(0), table['velocity'])
        velocities: Floats = np.where(known[:, None], moved, at_once)
        return velocities

    def _start(self, detections: Detections) -> NDArray[np.uint32]:
        """Track ids of new tracks; fewer than detections where the memory is full of tracks seen in this frame."""
        self._evict(len(self) + len(detections) - self._config.max_identities)
        detections = detections[: self._config.max_identities - len(self)]
        self._reserve(len(self) + len(detections), detections)
        return self._table.append(detections)

    def _evict(self, excess: int) -> None:
        """Delete `excess` tracks, the longest unseen first (then the one with fewest hits), but none seen in this
        frame.
        """
        if excess <= 0:
            return
        table = self._table.rows
        unseen = np.flatnonzero(table['last_frame'] < self._table.frame)
        order = np.lexsort((table['hits'][unseen], table['last_seen'][unseen]))
        removed = np.zeros(len(table), bool)
        removed[unseen[order[:excess]]] = True
        self._table.remove(removed)

    def _reserve(self, count: int, detections: Detections) -> None:
        self._table.reserve(count, detections.embeddings.shape[1], capacity=self._config.max_identities)
