"""The timeline of one video: which predicted track was on which true object when, as geometry for the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vis_ros.datasets.video import EPOCH, id_text
from vis_ros.evaluation.evaluation import IdentitySwitch, MatchedRun, ObjectTrack
from vis_ros.visualization import identity_color

MIN_WIDTH, MAX_WIDTH = 640, 4000
"""Limits of the minimum width of a strip in pixels. In between it has one pixel for four frames."""

MAX_COLORED_TRACKS = 200
"""Number of tracks of an object with bars in their own color; those with the fewest frames share one gray bar."""

_DIGIT, _PAD = 8, 6  # pixels per character of a label, and around it
_OTHERS_COLOR = '#777777'
_DESCRIBED_RUNS = 12


@dataclass(frozen=True)
class Bars:
    """One track on one object: an SVG path of horizontal lines in units of frames, (0, 0.5) to (length, 0.5)."""

    title: str
    color: str
    path: str


@dataclass(frozen=True)
class Label:
    """The id of a track on its bar; `x` is its center in percent of the strip."""

    x: float
    text: str
    ink: str


@dataclass(frozen=True)
class Strip:
    """One row: a true object. `visible` and `lost` are paths as in Bars; `switches` are in percent of the strip."""

    name: str
    class_name: str
    title: str
    description: str
    visible: str
    bars: tuple[Bars, ...]
    labels: tuple[Label, ...]
    switches: tuple[float, ...]
    lost: str


@dataclass(frozen=True)
class TimelineTick:
    """A labeled frame number, `x` in percent of the strip."""

    x: float
    frame: int


@dataclass(frozen=True)
class Timeline:
    """The strips of one video of `length` frames, with its ticks; `width` is the minimum width of a strip in pixels."""

    video: str
    length: int
    width: int
    ticks: tuple[TimelineTick, ...]
    strips: tuple[Strip, ...]

    @property
    def switches(self) -> int:
        """Number of switches in all strips."""
        return sum(len(strip.switches) for strip in self.strips)


def timeline(video: str, length: int, strips: Sequence[Strip]) -> Timeline:
    """Stack the strips of a video of `length` frames."""
    return Timeline(video, length, _width(length), _ticks(length, _width(length)), tuple(strips))


def strip(
    track: ObjectTrack,
    length: int,
    switches: Iterable[IdentitySwitch],
    result: str = '',
    lost: Sequence[tuple[int, int]] = (),
) -> Strip:
    """Lay out an object of a video of `length` frames.

    Args:
        track: the object.
        length: number of frames.
        switches: the switches of this object.
        result: name of the results, if there are several.
        lost: first and last frames of the stretches to point out.
    """
    name = f'object {id_text(track.object_id)}{result and f", {result}"}'
    class_name = '' if track.class_name == 'object' else track.class_name  # ground truth without class labels
    found = sum(map(_frames, track.runs))
    return Strip(
        name=name,
        class_name=class_name,
        title=f'{name} {class_name}'.rstrip() + f': visible in {track.frames} of {length} frames, found in {found}',
        description=_description(track.runs),
        visible=_path(track.visible),
        bars=tuple(_bars(track.runs)),
        labels=tuple(_labels(track.runs, length)),
        switches=tuple(_percent(switch.frame, length) for switch in switches),
        lost=_path(lost),
    )


def svg_color(result_id: int) -> str:
    """The color of a track in the overlay, as #rrggbb."""
    blue, green, red = identity_color(result_id % EPOCH)
    return f'#{red:02x}{green:02x}{blue:02x}'


def svg_ink(result_id: int) -> str:
    """Black or white, whichever is legible on the color of a track."""
    blue, green, red = identity_color(result_id % EPOCH)
    return '#000' if 0.114 * blue + 0.587 * green + 0.299 * red > 128 else '#fff'  # Rec. 601 luma


def short_id(result_id: int) -> str:
    """A short form of a track id: '5', or '2:5' in epoch 2."""
    epoch, number = divmod(result_id, EPOCH)
    return f'{epoch}:{number}' if epoch else str(number)


def _bars(runs: Sequence[MatchedRun]) -> list[Bars]:
    by_track: dict[int, list[MatchedRun]] = {}
    for run in runs:
        by_track.setdefault(run.result_id, []).append(run)
    frames = {result_id: sum(map(_frames, its)) for result_id, its in by_track.items()}
    colored = sorted(by_track, key=lambda result_id: -frames[result_id])[:MAX_COLORED_TRACKS]
    bars = [
        Bars(
            f'track {id_text(result_id)}: {frames[result_id]} frames',
            svg_color(result_id),
            _path([(run.first, run.last) for run in by_track[result_id]]),
        )
        for result_id in colored
    ]
    if others := by_track.keys() - set(colored):
        spans = [(run.first, run.last) for run in runs if run.result_id in others]
        bars.append(Bars(f'{len(others)} other tracks with fewer frames', _OTHERS_COLOR, _path(spans)))
    return bars


def _labels(runs: Sequence[MatchedRun], length: int) -> list[Label]:
    labels, width = [], _width(length)
    for run in runs:
        text = short_id(run.result_id)
        if _frames(run) * width / length >= _DIGIT * len(text) + _PAD:
            labels.append(Label(_percent(run.first + _frames(run) / 2, length), text, svg_ink(run.result_id)))
    return labels


def _description(runs: Sequence[MatchedRun]) -> str:
    if not runs:
        return 'Never found.'
    texts = [f'{id_text(run.result_id)} in frames {run.first} to {run.last}' for run in runs[:_DESCRIBED_RUNS]]
    more = f'; and {len(runs) - len(texts)} more' if len(runs) > len(texts) else ''
    return f'Track {"; ".join(texts)}{more}.'


def _width(length: int) -> int:
    return min(MAX_WIDTH, max(MIN_WIDTH, length // 4))


def _path(spans: Sequence[tuple[int, int]]) -> str:
    return ''.join(f'M{first} .5h{last - first + 1}' for first, last in spans)


def _ticks(length: int, width: int) -> tuple[TimelineTick, ...]:
    """Ticks at multiples of 1, 2 or 5 times a power of ten, at least 80 pixels apart."""
    step = 1
    while step * width < 80 * length:
        step = step * 5 // 2 if str(step)[0] == '2' else step * 2
    return tuple(TimelineTick(_percent(frame, length), frame) for frame in range(0, length, step))


def _percent(frame: float, length: int) -> float:
    return round(100 * frame / length, 4)


def _frames(run: MatchedRun) -> int:
    return run.last - run.first + 1
