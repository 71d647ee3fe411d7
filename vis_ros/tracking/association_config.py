"""AssociationConfig: how detections are matched with identities, and for how long those are remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

RuleName = Literal['one_to_one', 'paper', 'mmtracking']


@dataclass(frozen=True)
class AssociationConfig:
    """Settings of an `IdentityMemory`; checked at construction, ValueError names the field, its value and its range.

    'one_to_one' is ours. 'paper' is the rule of the official MaskTrackRCNN and 'mmtracking' that of mmtracking and
    mmdetection, both with what they get wrong (see `vis_ros.tracking.association`); for comparison with those codes.
    """

    rule: RuleName = 'one_to_one'

    weights: tuple[float, float, float] | None = None
    """a, b, c of the cue score log p_i(n) + a log s_i + b IoU + c [same category]; None: those of the rule, measured
    (1, 4, 3) for 'one_to_one', published (1, 2, 10) for the others. More a: in a conflict the better detection wins,
    not the better match. More b: positions count more against looks. More c: a wrong label costs the identity more
    surely."""

    min_hits: int = 3
    """An identity is TENTATIVE until it was seen in so many frames."""

    # --- 'one_to_one' only

    new_track_score: float = 0.6
    """Weaker detections may continue an identity but not begin one. Lower finds objects sooner, and more false ones."""

    new_track_iou: float = 0.25
    """A detection that overlaps a tracked one by more than this IoU is a second detection of the same object and begins
    nothing. Lower refuses more duplicates, but also objects that first show in front of another; 1 refuses none."""

    confident_score: float = 0.6
    """Detections from this score on choose an identity first, by the cue score. Weaker ones, mostly of what is half
    hidden, only continue by their place what nobody chose and one of the two frames before still had (BYTE, Zhang et
    al. 2022). More: fewer identities stray to bad detections, but fewer objects are known again in a bad view; 0: all
    choose at once."""

    weak_iou: float = 0.3
    """A weaker detection must overlap the identity by more than this IoU. Less continues more, and more wrongly."""

    memory_rate: float = 0.1
    """What an identity looks like is the mean of its embeddings: of all at first, then with this share for the newest.
    Less: a bad view costs less; more: a change of looks is followed sooner; 1: the latest embedding alone."""

    motion_s: float = 1.0
    """The box of an identity is expected where its speed takes it in the time since it was seen, at most so many
    seconds. After a longer gap it has no speed. 0: it is expected where it was."""

    continuity_iou: float = 0.3
    """A detection that overlaps an identity of the frame before by more than this IoU counts as of its category,
    whatever the label: labels flicker, objects do not. 1 always believes the label."""

    max_age_s: float = 10.0
    """An identity unseen for longer, in seconds, is forgotten. Longer survives longer occlusion, but an old number may
    go to a new object that looks alike."""

    max_identities: int = 256
    """At most so many are remembered; beyond, the one unseen for longest is forgotten. Bounds memory and time."""

    # --- 'mmtracking' only

    max_age_frames: int = 20
    """An identity is forgotten after so many frames without it."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(RuleName):
            raise ValueError(f'rule {self.rule!r} is not one of {", ".join(get_args(RuleName))}')
        if len(self.matching_weights) != 3 or not all(0 <= weight < math.inf for weight in self.matching_weights):
            raise ValueError(f'weights {self.weights!r} are not three finite numbers (a, b, c) from 0')
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} {value!r} is outside {low} .. {high}')
        for field in fields(self):
            if field.type == 'int' and not isinstance(getattr(self, field.name), int):
                raise ValueError(f'{field.name} {getattr(self, field.name)!r} is not a whole number')

    @property
    def matching_weights(self) -> tuple[float, float, float]:
        """The `weights` that hold."""
        if self.weights is not None:
            return self.weights
        return (1.0, 4.0, 3.0) if self.rule == 'one_to_one' else (1.0, 2.0, 10.0)


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
    ('max_age_frames', 1, math.inf),
)
