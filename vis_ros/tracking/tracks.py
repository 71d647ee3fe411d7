"""Tracks: what a memory answers for the detections of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of the N detections of one frame, as parallel arrays (N,), in the order of the detections.

    track_ids: uint32, 0 for a detection without a track. The other arrays mean nothing there.
    class_ids: int32, the class of the track: the one that most of its detections had, weighted by score.
    match_scores: float32, association probability p_i(n) (eq. 2 of MaskTrack R-CNN); 1 for a new track, 0 for none.
    hits: uint32, frames in which the track was detected, this one included.
    states: uint8, TENTATIVE or CONFIRMED.
    first_seen: float64, stamp in seconds of the first frame of the track.
    """

    track_ids: NDArray[np.uint32]
    class_ids: NDArray[np.int32]
    match_scores: NDArray[np.float32]
    hits: NDArray[np.uint32]
    states: NDArray[np.uint8]
    first_seen: NDArray[np.float64]
