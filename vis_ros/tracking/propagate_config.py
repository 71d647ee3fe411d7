"""PropagateConfig: when propagated tracks start, when they count as lost, and how much is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PropagateConfig:
    """Settings of a `Propagate` tracker.

    start_from_detections: start tracks from detections, in the first frame and then in every `detect_every`-th one.
        Otherwise tracks start only from prompts.
    detect_every: frames between two runs of the detector for new and lost objects.
    new_track_score: minimum score of a detection to start a track.
    free_share: share of a new detection's mask that must be on no track.
    max_objects: maximum number of tracks.
    min_area: mask pixels at working size; a smaller mask has vanished.
    max_growth: a mask larger than the running mean area times this has exploded.
    keep_score: mean probability on its mask below which a track has drifted. A single object has more at every pixel;
    of
        several, one wins even where all are unlikely.
    recover_score: mean probability on its mask that a lost track needs to be recovered.
    max_age_s: a lost track that a detection started is deleted after this many seconds; one from a prompt is kept.
    history_s, history_frames: how far back prompts can refer: frames of this many seconds, and at most this many
    frames.
    """

    start_from_detections: bool = True
    detect_every: int = 10
    new_track_score: float = 0.6
    free_share: float = 0.7
    max_objects: int = 8
    min_area: int = 20
    max_growth: float = 4.0
    keep_score: float = 0.5
    recover_score: float = 0.6
    max_age_s: float = 10.0
    history_s: float = 2.0
    history_frames: int = 30
