"""The incidents of an evaluation, losses and switches, and which of their frames the report shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vis_ros.evaluation.evaluation import Evaluation, IdentitySwitch, ObjectTrack

_CLIP_MARGIN = 6
"""Frames of a clip before and after the incident."""
_CLIP_FRAMES = 20
"""Frames of a clip, at most; of a longer stretch evenly spaced ones."""


@dataclass(frozen=True)
class Incident:
    """A switch, or a stretch of frames in which a visible object is not found.

    Attributes:
        kind: which of both.
        video, object_id, class_name: the object.
        first, last: frames, both included; for a switch from the last frame on the old track to the first on the new.
        before: the track that was on the object last; None if there was none yet.
        after: the track that it switched to; None for a loss.
        length: number of compared frames of the video.
    """

    kind: Literal['switch', 'loss']
    video: str
    object_id: int
    class_name: str
    first: int
    last: int
    before: int | None
    after: int | None
    length: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.last - self.first + 1

    def moments(self) -> tuple[tuple[int, int | None], ...]:
        """Frames to show as pictures, and the track to outline in each; None outlines all tracks."""
        if self.kind == 'switch':
            return (self.first, self.before), (self.last, self.after)
        middle = (self.first + self.last) // 2
        return ((self.first - 1, self.before), (middle, None)) if self.before is not None else ((middle, None),)

    def clip_frames(self) -> tuple[int, ...]:
        """Frames of the clip."""
        first, last = max(0, self.first - _CLIP_MARGIN), min(self.length - 1, self.last + _CLIP_MARGIN)
        step = -(-(last - first + 1) // _CLIP_FRAMES)
        return tuple(range(first, last + 1, step))


def switch_incidents(evaluation: Evaluation) -> list[Incident]:
    """All switches, in the order of the evaluation."""
    tracks = {(track.video, track.object_id): track for track in evaluation.objects}
    return [
        _of_switch(each, tracks[each.video, each.object_id], evaluation.lengths[each.video])
        for each in evaluation.switches
    ]


def losses(evaluation: Evaluation) -> list[Incident]:
    """All losses, the longest first."""
    found = [loss for track in evaluation.objects for loss in _of_track(track, evaluation.lengths[track.video])]
    return sorted(found, key=lambda each: -each.frames)


def _of_switch(switch: IdentitySwitch, track: ObjectTrack, length: int) -> Incident:
    earlier = [run.last for run in track.runs if run.last < switch.frame and run.result_id == switch.before]
    first = max(earlier, default=max(switch.frame - 1, 0))
    ids = switch.before, switch.after
    return Incident('switch', switch.video, switch.object_id, track.class_name, first, switch.frame, *ids, length)


def _of_track(track: ObjectTrack, length: int) -> Iterator[Incident]:
    for first, last in track.visible:
        for start, end in _gaps(first, last, [(run.first, run.last) for run in track.runs]):
            # Only the frame right before shows the object on its track.
            before = next((run.result_id for run in track.runs if run.last == start - 1), None)
            yield Incident('loss', track.video, track.object_id, track.class_name, start, end, before, None, length)


def _gaps(first: int, last: int, runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The stretches of first..last that no run covers; `runs` are in order."""
    for start, end in runs:
        if first < start <= last:
            yield first, start - 1
        if end >= first:
            first = max(first, end + 1)
    if first <= last:
        yield first, last
