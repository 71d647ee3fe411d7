"""The report of an evaluation: one self-contained HTML file with tables, charts and images."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import vis_ros
from vis_ros.datasets.video import EPOCH, AnnotatedVideos, id_text
from vis_ros.datasets.video_summary import summarize
from vis_ros.evaluation.alignment import align, pair_videos
from vis_ros.evaluation.compare_results import Comparison, MetricDifference
from vis_ros.evaluation.evaluation import COUNTS, Evaluation, IdentitySwitch, ObjectTrack
from vis_ros.evaluation.leading_figure import leading_figure, meaningful, shown_figures
from vis_ros.evaluation.report import charts
from vis_ros.evaluation.report.clip import NEEDED, EncodedClip
from vis_ros.evaluation.report.incident_images import DrawnIncident, draw_incidents
from vis_ros.evaluation.report.incidents import Incident, losses, switch_incidents
from vis_ros.evaluation.report.timeline import Strip, Timeline, strip, svg_color, svg_ink, timeline
from vis_ros.evaluation.settings_difference import settings_known
from vis_ros.tracking.settings import NodeSettings
from vis_ros.whole_file import write_whole

METRIC_DESCRIPTIONS = {
    'AP': 'average precision of whole tracks, mean over ten IoU thresholds from 0.50 to 0.95 (YouTube-VIS)',
    'AP50': 'average precision at an IoU threshold of 0.50 over the whole video',
    'AP75': 'average precision at an IoU threshold of 0.75 over the whole video',
    'AR1': 'recall with the best track of each video, mean over the thresholds of AP',
    'AR10': 'recall with the ten best tracks of each video, mean over the thresholds of AP',
    'HOTA': 'geometric mean of DetA and AssA, mean over IoU thresholds from 0.05 to 0.95',
    'DetA': 'detection accuracy in single frames, whatever the track ids',
    'AssA': 'association accuracy: whether each object keeps one track, and each track one object',
    'IDF1': 'share of detections that agree with the best one-to-one assignment of tracks to objects',
    'IDSW': 'identity switches: how often the track on an object changes (lower is better)',
    'Frag': 'fragmentations: how often an object is lost and found again (lower is better)',
    'MOTA': '1 - (misses + false positives + switches) / true detections; can be negative',
    'sMOTSA': 'MOTA with each match weighted by its mask IoU',
    'J': 'region similarity: mean mask IoU of each object and the track assigned to it (DAVIS)',
    'F': 'contour accuracy: mean F-measure of the outlines of each object and the track assigned to it (DAVIS)',
    'J&F': 'mean of J and F',
}

PHOTO_DESCRIPTIONS = METRIC_DESCRIPTIONS | {
    'AP': 'average precision of masks, mean over ten IoU thresholds from 0.50 to 0.95 (COCO)',
    'AP50': 'average precision at an IoU threshold of 0.50',
    'AP75': 'average precision at an IoU threshold of 0.75',
    'AR1': 'recall with the best detection of each photo, mean over the thresholds of AP',
    'AR10': 'recall with the ten best detections of each photo, mean over the thresholds of AP',
    'J': 'mean mask IoU of each object and the detection that fits it best',
    'F': 'mean F-measure of the outlines of each object and the detection that fits it best',
}

# Limits of a report. What is left out is counted in the report.
MAX_SWITCH_IMAGES = 24
MAX_LOSS_IMAGES = 12
MAX_STRIPS = 2000
MAX_COMPARED_STRIPS = 500
MAX_ROWS = 1000

_DEFAULTS = {**asdict(NodeSettings()), 'cameras': ['']}  # as JSON has them
_NOISE = 1e-9
"""Rounding error of sums of floats."""
_OPEN_STRIPS = 60
"""Timelines after this number of objects are folded."""
_SETTING_ITEMS = 12
"""Items of a list in the settings that are shown."""

Row = TypeVar('Row')


@dataclass(frozen=True)
class FirstRows(Generic[Row]):
    """The first rows of a table, and the number of rows that are not shown."""

    shown: Sequence[Row]
    more: int


@dataclass(frozen=True)
class CardImage:
    """A JPEG as a data URI, or the reason why there is none (then `uri` is empty)."""

    caption: str
    uri: str
    problem: str


@dataclass(frozen=True)
class Card:
    """An incident with its images, and its clip if there is one."""

    incident: Incident
    images: tuple[CardImage, ...]
    clip: EncodedClip | None


@dataclass(frozen=True)
class RecordingRow:
    """A recording in the report of a library: its own report, its class-agnostic figures, and its worst moment."""

    name: str
    href: str
    figures: Mapping[str, float]
    worst: CardImage | None


def write_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    truth: AnnotatedVideos | None = None,
    results: AnnotatedVideos | None = None,
    comparison: Comparison | None = None,
    sheet: bytes | None = None,
    recordings: Sequence[RecordingRow] = (),
) -> CardImage | None:
    """Write an evaluation as one HTML file without references to other files, but for `recordings`.

    The same arguments give the same bytes.

    Args:
        evaluation: what to show.
        path: of the HTML file; its folder must exist.
        truth, results: what was evaluated. With both, the report has images and clips of losses and switches with
            the outlines of both. The images are those of the ground truth, or of the results if it has none.
        comparison: of two results, one of which is `evaluation`.
        sheet: of photos, the JPEG with the most mistakes.
        recordings: of a library. The report has a table of them in place of their objects.

    Returns:
        the picture of the longest loss, or of a switch if nothing is lost; None without pictures.

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
    environment.filters['metric'] = metric_text
    environment.filters['change'] = change_text
    environment.filters['interval'] = interval_text
    environment.filters['id'] = id_text
    environment.filters['color'] = svg_color
    environment.filters['ink'] = svg_ink
    leading = leading_figure(evaluation.photos, evaluation.labels, evaluation.objects, evaluation.aware is not None)
    # Photos have no identities.
    switched, lost = ([], []) if evaluation.photos else (switch_incidents(evaluation), losses(evaluation))
    switch_cards = _cards(evaluation, _evenly(switched, MAX_SWITCH_IMAGES), truth, results)
    loss_cards = _cards(evaluation, lost[:MAX_LOSS_IMAGES], truth, results)
    text = environment.get_template('report.html.j2').render(
        evaluation=evaluation,
        version=vis_ros.__version__,
        groups=shown_figures(evaluation.photos, evaluation.labels),
        leading=leading,
        unknown_settings=settings_known(comparison.a.settings, comparison.b.settings) if comparison else '',
        sheet='' if sheet is None else _data_uri(sheet),
        descriptions=PHOTO_DESCRIPTIONS if evaluation.photos else METRIC_DESCRIPTIONS,
        settings=_settings(evaluation.settings),
        statements=evaluation.coverage.statements(),
        videos=_first(evaluation.worst_first(leading.metric), MAX_ROWS),
        cameras=_first(list(evaluation.per_camera.items()), MAX_ROWS),
        classes=_first(list(evaluation.per_class.items()), MAX_ROWS),
        timelines=[] if recordings else _timelines(evaluation),
        more_strips=max(0, len(evaluation.objects) - MAX_STRIPS),
        open_strips=_OPEN_STRIPS,
        has_epochs=any(run.result_id >= EPOCH for track in evaluation.objects for run in track.runs),
        objects=_first(evaluation.objects, MAX_ROWS),
        switches=_first(evaluation.switches, MAX_ROWS),
        switch_cards=switch_cards,
        loss_cards=loss_cards,
        recordings=sorted(recordings, key=lambda row: row.figures[leading.metric]),
        losses=lost,
        clips_need=NEEDED,
        precision_recall=charts.precision_recall(evaluation.precision),
        latency=charts.latency_histogram(evaluation.latencies_ms),
        chart=charts,
        comparison=comparison,
        compared_timelines=_compared_timelines(comparison) if comparison else [],
        more_compared=max(0, len(comparison.objects) - MAX_COMPARED_STRIPS) if comparison else 0,
        lost_identities=_first(comparison.lost_identities, MAX_ROWS) if comparison else None,
        compared_videos=_first(_differing_videos(comparison), MAX_ROWS) if comparison else None,
    )
    write_whole(Path(path), text)
    pictures = [card.images[-1] for card in (*loss_cards, *switch_cards) if card.images[-1].uri]
    return pictures[0] if pictures else None


