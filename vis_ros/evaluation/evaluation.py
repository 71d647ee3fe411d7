"""Evaluation: the metrics of results against ground truth, and everything else that tables and reports show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from vis_ros.datasets.problems import plural

if TYPE_CHECKING:
    from vis_ros.datasets.labels import Labels
    from vis_ros.evaluation.totals import ClassTotals, UnitScores

METRICS = (
    *('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'HOTA', 'DetA', 'AssA', 'IDF1', 'IDSW', 'Frag', 'MOTA', 'sMOTSA'),
    *('J', 'F', 'J&F'),
)
"""Names and order of the metrics. All are in [0, 1] except IDSW and Frag, which are counts, and MOTA and sMOTSA, which
are at most 1 and may be negative. Without any true object the counts are 0, and the others are 1 if nothing was
predicted and 0 otherwise."""

COUNTS = ('IDSW', 'Frag')

_LISTED = 10
"""Names that a sentence lists."""


@dataclass(frozen=True)
class MatchedRun:
    """Consecutive frames in which one predicted track was matched to an object.

    Attributes:
        first, last: positions among the compared frames, both included.
        result_id: id of the predicted track.
    """

    first: int
    last: int
    result_id: int


@dataclass(frozen=True)
class ObjectTrack:
    """One true object and the predicted tracks that were matched to it.

    Attributes:
        video: its video.
        object_id: its id in the ground truth.
        class_name: its class.
        frames: number of frames that show it.
        result_id: the predicted track assigned to it for J and F; None if none of the remaining ones overlaps it.
        j, f: means over all compared frames of the video.
        switches, fragmentations: how often its track changed, how often it was lost and found again.
        runs: the CLEAR matches over time. A new run starts when the track changes or the object was lost.
        visible: first and last frame of each stretch of frames that show it, in order.
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
    runs: tuple[MatchedRun, ...]
    visible: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class IdentitySwitch:
    """A frame in which a true object is matched to another predicted track than the last time.

    Attributes:
        video: its video.
        frame: position among the compared frames of the video.
        frame_name: name of the frame in the ground truth.
        object_id: id of the object in the ground truth.
        before, after: ids of the predicted tracks.
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

    Attributes:
        videos: number of ground truth videos with at least one compared frame.
        compared: number of ground truth frames that were compared, with results or with nothing.
        missing: number of these without results; they count as frames in which nothing was found.
        unlabeled: number of frames with results but without ground truth; they are not evaluated.
        left_out: number of ground truth frames that were left out because only common frames were requested.
        result_frames: number of all frames of the results.
        ignored: number of predicted detections that the tracking metrics leave out, because more than half of each
            is in an ignored region and it matches no true object.
        unknown_classes: class of results that the ground truth does not have -> number of its tracks. They only count
            in the class-agnostic metrics.
        missing_videos: ground truth videos without results.
        unlabeled_videos: videos of the results without ground truth.
        unmatched_classes: class of the ground truth that the model of the results does not have -> number of its
            objects. The class-aware metrics are without these.
        photos: whether the videos are photos.
        matched_by: video -> how its frames were matched: 'stamp', 'name' or 'position'.
    """

    videos: int
    compared: int
    missing: int
    unlabeled: int
    left_out: int
    result_frames: int
    ignored: int = 0
    unknown_classes: dict[str, int] = field(default_factory=dict)
    missing_videos: tuple[str, ...] = ()
    unlabeled_videos: tuple[str, ...] = ()
    unmatched_classes: dict[str, int] = field(default_factory=dict)
    photos: bool = False
    matched_by: dict[str, str] = field(default_factory=dict)

    def statements(self) -> list[str]:
        """The coverage in sentences; zeros are not mentioned."""
        ways = sorted(set(self.matched_by.values()))
        matched = f', matched by {" and ".join(ways)}' if ways else ''
        compared = f'{plural(self.compared, "frame")} of {plural(self.videos, "video")}'
        sentences = [f'{plural(self.compared, "photo") if self.photos else compared} compared{matched}.']
        videos, frame = ('Photos', 'photo') if self.photos else ('Videos', 'frame')
        if 'position' in ways and self.missing + self.left_out + self.unlabeled:
            sentences.append(
                'Frames were matched by position, because they share neither stamps nor names, but one side has more '
                'frames: check that both sides start with the same image and skip none.'
            )
        if self.missing:
            sentences.append(
                f'{plural(self.missing, frame)} without results, evaluated as if nothing was found (--common-frames '
                'leaves them out).'
            )
        if self.missing_videos:
            sentences.append(f'{videos} without results: {_listed(self.missing_videos)}.')
        if self.left_out:
            sentences.append(f'{plural(self.left_out, "ground truth frame")} without results left out.')
        if self.unlabeled:
            sentences.append(f'{self.unlabeled} of {plural(self.result_frames, "result frame")} without ground truth.')
        if self.unlabeled_videos:
            sentences.append(f'{videos} without ground truth: {_listed(self.unlabeled_videos)}.')
        if self.ignored:
            sentences.append(f'{plural(self.ignored, "detection")} in ignored regions left out.')
        if self.unmatched_classes:
            classes = _listed([f'{name} ({count})' for name, count in sorted(self.unmatched_classes.items())])
            sentences.append(
                'Classes (objects) that the model does not have and cannot find, left out of the class-aware metrics: '
                f'{classes}. --class-map gives classes other names.'
            )
        if self.unknown_classes:
            classes = _listed([f'{name} ({count})' for name, count in sorted(self.unknown_classes.items())])
            what = 'detections' if self.photos else 'tracks'
            sentences.append(f'Classes ({what}) without ground truth, only in the class-agnostic metrics: {classes}.')
        return sentences


