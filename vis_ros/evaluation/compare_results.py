"""Compare two results by their evaluations against the same truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from vis_ros.evaluation.evaluation import METRICS, Evaluation, ObjectTrack


@dataclass(frozen=True)
class Difference:
    """One figure of both, by its name in METRICS."""

    metric: str
    a: float
    b: float

    @property
    def change(self) -> float:
        """From a to b."""
        return self.b - self.a


@dataclass(frozen=True)
class ObjectDifference:
    """A true object with which the two dealt differently."""

    a: ObjectTrack
    b: ObjectTrack


@dataclass(frozen=True)
class LostIdentity:
    """Frames first..last, both included, in which one result lost the identity of a true object and the other kept it.

    lost_in: 'a' or 'b', the one that lost it.
    lost_id: to which identity it switched at that frame; None where no identity was on the object.
    kept_id: the identity that goes on in the other.
    """

    video: str
    object_id: int
    class_name: str
    first: int
    last: int
    lost_in: Literal['a', 'b']
    lost_id: int | None
    kept_id: int


@dataclass(frozen=True)
class Comparison:
    """Two results.

    agnostic, aware: all figures; `aware` is None where one of the two has none.
    per_video: all class-agnostic figures of the videos in which any differs.
    objects: those that differ in J, F, switches, fragmentations or in the frames in which they are found.
    losses: by video, object and frame.
    """

    a: Evaluation
    b: Evaluation
    agnostic: tuple[Difference, ...]
    aware: tuple[Difference, ...] | None
    per_video: dict[str, tuple[Difference, ...]]
    objects: tuple[ObjectDifference, ...]
    losses: tuple[LostIdentity, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; of the two evaluations only where they come from."""
        return {
            'a': self.a.results,
            'b': self.b.results,
            'truth': self.a.truth,
            'agnostic': _to_json(self.agnostic),
            'aware': None if self.aware is None else _to_json(self.aware),
            'per_video': {video: _to_json(differences) for video, differences in self.per_video.items()},
            'objects': [asdict(each) for each in self.objects],
            'losses': [asdict(each) for each in self.losses],
        }


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """What differs between two results, from a to b.

    Raises:
        ValueError: they were not evaluated against the same frames of the same truth.
    """
    if a.truth_digest != b.truth_digest:
        raise ValueError(
            f'{a.results} and {b.results} were not evaluated against the same frames of the same truth '
            f'({a.coverage.compared} frames of {a.truth}, {b.coverage.compared} of {b.truth}): '
            'give both the same truth, and all of its frames'
        )
    per_video = {video: _differences(figures, b.per_video[video]) for video, figures in a.per_video.items()}
    track_of = {(track.video, track.object_id): track for track in b.objects}
    pairs = [(track, track_of[track.video, track.object_id]) for track in a.objects]
    switches = [{(each.video, each.object_id, each.frame) for each in side.switches} for side in (a, b)]
    return Comparison(
        a=a,
        b=b,
        agnostic=_differences(a.agnostic, b.agnostic),
        aware=None if a.aware is None or b.aware is None else _differences(a.aware, b.aware),
        per_video={video: each for video, each in per_video.items() if any(item.change for item in each)},
        objects=tuple(ObjectDifference(*pair) for pair in pairs if _fate(pair[0]) != _fate(pair[1])),
        losses=tuple(loss for pair in pairs for loss in _losses(*pair, a.lengths[pair[0].video], switches)),
    )


def _differences(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[Difference, ...]:
    return tuple(Difference(name, a[name], b[name]) for name in METRICS)


def _to_json(differences: tuple[Difference, ...]) -> list[dict[str, Any]]:
    return [{**asdict(each), 'change': each.change} for each in differences]


def _fate(track: ObjectTrack) -> tuple[object, ...]:
    """What matters of a track: not the numbers that its identities have."""
    found = tuple((run.first, run.last) for run in track.runs)
    return track.j, track.f, track.switches, track.fragmentations, found


def _losses(
    a: ObjectTrack, b: ObjectTrack, length: int, switches: Sequence[set[tuple[str, int, int]]]
) -> Iterator[LostIdentity]:
    states = (_states(track, length, each) for track, each in zip((a, b), switches, strict=True))
    losses = [_loss(*both) for both in zip(*states, strict=True)]
    for loss, group in groupby(enumerate(losses), key=itemgetter(1)):
        frames = [frame for frame, _ in group]
        if loss is not None:
            yield LostIdentity(a.video, a.object_id, a.class_name, frames[0], frames[-1], *loss)


_State = tuple[int | None, bool]
"""The identity on an object in one frame, None where there is none, and whether the object has just switched to it."""


def _states(track: ObjectTrack, length: int, switches: set[tuple[str, int, int]]) -> list[_State]:
    states: list[_State] = [(None, False)] * length
    for run in track.runs:
        states[run.first : run.last + 1] = [(run.result_id, False)] * (run.last + 1 - run.first)
        states[run.first] = (run.result_id, (track.video, track.object_id, run.first) in switches)
    return states


def _loss(a: _State, b: _State) -> tuple[Literal['a', 'b'], int | None, int] | None:
    """Who lost the identity, where to, and which the other one kept; None where both kept it or both lost it."""
    (id_a, lost_a), (id_b, lost_b) = ((number, number is None or switched) for number, switched in (a, b))
    if lost_a and not lost_b and id_b is not None:
        return 'a', id_a, id_b
    if lost_b and not lost_a and id_a is not None:
        return 'b', id_b, id_a
    return None
