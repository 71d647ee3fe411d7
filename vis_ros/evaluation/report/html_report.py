"""The report of an evaluation: one HTML file with tables, charts and pictures in it, to read, print and pass on."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import vis_ros
from vis_ros.datasets.video import AnnotatedVideos, id_text
from vis_ros.evaluation.alignment import align, pair_videos
from vis_ros.evaluation.compare_results import Comparison, Difference
from vis_ros.evaluation.evaluation import COUNTS, METRICS, Evaluation, ObjectTrack, Switch
from vis_ros.evaluation.report import charts
from vis_ros.evaluation.report.switch_pictures import Moment, take_pictures
from vis_ros.evaluation.report.timeline import Strip, Timeline, strip, svg_colour, svg_ink, timeline
from vis_ros.evaluation.survey import survey

MEANINGS = {
    'AP': 'average precision of whole tracks, mean over ten IoU thresholds from 0.50 to 0.95 (YouTube-VIS)',
    'AP50': 'average precision where a track counts as found at an IoU of 0.50 over the whole video',
    'AP75': 'average precision where a track counts as found at an IoU of 0.75 over the whole video',
    'AR1': 'share of the true objects found with one track a video, mean over the thresholds of AP',
    'AR10': 'share of the true objects found with ten tracks a video, mean over the thresholds of AP',
    'HOTA': 'geometric mean of finding (DetA) and keeping identities (AssA), over IoU thresholds from 0.05 to 0.95',
    'DetA': 'how well objects are found in single frames, whatever their identity',
    'AssA': 'how well an object that is found keeps one identity, and an identity one object',
    'IDF1': 'share of objects and results that have the one identity that fits the whole video best',
    'IDSW': 'identity switches: how often an object is found under another identity than before (fewer is better)',
    'Frag': 'fragmentations: how often an object is lost and found again (fewer is better)',
    'MOTA': '1 minus misses, false finds and switches for each true object; below 0 where these are more',
    'sMOTSA': 'MOTA in which each find counts as much as its mask overlaps',
    'J': 'region: mean IoU of each object with the one identity assigned to it (DAVIS)',
    'F': 'contour: mean F-measure of the outlines of each object and the one identity assigned to it (DAVIS)',
    'J&F': 'mean of J and F',
}
MOST_PICTURES = 24
MOST_STRIPS = 2000
MOST_COMPARED = 500
MOST_ROWS = 1000
"""So many switches have pictures, so many objects a timeline and so many are compared in one, so many rows has a table.
How many more there are is said."""

_NOISE = 1e-9  # of sums of floats
_OPEN_STRIPS = 60  # timelines of videos beyond so many objects wait folded
_SETTING_ITEMS = 12

Row = TypeVar('Row')


@dataclass(frozen=True)
class Few(Generic[Row]):
    """The first of many: those shown, and how many more there are."""

    shown: Sequence[Row]
    more: int


@dataclass(frozen=True)
class Picture:
    """A JPEG as a data URI, or in words why there is none (then `uri` is empty)."""

    caption: str
    uri: str
    problem: str


@dataclass(frozen=True)
class Card:
    """A switch in two pictures."""

    switch: Switch
    pictures: tuple[Picture, Picture]


def write_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    truth: AnnotatedVideos | None = None,
    results: AnnotatedVideos | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Write an evaluation as one HTML file that needs no other file, no script and no network.

    The same arguments give the same bytes.

    Args:
        evaluation: what is shown.
        path: of the HTML file; its folder exists.
        truth, results: the two that were evaluated, for pictures of the switches with the outlines of both. The images
            are those of the truth, or of the results where the truth leads to none. Without the two no pictures.
        comparison: of two results, of which `evaluation` is one.

    Raises:
        OSError: the file cannot be written.
        AnnotationError: the videos cannot be read again.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['figure'] = figure
    environment.filters['change'] = change
    environment.filters['id'] = id_text
    environment.filters['colour'] = svg_colour
    environment.filters['ink'] = svg_ink
    text = environment.get_template('report.html.j2').render(
        evaluation=evaluation,
        version=vis_ros.__version__,
        metrics=METRICS,
        meanings=MEANINGS,
        settings=_settings(evaluation.settings),
        statements=evaluation.coverage.statements(),
        videos=_few(list(evaluation.per_video.items()), MOST_ROWS),
        classes=_few(list(evaluation.per_class.items()), MOST_ROWS),
        timelines=_timelines(evaluation),
        more_strips=max(0, len(evaluation.objects) - MOST_STRIPS),
        open_strips=_OPEN_STRIPS,
        has_epochs=any(run.result_id >= 2**32 for track in evaluation.objects for run in track.runs),
        objects=_few(evaluation.objects, MOST_ROWS),
        switches=_few(evaluation.switches, MOST_ROWS),
        cards=_cards(evaluation, truth, results),
        precision_recall=charts.precision_recall(evaluation.precision),
        latency=charts.latency_histogram(evaluation.latencies_ms),
        chart=charts,
        comparison=comparison,
        compared_timelines=_compared_timelines(comparison) if comparison else [],
        more_compared=max(0, len(comparison.objects) - MOST_COMPARED) if comparison else 0,
        losses=_few(comparison.losses, MOST_ROWS) if comparison else None,
        compared_videos=_few(list(comparison.per_video.items()), MOST_ROWS) if comparison else None,
    )
    Path(path).write_text(text, encoding='utf-8', newline='\n')


def figure(value: float, name: str) -> str:
    """A figure as text: counts as whole numbers, the others to three places, and never rounded up to a perfect 1."""
    if name in COUNTS:
        return f'{value:,.0f}'
    text = f'{value:.3f}'
    if text == '1.000' and value < 1 - _NOISE:
        return '>0.999'
    return '<0.001' if text == '0.000' and value > _NOISE else text.replace('-', '−')


def change(difference: Difference) -> str:
    """The change from A to B with its sign, and in words whether that is better."""
    if abs(difference.change) <= _NOISE:
        return 'same'
    better = (difference.change > 0) != (difference.metric in COUNTS)
    form = '+,.0f' if difference.metric in COUNTS else '+.3f' if abs(difference.change) >= 0.001 else '+.1g'
    return f'{difference.change:{form}} {"better" if better else "worse"}'.replace('-', '−')


def _few(rows: Sequence[Row], most: int) -> Few[Row]:
    return Few(rows[:most], max(0, len(rows) - most))


def _settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Those that say something, as text."""
    return [(name, _text(value)) for name, value in settings.items() if value not in ('', None, [], {})]


