"""AssociationConfig: how detections are assigned to tracks, and how long tracks are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class AssociationConfig:
    """Settings of an `IdentityMemory`. Construction checks them; ValueError names the field, its value and its
    range.
    """

    weights: tuple[float, float, float] = (1.0, 4.0, 3.0)
    """a, b, c of the matching score log p_i(n) + a log s_i + b IoU + c [same category], measured in
    doc/measurements/association.md; MaskTrack R-CNN published (1, 2, 10). Higher a: in a conflict the better detection
    wins, not the better match. Higher b: position counts more than appearance. Higher c: a wrong class label is more
    likely to break a track."""

    min_hits: int = 3
    """A track is TENTATIVE until it was detected in this many frames."""

    new_track_score: float = 0.6
    """Weaker detections can continue a track but not start one. Lower finds objects sooner, and more false ones."""

    new_track_iou: float = 0.25
    """A detection that overlaps a tracked one by more than this IoU is a second detection of the same object and
    starts no track. Lower rejects more duplicates, but also objects that appear in front of another one; 1 rejects
    none.
    """

    confident_score: float = 0.6
    """Detections from this score on are assigned first, by matching score. Weaker ones, mostly of half-hidden
    objects, can only continue a track that is still free and was seen in one of the two previous frames, by box IoU
    (ByteTrack, Zhang et al. 2022). Higher: fewer tracks drift to bad detections, but fewer objects are recognized in
    a bad view; 0 assigns all at once.
    """

    weak_iou: float = 0.3
    """A weaker detection must overlap the track by more than this IoU. Lower continues more tracks, and more
    wrongly.
    """

    memory_rate: float = 0.1
    """The embedding of a track is the mean of its detections' embeddings: of all at first, then with at least this
    weight for the newest. Lower: a bad view does less harm. Higher: follows a change of appearance sooner; 1: the
    newest only.
    """

    motion_s: float = 1.0
    """The box of a track is predicted with its velocity for at most this many seconds since the last detection. After a
    longer gap it has no velocity. 0: no prediction."""

    continuity_iou: float = 0.3
    """A detection that overlaps a track of the previous frame by more than this IoU counts as of the same category,
    whatever its label: labels flicker, objects do not. 1 always trusts the label."""

    max_age_s: float = 10.0
    """A track that was not seen for this many seconds is deleted. Longer bridges longer occlusions, but the id may
    go to a new object that looks alike.
    """

    max_identities: int = 256
    """Maximum number of tracks in memory; the one unseen for longest is deleted first. Bounds memory and time."""

    def __post_init__(self) -> None:
        if len(self.weights) != 3 or not all(0 <= weight < math.inf for weight in self.weights):
            raise ValueError(f'weights {self.weights!r} are not three finite numbers (a, b, c) from 0')
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} {value!r} is outside {low} .. {high}')
        for field in fields(self):
            if field.type == 'int' and not isinstance(getattr(self, field.name), int):
                raise ValueError(f'{field.name} {getattr(self, field.name)!r} is not a whole number')


_RANGES: tuple[tuple[str, float, float], ...] = (
    ('min_hits', 1, math.inf),
    ('new_track_score', 0, 1),
    ('new_track_iou', 0, 1),
    ('confident_score', 0, 1),
    ('weak_iou', 0, 1),
    ('memory_rate', 0, 1),
    ('motion_s', 0, math.inf),
    ('continuity_iou', 0, 1),
    ('max_age_s', 0, math.inf),
    ('max_identities', 1, math.inf),
)
