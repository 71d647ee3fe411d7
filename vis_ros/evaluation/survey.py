"""Survey: what one reading of a video tells without its masks."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from vis_ros.datasets.video import AnnotatedVideo


@dataclass(frozen=True)
class FrameKey:
    """What a frame can be found by, see `AnnotatedFrame`."""

    name: str
    index: int
    stamp_ns: int | None


@dataclass(frozen=True)
class Survey:
    """The frames of a video in their order, and the class and the score of each of its tracks.

    class_ids: track id -> the class that it has in most frames, the lowest of several.
    scores: track id -> mean of its scores over the frames in which it appears, as in YouTube-VIS results.
    """

    frames: tuple[FrameKey, ...] = ()
    class_ids: dict[int, int] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)


def survey(video: AnnotatedVideo) -> Survey:
    """Read a video once."""
    frames = []
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    sums: dict[int, float] = defaultdict(float)
    for frame in video:
        frames.append(FrameKey(frame.name, frame.index, frame.stamp_ns))
        columns = (frame.track_ids.tolist(), frame.class_ids.tolist(), frame.scores.tolist())
        for track_id, class_id, score in zip(*columns, strict=True):
            votes[track_id][class_id] += 1
            sums[track_id] += score
    return Survey(
        tuple(frames),
        {track_id: min(vote, key=lambda class_id: (-vote[class_id], class_id)) for track_id, vote in votes.items()},
        {track_id: total / votes[track_id].total() for track_id, total in sums.items()},
    )