def _text(value: object) -> str:
    """Of lists and dictionaries the first items."""
    if isinstance(value, dict):
        items = [str(key) if each in ('', None) else f'{key}: {_text(each)}' for key, each in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [_text(each) for each in value[:_SETTING_ITEMS]] + [''] * (len(value) - _SETTING_ITEMS)
    else:
        return str(value)
    more = len(items) - _SETTING_ITEMS
    return ', '.join(items[:_SETTING_ITEMS]) + (f' and {more:,} more' if more > 0 else '')


def _timelines(evaluation: Evaluation) -> list[Timeline]:
    """Those of the first objects."""
    switches = _switches(evaluation)
    timelines = []
    for video, tracks in _by_video(evaluation.objects[:MOST_STRIPS]).items():
        length = evaluation.lengths[video]
        strips = [strip(track, length, switches.get((video, track.object_id), ())) for track in tracks]
        timelines.append(timeline(video, length, strips))
    return timelines


def _compared_timelines(comparison: Comparison) -> list[Timeline]:
    """Of the first objects that differ: A, and B under it. Each has its losses pointed out."""
    switches = [_switches(side) for side in (comparison.a, comparison.b)]
    losses: dict[tuple[str, int, str], list[tuple[int, int]]] = {}
    for loss in comparison.losses:
        losses.setdefault((loss.video, loss.object_id, loss.lost_in), []).append((loss.first, loss.last))
    strips: dict[str, list[Strip]] = {}
    for pair in comparison.objects[:MOST_COMPARED]:
        key = pair.a.video, pair.a.object_id
        for track, its_switches, side in zip((pair.a, pair.b), switches, 'ab', strict=True):
            length = comparison.a.lengths[track.video]
            row = strip(track, length, its_switches.get(key, ()), side.upper(), losses.get((*key, side), ()))
            strips.setdefault(track.video, []).append(row)
    return [timeline(video, comparison.a.lengths[video], rows) for video, rows in strips.items()]


def _switches(evaluation: Evaluation) -> dict[tuple[str, int], list[Switch]]:
    """(video, object id) -> its switches."""
    switches: dict[tuple[str, int], list[Switch]] = {}
    for switch in evaluation.switches:
        switches.setdefault((switch.video, switch.object_id), []).append(switch)
    return switches


Located = TypeVar('Located', ObjectTrack, Switch)


def _by_video(items: Iterable[Located]) -> dict[str, list[Located]]:
    grouped: dict[str, list[Located]] = {}
    for item in items:
        grouped.setdefault(item.video, []).append(item)
    return grouped


def _cards(evaluation: Evaluation, truth: AnnotatedVideos | None, results: AnnotatedVideos | None) -> list[Card]:
    """Pictures of a few switches, evenly spread over all of them."""
    count = min(MOST_PICTURES, len(evaluation.switches))
    chosen = _by_video([evaluation.switches[index * len(evaluation.switches) // count] for index in range(count)])
    if truth is None or results is None or not chosen:
        return []
    tracks = {(track.video, track.object_id): track for track in evaluation.objects}
    cards = []
    for its_truth, its_results in pair_videos(results, truth):
        pairs = {
            switch: _moments(switch, tracks[its_truth.name, switch.object_id])
            for switch in chosen.get(its_truth.name, [])
        }
        if pairs:
            common_frames = evaluation.coverage.left_out > 0  # if none is left out, it makes no difference
            keys = [survey(video).frames if video else () for video in (its_truth, its_results)]
            alignment = align(its_truth, keys[0], its_results, keys[1], common_frames=common_frames)
            taken = take_pictures(alignment.pairs(), [moment for pair in pairs.values() for moment in pair])
            cards += [
                Card(switch, (_picture(before, taken[before]), _picture(after, taken[after])))
                for switch, (before, after) in pairs.items()
            ]
    return cards


def _moments(switch: Switch, track: ObjectTrack) -> tuple[Moment, Moment]:
    """The last frame on the identity before, and the first on the one after."""
    earlier = [run.last for run in track.runs if run.last < switch.frame and run.result_id == switch.before]
    before = Moment(max(earlier, default=switch.frame - 1), switch.object_id, switch.before)
    return before, Moment(switch.frame, switch.object_id, switch.after)


def _picture(moment: Moment, taken: bytes | str) -> Picture:
    caption = f'frame {moment.frame}: identity {id_text(moment.result_id)}'
    if isinstance(taken, str):
        return Picture(caption, '', taken)
    return Picture(caption, f'data:image/jpeg;base64,{base64.b64encode(taken).decode()}', '')
