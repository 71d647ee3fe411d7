"""Compare two results by their evaluations against the same ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from vis_ros.evaluation.evaluation import COUNTS, METRICS, Evaluation, ObjectTrack
from vis_ros.evaluation.leading_figure import meaningful
from vis_ros.evaluation.paired_interval import Interval
from vis_ros.evaluation.settings_difference import SettingDifference, settings_differences, settings_known
from vis_ros.evaluation.verdict import Verdict, judge


@dataclass(frozen=True)
class MetricDifference:
    """One of METRICS for both results; `interval` is that of the change, None where it is not known."""

    metric: str
    a: float
    b: float
    interval: Interval | None = None

    @property
    def change(self) -> float:
        """From a to b."""
        return self.b - self.a

    @property
    def word(self) -> str:
        """'better' or 'worse' if the interval leaves out zero, 'same' without a change, else 'undecided'."""
        if self.change == 0:
            return 'same'
        if self.interval is None or self.interval.holds(0.0):
            return 'undecided'
        return 'better' if (self.interval.low > 0) != (self.metric in COUNTS) else 'worse'


@dataclass(frozen=True)
class ObjectDifference:
    """A true object that the two results track differently."""

    a: ObjectTrack
    b: ObjectTrack


@dataclass(frozen=True)
class LostIdentity:
    """Frames in which one result lost the identity of a true object and the other kept it.

    Attributes:
        video, object_id, class_name: the object.
        first, last: positions among the compared frames, both included.
        lost_in: 'a' or 'b', the result that lost it.
        lost_id: the track that it switched to; None if no track was on the object.
        kept_id: the track that continues in the other result.
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
    """What differs between two results.

    Attributes:
        a, b: their evaluations.
        verdict: whether b is better.
        settings: those that differ.
        agnostic, aware: all metrics; `aware` is None if one side has none.
        per_video: class-agnostic metrics of the videos with any difference.
        objects: those that differ in J, F, switches, fragmentations or in the frames in which they are found.
        lost_identities: by video, object and frame.
    """

    a: Evaluation
    b: Evaluation
    verdict: Verdict
    settings: tuple[SettingDifference, ...]
    agnostic: tuple[MetricDifference, ...]
    aware: tuple[MetricDifference, ...] | None
    per_video: dict[str, tuple[MetricDifference, ...]]
    objects: tuple[ObjectDifference, ...]
    lost_identities: tuple[LostIdentity, ...]

    def cautions(self) -> list[str]:
        """What makes the verdict doubtful, in words: a side without results for some of the ground truth."""
        frames = 'photos' if self.a.photos else 'frames'
        return [
            f'{name} has no results for {side.coverage.missing} of {side.coverage.compared} {frames}, '
            'which count as misses.'
            for name, side in (('a', self.a), ('b', self.b))
            if side.coverage.missing
        ]

    def to_json(self) -> dict[str, Any]:
        """The content of comparison.json; of the two evaluations only their paths."""
        return {
            'verdict': self.verdict.to_json(),
            'cautions': self.cautions(),
            'settings': [asdict(each) for each in self.settings],
            'settings_unknown': settings_known(self.a.settings, self.b.settings),
            'meaningful': list(meaningful(self.a.photos, self.a.labels)),
            'a': self.a.results,
            'b': self.b.results,
            'truth': self.a.truth,
            'agnostic': _to_json(self.agnostic),
            'aware': None if self.aware is None else _to_json(self.aware),
            'per_video': {video: _to_json(differences) for video, differences in self.per_video.items()},
            'objects': [asdict(each) for each in self.objects],
            'losses': [asdict(each) for each in self.lost_identities],
        }


