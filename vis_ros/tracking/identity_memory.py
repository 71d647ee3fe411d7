"""IdentityMemory: the objects seen so far, and the number of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vis_ros.instances import CONFIRMED, TENTATIVE
from vis_ros.tracking import association
from vis_ros.tracking.association import NEW, Columns, Floats
from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.detections import Detections

_IDENTITY = np.dtype(
    [
        ('track_id', np.uint32),
        ('box', np.float32, 4),
        ('velocity', np.float32, 2),
        ('class_id', np.int32),
        ('label', np.int32),
        ('label_lead', np.float32),
        ('hits', np.uint32),
        ('first_seen', np.float64),
        ('last_seen', np.float64),
        ('last_frame', np.int64),
    ]
)
"""What is remembered of an identity beside its embedding. velocity: of the middle of its box, pixels a second;
class_id: of its latest detection; label: the class that most of its detections have, and by how much it leads."""

_SPEED_RATE = np.float32(0.5)
"""Share of the newest displacement in a velocity."""

_LONGEST_LEAD = np.float32(5)
"""A class is displaced once others had so much more score together, however long it led."""

_RECENT_FRAMES = 2
"""A weak detection continues only what was seen in one of so many frames before."""


@dataclass(frozen=True, eq=False)
class Identities:
    """What the memory knows of some identities: parallel arrays (N,).

    hits: uint32, frames in which it was seen.
    states: uint8, TENTATIVE or CONFIRMED.
    first_seen: float64, stamp in seconds.
    """

    hits: NDArray[np.uint32]
    states: NDArray[np.uint8]
    first_seen: NDArray[np.float64]


class IdentityMemory:
    """Gives the detections of each frame of one camera the numbers of the objects that they are.

    An identity is an embedding, its latest box and category (4 KB of embedding, not 50 KB of RoI feature; the layers
    that make it do not depend on the pair, so eq. 2 is the same), its times and its hits. The embedding is the latest
    in the published rules and a running mean in 'one_to_one', which also keeps the velocity.
    Numbers count from 1 and are never used again within an epoch; `reset` begins the next epoch.
    With the rule 'one_to_one' all arrays have their full size from the first frame on and never grow; with 'paper'
    nothing is ever forgotten, as in the original.

    >>> import numpy as np
    >>> memory = IdentityMemory(AssociationConfig())
    >>> boxes, scores = np.array([[0, 0, 10, 10], [50, 50, 70, 70]]), np.array([0.9, 0.8])
    >>> embeddings = np.array([[3.0, 0.0], [0.0, 3.0]])
    >>> memory.update(boxes, scores, np.array([0, 0]), embeddings, stamp=0.0)
    array([1, 2], dtype=uint32)
    >>> memory.update(boxes[::-1] + 2, scores, np.array([0, 0]), embeddings[::-1], stamp=0.1)
    array([2, 1], dtype=uint32)
    """

    def __init__(self, config: AssociationConfig | None = None) -> None:
        self.config = self._config = config or AssociationConfig()
        """The settings; they may be replaced at any time, from another thread too, and hold from the next update on."""
        self.epoch = 0
        """Raised by one at each `reset`."""
        self._identities = np.zeros(0, _IDENTITY)
        self._embeddings = np.zeros((0, 0), np.float32)
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._next_id = 1
        self._frame = 0
        self._stamp = -math.inf
        self.match_scores = np.zeros(0, np.float32)
        """(N,) float32 of the last update: p_i(n) of eq. 2 for the given identity, 1 for a new one, 0 for none."""
        self.class_ids = np.zeros(0, np.int32)
        """(N,) int32 of the last update: the class that most detections of the identity had, weighted by their scores
        (Boyer and Moore's majority vote); the detection's own without an identity and in the published rules."""

    def __len__(self) -> int:
        """How many identities are held."""
        return self._count

    def reset(self) -> None:
        """Forget every identity, count from 1 again and raise the epoch. The next stamp may be any."""
        self._clear()
        self.epoch += 1

    def update(
        self, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike, embeddings: ArrayLike, stamp: float
    ) -> NDArray[np.uint32]:
        """Associate the detections of the next frame. Call it for every frame, also for one without detections.

        Args:
            boxes: (N, 4) x0 y0 x1 y1 in source pixels.
            scores: (N,) of the detector, in [0, 1].
            class_ids: (N,) integers.
            embeddings: (N, D), D the same in every frame of an epoch; not necessarily normalised.
            stamp: time of the frame in seconds, not before that of the previous frame.

        Returns:
            (N,) uint32 track ids, 0 where a detection gets no identity.

        Raises:
            ValueError: shapes that do not fit, numbers that are not finite or out of range (the message names the first
                such detection), a stamp that goes back (call `reset` where time jumps). The memory is unchanged.
        """
        detections = Detections.validated(boxes, scores, class_ids, embeddings)
        self._check_embedding_size(detections)
        self._check_stamp(stamp)
        self._config = self.config  # the same settings for the whole frame
        self._frame += 1
        self._stamp = stamp
        ours = self._config.rule == 'one_to_one'
        if ours:
            self._forget(stamp - self._held['last_seen'] > self._config.max_age_s)
            self._evict(len(self) - self._config.max_identities)
        count = len(detections)
        track_ids, self.match_scores = np.zeros(count, np.uint32), np.zeros(count, np.float32)
        if count:
            order = detections.order_by_content() if ours else np.arange(count)
            track_ids[order], self.match_scores[order] = self._associate(detections[order])
        self.class_ids = detections.class_ids.copy()
        if ours:
            numbered = track_ids > 0
            rows = np.searchsorted(self._held['track_id'], track_ids[numbered])
            self.class_ids[numbered] = self._held['label'][rows]
        return track_ids

    def lookup(self, track_ids: ArrayLike) -> Identities:
        """Hits, state and first stamp of identities (N,) by number. Raises KeyError for one that is not held."""
        wanted = np.asarray(track_ids, np.uint32)
        rows = np.searchsorted(self._held['track_id'], wanted)
        known = rows < len(self)
        known[known] = self._held['track_id'][rows[known]] == wanted[known]
        if not known.all():
            raise KeyError(f'no identity {wanted[~known][0]} is held in epoch {self.epoch}')
        held = self._held[rows]
        states = np.where(held['hits'] >= self._config.min_hits, CONFIRMED, TENTATIVE).astype(np.uint8)
        return Identities(held['hits'], states, held['first_seen'])

    @property
    def _held(self) -> NDArray[np.void]:
        """The rows in use, by ascending number: identities are appended as they are born."""
        return self._identities[: self._count]

    def _check_embedding_size(self, detections: Detections) -> None:
        size, held = detections.embeddings.shape[1], self._embeddings.shape[1]
        if len(detections) and len(self) and size != held:
            raise ValueError(f'embeddings have {size} numbers, those of the identities in memory have {held}')

    def _check_stamp(self, stamp: float) -> None:
        if not math.isfinite(stamp):
            raise ValueError(f'stamp {stamp} is not a time in seconds')
        if stamp < self._stamp:
            raise ValueError(
                f'stamp {stamp:.9f} s is before {self._stamp:.9f} s, that of the previous frame: '
                'where time jumps back, reset() the memory first'
            )

    def _associate(self, detections: Detections) -> tuple[NDArray[np.uint32], Floats]:
        """Track ids and match scores of at least one detection; the memory learns what it saw."""
        self._reserve(len(self), detections)
        log_probability = association.log_probabilities(detections.embeddings, self._embeddings[: self._count])
        columns, born = self._assign(detections, log_probability)
        matched = np.flatnonzero(columns > NEW)
        track_ids, match_scores = np.zeros(len(columns), np.uint32), np.zeros(len(columns), np.float32)
        track_ids[matched] = self._continue(columns[matched] - 1, detections[matched])
        match_scores[matched] = np.exp(log_probability[matched, columns[matched]])
        if self._config.rule == 'mmtracking':
            self._forget(self._frame - self._held['last_frame'] >= self._config.max_age_frames)
        begun = self._begin(detections[born])
        born = born[: len(begun)]
        track_ids[born] = begun
        match_scores[born] = 1
        return track_ids, match_scores

    def _assign(self, detections: Detections, log_probability: Floats) -> tuple[Columns, NDArray[np.intp]]:
        """Column of each detection, and the rows that begin an identity."""
        config, held = self._config, self._held
        ours = config.rule == 'one_to_one'
        expected = self._expected_boxes() if ours else held['box']
        iou = association.box_iou(detections.boxes, expected, inclusive=config.rule == 'paper')
        same_category = detections.class_ids[:, None] == held['class_id'].copy()  # contiguous: twice as fast
        if ours:
            same_category |= (iou > config.continuity_iou) & (held['last_frame'] == self._frame - 1)
        elif config.rule == 'mmtracking':
            log_probability = association.log_of_softmax(log_probability)
        cue = association.matching_scores(
            log_probability, detections.scores, iou, same_category, config.matching_weights
        )
        if ours:
            confident = detections.scores >= np.float32(config.confident_score)
            recent = held['last_frame'] >= self._frame - _RECENT_FRAMES
            columns = association.assign_in_stages(cue, iou, recent, confident, config.weak_iou)
            return columns, association.new_tracks(
                columns, detections.scores, detections.boxes, config.new_track_score, config.new_track_iou
            )
        columns = association.assign_in_turn(cue, floor=-100 if config.rule == 'paper' else -1e6)
        return columns, np.flatnonzero(columns == NEW)

    def _continue(self, rows: NDArray[np.intp], detections: Detections) -> NDArray[np.uint32]:
        """Rows of identities are seen again. A row may come twice in the published rules: its last detection counts."""
        held = self._held
        if self._config.rule == 'one_to_one':
            held['velocity'][rows] = self._velocities(rows, detections.boxes)
            rate = np.maximum(np.float32(self._config.memory_rate), 1 / (held['hits'][rows] + np.float32(1)))[:, None]
            embeddings = self._embeddings[rows]
            embeddings += rate * (detections.embeddings - embeddings)
            self._embeddings[rows] = embeddings
            self._vote(rows, detections)
        else:
            self._embeddings[rows] = detections.embeddings
        held['box'][rows] = detections.boxes
        if self._config.rule != 'paper':  # which never changes the category of an identity
            held['class_id'][rows] = detections.class_ids
        held['last_seen'][rows] = self._stamp
        held['last_frame'][rows] = self._frame
        held['hits'][rows] += 1
        return held['track_id'][rows]

    def _vote(self, rows: NDArray[np.intp], detections: Detections) -> None:
        """Detections speak for their class; a class that loses its lead gives way to the one that took it."""
        held = self._held
        agree = held['label'][rows] == detections.class_ids
        lead = held['label_lead'][rows] + np.where(agree, detections.scores, -detections.scores)
        held['label'][rows] = np.where(lead < 0, detections.class_ids, held['label'][rows])
        held['label_lead'][rows] = np.minimum(np.abs(lead), _LONGEST_LEAD)

    def _expected_boxes(self) -> Floats:
        """(M, 4) where the identities are by now if they go on as they did."""
        held = self._held
        elapsed = np.minimum(self._stamp - held['last_seen'], self._config.motion_s).astype(np.float32)
        shift = held['velocity'] * elapsed[:, None]
        boxes: Floats = held['box'] + np.concatenate([shift, shift], axis=1)
        return boxes

    def _velocities(self, rows: NDArray[np.intp], boxes: Floats) -> Floats:
        """(R, 2) velocities of identities that are now seen in these boxes (R, 4)."""
        held = self._held[rows]
        elapsed = self._stamp - held['last_seen']
        divisor = elapsed.astype(np.float32)
        known = (divisor > 0) & (elapsed <= self._config.motion_s)
        displacement = (boxes[:, :2] + boxes[:, 2:] - held['box'][:, :2] - held['box'][:, 2:]) / 2
        newest = displacement / np.where(known, divisor, 1)[:, None]
        rate = np.where(held['hits'] == 1, np.float32(1), _SPEED_RATE)[:, None]
        moved = held['velocity'] + rate * (newest - held['velocity'])
        at_once = np.where((divisor > 0)[:, None], np.float32(0), held['velocity'])
        velocities: Floats = np.where(known[:, None], moved, at_once)
        return velocities

    def _begin(self, detections: Detections) -> NDArray[np.uint32]:
        """Numbers of new identities; fewer than detections where the memory is full of identities of this frame."""
        if self._config.rule == 'one_to_one':
            self._evict(len(self) + len(detections) - self._config.max_identities)
            detections = detections[: self._config.max_identities - len(self)]
        self._reserve(len(self) + len(detections), detections)
        rows = slice(self._count, self._count + len(detections))
        born = self._identities[rows]
        born['track_id'] = np.arange(self._next_id, self._next_id + len(detections))
        born['box'] = detections.boxes
        born['velocity'] = 0
        born['class_id'] = born['label'] = detections.class_ids
        born['label_lead'] = detections.scores
        born['hits'] = 1
        born['first_seen'] = born['last_seen'] = self._stamp
        born['last_frame'] = self._frame
        self._embeddings[rows] = detections.embeddings
        self._count += len(detections)
        self._next_id += len(detections)
        return born['track_id'].copy()

    def _evict(self, excess: int) -> None:
        """Forget so many identities, the longest unseen first (then the fewest hits), but none of this frame."""
        if excess <= 0:
            return
        held = self._held
        unseen = np.flatnonzero(held['last_frame'] < self._frame)
        order = np.lexsort((held['hits'][unseen], held['last_seen'][unseen]))
        forgotten = np.zeros(len(held), bool)
        forgotten[unseen[order[:excess]]] = True
        self._forget(forgotten)

    def _forget(self, forgotten: NDArray[np.bool_]) -> None:
        """Close the gaps that the forgotten rows leave; the order stays."""
        if not forgotten.any():
            return
        first = int(forgotten.argmax())
        kept = first + np.flatnonzero(~forgotten[first:])
        self._count = first + len(kept)
        self._identities[first : self._count] = self._identities[kept]
        self._embeddings[first : self._count] = self._embeddings[kept]

    def _reserve(self, count: int, detections: Detections) -> None:
        """Room for so many identities: all that may ever be for 'one_to_one', twice as many for the others."""
        embedding_size = detections.embeddings.shape[1]
        if count <= len(self._identities) and embedding_size == self._embeddings.shape[1]:
            return
        capacity = self._config.max_identities if self._config.rule == 'one_to_one' else 2 * count
        identities, embeddings = np.zeros(capacity, _IDENTITY), np.zeros((capacity, embedding_size), np.float32)
        if len(self):
            identities[: self._count], embeddings[: self._count] = self._held, self._embeddings[: self._count]
        self._identities, self._embeddings = identities, embeddings