def metric_text(value: float, name: str) -> str:
    """A metric as text: counts as integers, others with three decimals, never rounded up to a perfect 1."""
    if name in COUNTS:
        return f'{value:,.0f}'
    text = f'{value:.3f}'
    if text == '1.000' and value < 1 - _NOISE:
        return '>0.999'
    return '<0.001' if text == '0.000' and value > _NOISE else text.replace('-', '−')


def change_text(difference: MetricDifference) -> str:
    """The change from A to B with its sign, and whether that is better or worse, or undecided without an interval."""
    if abs(difference.change) <= _NOISE:
        return 'same'
    form = '+,.0f' if difference.metric in COUNTS else '+.3f' if abs(difference.change) >= 0.001 else '+.6f'
    return f'{difference.change:{form}} {difference.word}'.replace('-', '−')


def interval_text(difference: MetricDifference) -> str:
    """The interval of a change; a dash where there is none."""
    if difference.interval is None:
        return '–'
    form = '+,.1f' if difference.metric in COUNTS else '+.3f'
    return f'{difference.interval.low:{form}} to {difference.interval.high:{form}}'.replace('-', '−')


def _differing_videos(comparison: Comparison) -> list[tuple[str, tuple[MetricDifference, ...]]]:
    """The videos that differ in a figure that means something, and these figures."""
    names = meaningful(comparison.a.photos, comparison.a.labels)
    shown = {
        video: tuple(each for each in differences if each.metric in names)
        for video, differences in comparison.per_video.items()
    }
    return [(video, its) for video, its in shown.items() if any(each.change for each in its)]