def compare(a: Evaluation, b: Evaluation, by: str | None = None) -> Comparison:
    """What differs between two results, from a to b.

    Args:
        a, b: against the same ground truth.
        by: the figure that decides; None: by the kind of ground truth.

    Raises:
        ValueError: they were not evaluated against the same frames of the same ground truth, or `by` is no figure.
    """
    _check_same_truth(a, b)
    track_of = {(track.video, track.object_id): track for track in b.objects}
    pairs = [(track, track_of[track.video, track.object_id]) for track in a.objects]
    per_video = {video: _differences(metrics, b.per_video[video]) for video, metrics in a.per_video.items()}
    objects = tuple(ObjectDifference(*pair) for pair in pairs if _outcome(pair[0]) != _outcome(pair[1]))
    judgment = judge(a, b, same=not objects and a.agnostic == b.agnostic and a.aware == b.aware, by=by)
    comparable = a.aware is not None and b.aware is not None and a.per_class.keys() == b.per_class.keys()
    return Comparison(
        a=a,
        b=b,
        verdict=judgment.verdict,
        settings=settings_differences(a.settings, b.settings),
        agnostic=_differences(a.agnostic, b.agnostic, judgment.agnostic),
        aware=_differences(a.aware, b.aware, judgment.aware) if comparable and a.aware and b.aware else None,
        per_video={video: each for video, each in per_video.items() if any(item.change for item in each)},
        objects=objects,
        lost_identities=tuple(_lost_identities(a, b, pairs)),
    )


def _check_same_truth(a: Evaluation, b: Evaluation) -> None:
    if a.truth_digest != b.truth_digest:
        raise ValueError(
            f'{a.results} and {b.results} were not evaluated against the same frames of the same ground truth '
            f'({a.coverage.compared} frames of {a.truth}, {b.coverage.compared} of {b.truth}): '
            'evaluate both against all frames of the same ground truth'
        )


def _differences(
    a: Mapping[str, float], b: Mapping[str, float], intervals: Mapping[str, Interval | None] | None = None
) -> tuple[MetricDifference, ...]:
    return tuple(MetricDifference(name, a[name], b[name], (intervals or {}).get(name)) for name in METRICS)


def _to_json(differences: tuple[MetricDifference, ...]) -> list[dict[str, Any]]:
    return [{**asdict(each), 'change': each.change, 'word': each.word} for each in differences]


def _outcome(track: ObjectTrack) -> tuple[object, ...]:
    """What counts about a track: everything except the ids of the predicted tracks."""
    found = tuple((run.first, run.last) for run in track.runs)
    return track.j, track.f, track.switches, track.fragmentations, found


@dataclass(frozen=True)
class _FrameState:
    """The predicted track on an object in one frame, or None, and whether the object has just switched to it."""

    track_id: int | None = None
    is_switch: bool = False

    @property
    def is_lost(self) -> bool:
        return self.track_id is None or self.is_switch


def _lost_identities(
    a: Evaluation, b: Evaluation, pairs: Sequence[tuple[ObjectTrack, ObjectTrack]]
) -> Iterator[LostIdentity]:
    switches = [{(each.video, each.object_id, each.frame) for each in side.switches} for side in (a, b)]
    for pair in pairs:
        track = pair[0]
        states = [_states(each, a.lengths[track.video], its) for each, its in zip(pair, switches, strict=True)]
        losses = [_loss(*both) for both in zip(*states, strict=True)]
        for loss, group in groupby(enumerate(losses), key=itemgetter(1)):
            if loss is not None:
                frames = [frame for frame, _ in group]
                yield LostIdentity(track.video, track.object_id, track.class_name, frames[0], frames[-1], *loss)


def _states(track: ObjectTrack, length: int, switches: set[tuple[str, int, int]]) -> list[_FrameState]:
    """The state of an object in each frame of its video."""
    states = [_FrameState()] * length
    for run in track.runs:
        states[run.first : run.last + 1] = [_FrameState(run.result_id)] * (run.last + 1 - run.first)
        states[run.first] = _FrameState(run.result_id, (track.video, track.object_id, run.first) in switches)
    return states


def _loss(a: _FrameState, b: _FrameState) -> tuple[Literal['a', 'b'], int | None, int] | None:
    """(lost_in, lost_id, kept_id) of a frame; None if both kept the identity or both lost it."""
    if a.is_lost and not b.is_lost:
        assert b.track_id is not None
        return 'a', a.track_id, b.track_id
    if b.is_lost and not a.is_lost:
        assert a.track_id is not None
        return 'b', b.track_id, a.track_id
    return None
