"""The identity timeline of one video: which identity was on which true object when, as geometry for the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vis_ros.datasets.video import id_text
from vis_ros.evaluation.evaluation import ObjectTrack, Run, Switch
from vis_ros.visualization import identity_colour

MIN_WIDTH, MAX_WIDTH = 640, 4000
"""Pixels that a strip has at least: as many as leave MIN_WIDTH or four frames a pixel, but no more than MAX_WIDTH."""

COLOURED_IDENTITIES = 200
"""So many identities of an object have bars of their own colour; those on it for the shortest time share one."""

_DIGIT, _PAD = 8, 6  # pixels of a character of a bar's label, and around the label
_OTHERS = '#777777'
_DESCRIBED_RUNS = 12


@dataclass(frozen=True)
class Bars:
    """One identity on one object: an SVG path of horizontal lines in units of frames, (0, 0.5) to (length, 0.5)."""

    title: str
    colour: str
    path: str


@dataclass(frozen=True)
class Label:
    """The name of an identity on its bar, `x` per cent of the strip from the left to its middle."""

    x: float
    text: str
    ink: str


@dataclass(frozen=True)
class Strip:
    """One row: a true object. `visible` and `lost` are paths as in Bars; `marks` are the switches in per cent."""

    name: str
    class_name: str
    title: str
    description: str
    visible: str
    bars: tuple[Bars, ...]
    labels: tuple[Label, ...]
    marks: tuple[float, ...]
    lost: str


@dataclass(frozen=True)
class TimelineTick:
    """A labelled frame number, `x` per cent from the left."""

    x: float
    frame: int


@dataclass(frozen=True)
class Timeline:
    """The strips of one video of `length` frames, with its ticks; `width` is the least width of a strip in pixels."""

    video: str
    length: int
    width: int
    ticks: tuple[TimelineTick, ...]
    strips: tuple[Strip, ...]

    @property
    def switches(self) -> int:
        """How many there are in all strips."""
        return sum(len(strip.marks) for strip in self.strips)


def timeline(video: str, length: int, strips: Sequence[Strip]) -> Timeline:
    """Put the strips of a video of `length` frames under each other."""
    return Timeline(video, length, _width(length), _ticks(length, _width(length)), tuple(strips))


def strip(
    track: ObjectTrack,
    length: int,
    switches: Iterable[Switch],
    result: str = '',
    lost: Sequence[tuple[int, int]] = (),
) -> Strip:
    """Lay out an object of a video of `length` frames.

    Args:
        track: the object.
        length: frames of its video.
        switches: its own.
        result: which result it is about, where there are several.
        lost: first and last frames of what is to be pointed out.
    """
    name = f'object {id_text(track.object_id)}{result and f", {result}"}'
    class_name = '' if track.class_name == 'object' else track.class_name  # of truth that tells no classes
    found = sum(map(_frames, track.runs))
    return Strip(
        name=name,
        class_name=class_name,
        title=f'{name} {class_name}'.rstrip() + f': visible in {track.frames} of {length} frames, found in {found}',
        description=_description(track.runs),
        visible=_path(track.visible),
        bars=tuple(_bars(track.runs)),
        labels=tuple(_labels(track.runs, length)),
        marks=tuple(_percent(switch.frame, length) for switch in switches),
        lost=_path(lost),
    )


def svg_colour(result_id: int) -> str:
    """The colour that the overlay gives an identity, as #rrggbb."""
    blue, green, red = identity_colour(result_id % 2**32)
    return f'#{red:02x}{green:02x}{blue:02x}'


def svg_ink(result_id: int) -> str:
    """Black or white, whichever is legible on the colour of an identity."""
    blue, green, red = identity_colour(result_id % 2**32)
    return '#000' if 0.114 * blue + 0.587 * green + 0.299 * red > 128 else '#fff'  # Rec. 601 luma


def short_id(result_id: int) -> str:
    """An identity in few characters: its number, and the epoch before it where that is not the first."""
    epoch, number = divmod(result_id, 2**32)
    return f'{epoch}:{number}' if epoch else str(number)


def _bars(runs: Sequence[Run]) -> list[Bars]:
    by_identity: dict[int, list[Run]] = {}
    for run in runs:
        by_identity.setdefault(run.result_id, []).append(run)
    frames = {result_id: sum(map(_frames, its)) for result_id, its in by_identity.items()}
    coloured = sorted(by_identity, key=lambda result_id: -frames[result_id])[:COLOURED_IDENTITIES]
    bars = [
        Bars(
            f'identity {id_text(result_id)}: {frames[result_id]} frames',
            svg_colour(result_id),
            _path([(run.first, run.last) for run in by_identity[result_id]]),
        )
        for result_id in coloured
    ]
    if others := by_identity.keys() - set(coloured):
        spans = [(run.first, run.last) for run in runs if run.result_id in others]
        bars.append(Bars(f'{len(others)} other identities, fewer frames each', _OTHERS, _path(spans)))
    return bars


def _labels(runs: Sequence[Run], length: int) -> list[Label]:
    labels, width = [], _width(length)
    for run in runs:
        text = short_id(run.result_id)
        if _frames(run) * width / length >= _DIGIT * len(text) + _PAD:
            labels.append(Label(_percent(run.first + _frames(run) / 2, length), text, svg_ink(run.result_id)))
    return labels


def _description(runs: Sequence[Run]) -> str:
    if not runs:
        return 'No identity was ever on it.'
    told = [f'{id_text(run.result_id)} in frames {run.first} to {run.last}' for run in runs[:_DESCRIBED_RUNS]]
    more = f'; and {len(runs) - len(told)} more' if len(runs) > len(told) else ''
    return f'Identity {"; ".join(told)}{more}.'


def _width(length: int) -> int:
    return min(MAX_WIDTH, max(MIN_WIDTH, length // 4))


def _path(spans: Sequence[tuple[int, int]]) -> str:
    return ''.join(f'M{first} .5h{last - first + 1}' for first, last in spans)


def _ticks(length: int, width: int) -> tuple[TimelineTick, ...]:
    """At multiples of 1, 2 or 5 times a power of ten, eighty pixels or more apart."""
    step = 1
    while step * width < 80 * length:
        step = step * 5 // 2 if str(step)[0] == '2' else step * 2
    return tuple(TimelineTick(_percent(frame, length), frame) for frame in range(0, length, step))


def _percent(frame: float, length: int) -> float:
    return round(100 * frame / length, 4)


def _frames(run: Run) -> int:
    return run.last - run.first + 1
