"""Evaluation: what comparing results with truth gives; all that flows from the metrics to table and report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

METRICS = (
    *('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'HOTA', 'DetA', 'AssA', 'IDF1', 'IDSW', 'Frag', 'MOTA', 'sMOTSA'),
    *('J', 'F', 'J&F'),
)
"""Names and order of the figures. All are in [0, 1] but IDSW and Frag, which are counts, and MOTA and sMOTSA, which are
at most 1 and may be negative. Where there is no true object (a video may have none) the counts are 0, and all others 1
if nothing was found and else 0."""

COUNTS = ('IDSW', 'Frag')


@dataclass(frozen=True)
class Run:
    """Frames first..last in which one identity was on an object: positions among the compared ones, both included."""

    first: int
    last: int
    result_id: int


@dataclass(frozen=True)
class ObjectTrack:
    """One true object: who was on it when.

    object_id: in the truth; frames: in how many it is visible.
    result_id: the identity that it is assigned for J and F, None where none that is free ever overlaps it; j, f: means
        over all compared frames of the video.
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
    """At a frame the true object `object_id` is on identity `after`; the last time it was on `before`.

    frame: position among the compared frames of the video; frame_name: what the truth calls it.
    """

    video: str
    frame: int
    frame_name: str
    object_id: int
    before: int
    after: int


@dataclass(frozen=True)
class Coverage:
    """Which frames were compared, and what was not.

    videos: of the truth, with at least one compared frame.
    compared: frames with truth, each compared with the result of that frame or with nothing.
    missing: those of them for which there is no result; they count as frames in which nothing was found.
    unlabelled: frames with a result but no truth; they are not evaluated.
    left_out: frames with truth that were left out because only common frames were asked for.
    result_frames: all frames of the results.
    unknown_classes: classes of the results that the truth does not have -> how many of their tracks; they count in the
        class-agnostic figures only.
    ignored: objects of results, one count a frame, that tracking leaves out: more than half of each lies in an ignored
        region, and it is no true object.
    missing_videos: of the truth, without results. unlabelled_videos: of the results, without truth.
    matched_by: video -> what its frames were matched by: 'stamp', 'name' or 'position'.
    """

    videos: int
    compared: int
    missing: int
    unlabelled: int
    left_out: int
    result_frames: int
    ignored: int = 0
    unknown_classes: dict[str, int] = field(default_factory=dict)
    missing_videos: tuple[str, ...] = ()
    unlabelled_videos: tuple[str, ...] = ()
    matched_by: dict[str, str] = field(default_factory=dict)

    def statements(self) -> list[str]:
        """All of it in words, one sentence each; what is zero is not mentioned."""
        ways = sorted(set(self.matched_by.values()))
        matched = f', matched by {" and ".join(ways)}' if ways else ''
        sentences = [f'{_count(self.compared, "frame")} of {_count(self.videos, "video")} compared{matched}.']
        if 'position' in ways and self.missing + self.left_out + self.unlabelled:
            sentences.append(
                'Without stamps or names in common the frames were matched by their position, but one side has more '
                'of them: make sure that both begin with the same image and skip none.'
            )
        if self.missing:
            sentences.append(f'{self.missing} of them without a result: there nothing was found.')
        if self.missing_videos:
            sentences.append(f'Videos without results: {_listed(self.missing_videos)}.')
        if self.left_out:
            sentences.append(f'{_count(self.left_out, "frame")} with truth left out, for want of a result.')
        if self.unlabelled:
            sentences.append(f'{self.unlabelled} of {_count(self.result_frames, "result frame")} without truth.')
        if self.unlabelled_videos:
            sentences.append(f'Videos without truth: {_listed(self.unlabelled_videos)}.')
        if self.ignored:
            sentences.append(f'{_count(self.ignored, "result object")} in ignored regions left out.')
        if self.unknown_classes:
            classes = _listed([f'{name} ({count})' for name, count in sorted(self.unknown_classes.items())])
            sentences.append(f'Classes (tracks) without true objects, in the class-agnostic figures only: {classes}.')
        return sentences


_LISTED = 10


def _count(number: int, what: str) -> str:
    return f'{number} {what}' if number == 1 else f'{number} {what}s'


def _listed(names: Sequence[str]) -> str:
    more = [f'and {len(names) - _LISTED} more'] if len(names) > _LISTED else []
    return ', '.join([*names[:_LISTED], *more])


@dataclass(frozen=True)
class Evaluation:
    """The figures by METRICS and what is behind them.

    results, truth: paths; settings: what produced the results, where known.
    agnostic: figures with all objects as one class. aware: means over the classes that have true objects (IDSW and
        Frag: sums), None where truth or results tell no classes. per_class: the same figures of each class. per_video:
        the class-agnostic figures of each video.
    lengths: video -> number of compared frames. objects, switches: class-agnostic.
    precision: IoU threshold ('0.50' ... '0.95') -> precision at the 101 recalls 0, 0.01, ... 1, class-agnostic.
    latencies_ms: of a live run, else empty.
    truth_digest: SHA-256 of the compared frames and their true objects; equal where the same truth was compared.
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
    truth_digest: str = ''

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)
