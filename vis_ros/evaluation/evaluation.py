"""Evaluation: what comparing results with truth gives; all that flows from the metrics to table and report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

METRICS = (
    *('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'HOTA', 'DetA', 'AssA', 'IDF1', 'IDSW', 'Frag', 'MOTA', 'sMOTSA'),
    *('J', 'F', 'J&F'),
)
"""Names and order of the figures. All are in [0, 1] but IDSW and Frag, which are counts, and MOTA and sMOTSA, which are
at most 1 and may be negative."""


@dataclass(frozen=True)
class Run:
    """Frames first..last (positions in the video, both included) in which one identity was on an object."""

    first: int
    last: int
    result_id: int


@dataclass(frozen=True)
class ObjectTrack:
    """One true object: who was on it when.

    object_id: in the truth; frames: in how many it is visible.
    result_id: the identity that it is assigned for J and F, None where there is none; j, f: means over the frames.
    runs: the matches of CLEAR in time, a new one whenever the identity changes or the object is lost.
    visible: first and last frame of each stretch in which it is visible, in order.
    """

    video: str
    object_id: int
    class_name: str
    frames: int
    result_id: int | None
    j: float
    f: float
    switches: int
    fragmentations: int
    runs: tuple[Run, ...]
    visible: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Switch:
    """At a frame the true object `object_id` is on identity `after`; the last time it was on `before`."""

    video: str
    frame: int
    frame_name: str
    object_id: int
    before: int
    after: int


@dataclass(frozen=True)
class Coverage:
    """Which frames were compared, and what was not.

    compared: frames with truth, each compared with the result of that frame or with nothing.
    missing: those of them for which there is no result; they count as frames in which nothing was found.
    unlabelled: frames with a result but no truth; they are not evaluated.
    left_out: frames with truth that were left out because only common frames were asked for.
    result_frames: all frames of the results.
    unknown_classes: classes of the results that the truth does not have -> how many of their tracks; they count in the
        class-agnostic figures only.
    ignored: objects of results left out because more than half of them lies in an ignored region.
    """

    videos: int
    compared: int
    missing: int
    unlabelled: int
    left_out: int
    result_frames: int
    ignored: int = 0
    unknown_classes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The figures by METRICS and what is behind them.

    results, truth: paths; settings: what produced the results, where known.
    agnostic: figures with all objects as one class. aware: means over the classes of the truth (IDSW and Frag: sums),
        None where the truth tells no classes. per_class, per_video: the same figures for each.
    lengths: video -> number of compared frames. objects, switches: class-agnostic.
    precision: IoU threshold ('0.50' ... '0.95') -> precision at the 101 recalls 0, 0.01, ... 1, class-agnostic.
    latencies_ms: of a live run, else empty.
    """

    results: str
    truth: str
    settings: dict[str, Any]
    agnostic: dict[str, float]
    aware: dict[str, float] | None
    per_class: dict[str, dict[str, float]]
    per_video: dict[str, dict[str, float]]
    lengths: dict[str, int]
    objects: tuple[ObjectTrack, ...]
    switches: tuple[Switch, ...]
    precision: dict[str, tuple[float, ...]]
    coverage: Coverage
    latencies_ms: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)
