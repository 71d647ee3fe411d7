"""TrackTable: the rows in which a memory keeps its tracks, one row and one embedding a track, ordered by track id."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import CONFIRMED, TENTATIVE
from vis_ros.tracking.detections import Detections
from vis_ros.tracking.tracks import Tracks

_ROW = np.dtype(
    [
        ('track_id', np.uint32),
        ('box', np.float32, 4),
        ('velocity', np.float32, 2),
        ('class_id', np.int32),
        ('label', np.int32),
        ('classes', np.int32, 4),
        ('votes', np.float32, 4),
        ('hits', np.uint32),
        ('first_seen', np.float64),
        ('last_seen', np.float64),
        ('last_frame', np.int64),
    ]
)
"""What is stored of a track beside its embedding. velocity: of the center of its box, pixels per second; class_id: of
its latest detection; label: the class that the track is named after; classes, votes: what its detections say, and how
strongly."""


class TrackTable:
    """Storage for tracks, and the clock of the frames they are seen in. Rows are appended and removed, never
    reordered.
    """

    def __init__(self) -> None:
        self._rows = np.zeros(0, _ROW)
        self._embeddings = np.zeros((0, 0), np.float32)
        self.clear()

    def clear(self) -> None:
        """Delete every track, and count track ids from 1 again. The next stamp may be any."""
        self._count = 0
        self._next_id = 1
        self.frame = 0
        self.stamp = -math.inf

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> NDArray[np.void]:
        """(M,) rows in use, a view; by ascending track id."""
        return self._rows[: self._count]

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(M, D) embeddings of the rows in use, a view."""
        return self._embeddings[: self._count]

    def start_frame(self, detections: Detections, stamp: float) -> None:
        """Advance to the next frame. Raises ValueError, with nothing changed, where it does not fit what is stored."""
        size, stored = detections.embeddings.shape[1], self._embeddings.shape[1]
        if len(detections) and len(self) and size != stored:
            raise ValueError(f'embeddings have {size} numbers, those of the tracks in memory have {stored}')
        if not math.isfinite(stamp):
            raise ValueError(f'stamp {stamp} is not a time in seconds')
        if stamp < self.stamp:
            raise ValueError(
                f'stamp {stamp:.9f} s is before {self.stamp:.9f} s, the stamp of the previous frame; '
                'call reset() where time jumps back'
            )
        self.frame += 1
        self.stamp = stamp

    def reserve(self, count: int, embedding_size: int, capacity: int) -> None:
        """Make room for `count` tracks; where there is not enough, allocate room for `capacity` of them."""
        if count <= len(self._rows) and embedding_size == self._embeddings.shape[1]:
            return
        rows, embeddings = np.zeros(capacity, _ROW), np.zeros((capacity, embedding_size), np.float32)
        if len(self):
            rows[: self._count], embeddings[: self._count] = self.rows, self.embeddings
        self._rows, self._embeddings = rows, embeddings

    def append(self, detections: Detections) -> NDArray[np.uint32]:
        """Start a track with each detection, in reserved room; returns the track ids."""
        rows = slice(self._count, self._count + len(detections))
        started = self._rows[rows]
        started['track_id'] = np.arange(self._next_id, self._next_id + len(detections))
        started['box'] = detections.boxes
        started['velocity'] = 0
        started['class_id'] = started['label'] = detections.class_ids
        started['classes'], started['votes'] = detections.class_ids[:, None], 0
        started['votes'][:, 0] = detections.scores
        started['hits'] = 1
        started['first_seen'] = started['last_seen'] = self.stamp
        started['last_frame'] = self.frame
        self._embeddings[rows] = detections.embeddings
        self._count += len(detections)
        self._next_id += len(detections)
        return started['track_id'].copy()

    def see(self, rows: NDArray[np.intp], detections: Detections) -> NDArray[np.uint32]:
        """Move tracks to their detections of this frame; returns the track ids. Of a row given twice the last one
        counts.
        """
        table = self.rows
        table['box'][rows] = detections.boxes
        table['last_seen'][rows] = self.stamp
        table['last_frame'][rows] = self.frame
        table['hits'][rows] += 1
        return table['track_id'][rows]

    def remove(self, removed: NDArray[np.bool_]) -> None:
        """Delete rows (M,), and close the gaps they leave; the order stays."""
        if not removed.any():
            return
        first = int(removed.argmax())
        kept = first + np.flatnonzero(~removed[first:])
        self._count = first + len(kept)
        self._rows[first : self._count] = self._rows[kept]
        self._embeddings[first : self._count] = self._embeddings[kept]

    def answer(
        self,
        track_ids: NDArray[np.uint32],
        class_ids: NDArray[np.int32],
        match_scores: NDArray[np.float32],
        min_hits: int,
    ) -> Tracks:
        """The `Tracks` of detections (N,) with these ids. Tracks with fewer than `min_hits` hits are TENTATIVE."""
        tracked = track_ids > 0
        table = self.rows[np.searchsorted(self.rows['track_id'], track_ids[tracked])]
        hits, states = np.zeros(len(track_ids), np.uint32), np.zeros(len(track_ids), np.uint8)
        first_seen = np.zeros(len(track_ids), np.float64)
        hits[tracked], first_seen[tracked] = table['hits'], table['first_seen']
        states[tracked] = np.where(table['hits'] >= min_hits, CONFIRMED, TENTATIVE)
        return Tracks(track_ids, class_ids, match_scores, hits, states, first_seen)