def _first(rows: Sequence[Row], most: int) -> FirstRows[Row]:
    return FirstRows(rows[:most], max(0, len(rows) - most))


def _settings(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the settings that are not empty; those of the model only where they are not the default."""
    own = settings.get('settings')
    if isinstance(own, dict):
        changed = {name: value for name, value in own.items() if _DEFAULTS.get(name) != value}
        settings = {name: value for name, value in settings.items() if name != 'settings'}
        settings['settings other than default'] = changed
    return [(name, _text(value)) for name, value in settings.items() if value not in ('', None, [], {})]


def _text(value: object) -> str:
    """A value as text; of lists and dictionaries the first items."""
    if isinstance(value, dict):
        items = [str(key) if each in ('', None) else f'{key}: {_text(each)}' for key, each in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [_text(each) for each in value[:_SETTING_ITEMS]] + [''] * (len(value) - _SETTING_ITEMS)
    else:
        return str(value)
    more = len(items) - _SETTING_ITEMS
    return ', '.join(items[:_SETTING_ITEMS]) + (f' and {more:,} more' if more > 0 else '')


def _timelines(evaluation: Evaluation) -> list[Timeline]:
    """The timelines of the first objects."""
    switches = _switches(evaluation)
    timelines = []
    for video, tracks in _by_video(evaluation.objects[:MAX_STRIPS]).items():
        length = evaluation.lengths[video]
        strips = [strip(track, length, switches.get((video, track.object_id), ())) for track in tracks]
        timelines.append(timeline(video, length, strips))
    return timelines


def _compared_timelines(comparison: Comparison) -> list[Timeline]:
    """The timelines of the first objects that differ: A with B below it, and where each lost the identity."""
    switches = [_switches(side) for side in (comparison.a, comparison.b)]
    losses: dict[tuple[str, int, str], list[tuple[int, int]]] = {}
    for loss in comparison.lost_identities:
        losses.setdefault((loss.video, loss.object_id, loss.lost_in), []).append((loss.first, loss.last))
    strips: dict[str, list[Strip]] = {}
    for pair in comparison.objects[:MAX_COMPARED_STRIPS]:
        key = pair.a.video, pair.a.object_id
        for track, its_switches, side in zip((pair.a, pair.b), switches, 'ab', strict=True):
            length = comparison.a.lengths[track.video]
            row = strip(track, length, its_switches.get(key, ()), side.upper(), losses.get((*key, side), ()))
            strips.setdefault(track.video, []).append(row)
    return [timeline(video, comparison.a.lengths[video], rows) for video, rows in strips.items()]


def _switches(evaluation: Evaluation) -> dict[tuple[str, int], list[IdentitySwitch]]:
    """(video, object id) -> the switches of the object."""
    switches: dict[tuple[str, int], list[IdentitySwitch]] = {}
    for switch in evaluation.switches:
        switches.setdefault((switch.video, switch.object_id), []).append(switch)
    return switches


def _by_video(items: Iterable[ObjectTrack]) -> dict[str, list[ObjectTrack]]:
    grouped: dict[str, list[ObjectTrack]] = {}
    for item in items:
        grouped.setdefault(item.video, []).append(item)
    return grouped


def _cards(
    evaluation: Evaluation,
    incidents: Sequence[Incident],
    truth: AnnotatedVideos | None,
    results: AnnotatedVideos | None,
) -> list[Card]:
    """Images and clips of incidents, in their order; none without videos."""
    if truth is None or results is None or not incidents:
        return []
    common_frames = evaluation.coverage.left_out > 0  # without left out frames it makes no difference
    drawn: dict[Incident, DrawnIncident] = {}
    for truth_video, result_video in pair_videos(results, truth):
        here = [each for each in incidents if each.video == truth_video.name]
        if here:
            keys = [summarize(video).frames if video else () for video in (truth_video, result_video)]
            alignment = align(truth_video, keys[0], result_video, keys[1], common_frames=common_frames)
            drawn |= draw_incidents(alignment.pairs(), here)
    return [
        Card(
            each,
            tuple(
                _card_image(*moment, image) for moment, image in zip(each.moments(), drawn[each].images, strict=True)
            ),
            drawn[each].clip,
        )
        for each in incidents
    ]


def _evenly(incidents: Sequence[Incident], most: int) -> list[Incident]:
    count = min(most, len(incidents))
    return [incidents[index * len(incidents) // count] for index in range(count)]


def _card_image(frame: int, track_id: int | None, drawn: bytes | str) -> CardImage:
    caption = f'frame {frame}: ' + ('not found' if track_id is None else f'track {id_text(track_id)}')
    if isinstance(drawn, str):
        return CardImage(caption, '', drawn)
    return CardImage(caption, _data_uri(drawn), '')


def _data_uri(jpeg: bytes) -> str:
    return f'data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'