def _listed(names: Sequence[str]) -> str:
    more = [f'and {len(names) - _LISTED} more'] if len(names) > _LISTED else []
    return ', '.join([*names[:_LISTED], *more])


@dataclass(frozen=True)
class Evaluation:
    """The metrics (by METRICS) and the details behind them.

    Attributes:
        results, truth: paths of both sides.
        settings: what produced the results, if known.
        agnostic: metrics with all objects in one class.
        aware: means over the classes that have true objects (for IDSW and Frag: sums); None without class labels.
        per_class: metrics of each class.
        per_video: class-agnostic metrics of each video.
        per_camera: class-agnostic metrics of each camera of a library of recordings, if it has several.
        lengths: video -> number of compared frames.
        objects, switches: class-agnostic.
        precision: IoU threshold ('0.50' ... '0.95') -> precision at the 101 recalls 0, 0.01, ..., 1, class-agnostic.
        coverage: what was compared.
        latencies_ms: of a live replay, otherwise empty.
        truth_digest: SHA-256 of the compared frames and their true objects, equal for the same ground truth.
        inferred: what was assumed about the meaning of the files, in words.
        photos: whether the videos are photos; then the figures of tracking mean nothing.
        labels: whether every object is labeled; if not, most figures mean nothing, see `leading_figure.meaningful`.
        over: whether `aware` holds means over the classes ('macro') or all objects together ('micro').
        unit: what `units` are: 'video', 'segment' or 'photo'.
        units: the scores from which the metrics are computed, for intervals; not part of the JSON.
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
    switches: tuple[IdentitySwitch, ...]
    precision: dict[str, tuple[float, ...]]
    coverage: Coverage
    latencies_ms: tuple[float, ...] = ()
    truth_digest: str = ''
    inferred: tuple[str, ...] = ()
    photos: bool = False
    labels: Labels = 'exhaustive'
    over: ClassTotals = 'macro'
    per_camera: dict[str, dict[str, float]] = field(default_factory=dict)
    unit: Literal['video', 'segment', 'photo'] = 'video'
    units: tuple[UnitScores, ...] = field(default=(), repr=False, compare=False)

    def why_not_aware(self) -> str:
        """Why there are no class-aware metrics, in words."""
        if self.coverage.unmatched_classes:
            return 'no class of the results is one of the ground truth (--class-map gives classes other names)'
        return 'the ground truth or the results have no class labels'

    def worst_first(self, metric: str) -> list[tuple[str, dict[str, float]]]:
        """The videos with their metrics, those with the lowest value of one of them first."""
        return sorted(self.per_video.items(), key=lambda item: item[1][metric])

    def of_video(self, video: str) -> Evaluation:
        """What belongs to one video, as far as it is known: without classes, precision and latencies."""
        ways = {name: way for name, way in self.coverage.matched_by.items() if name == video}
        return replace(
            self,
            agnostic=self.per_video[video],
            aware=None,
            per_class={},
            per_video={},
            per_camera={},
            lengths={video: self.lengths[video]},
            objects=tuple(each for each in self.objects if each.video == video),
            switches=tuple(each for each in self.switches if each.video == video),
            precision={},
            coverage=Coverage(1, self.lengths[video], 0, 0, 0, 0, matched_by=ways),
            latencies_ms=(),
            units=(),
        )

    def to_json(self) -> dict[str, Any]:
        """The content of evaluation.json."""
        content = asdict(replace(self, units=()))
        del content['units']
        return content
