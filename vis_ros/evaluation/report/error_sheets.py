"""A contact sheet of each evaluated video, with its errors marked: switches, lost and false objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vis_ros.claim import claim
from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.frame_images import folder_names
from vis_ros.datasets.video import EPOCH, AnnotatedFrame, AnnotatedVideos
from vis_ros.datasets.video_summary import summarize
from vis_ros.evaluation.alignment import FramePair, align, pair_videos
from vis_ros.evaluation.evaluation import Evaluation
from vis_ros.evaluation.metrics.mask_overlaps import measure
from vis_ros.instances import Instances
from vis_ros.visualization import TruthMarks, VideoSheet, draw_overlay

FOLDER = 'sheets'
_EVEN, _SWITCHES = 8, 8
"""Images of a sheet: evenly spaced ones, and some of those with a switch."""


def write_error_sheets(out: Path, evaluation: Evaluation, truth: AnnotatedVideos, results: AnnotatedVideos) -> int:
    """Write <out>/sheets/<video>.png for each video with images; returns how many. Earlier sheets are removed."""
    folder = out / FOLDER
    claim(folder)
    for old in folder.glob('*.png'):
        old.unlink()
    common_frames = evaluation.coverage.left_out > 0  # without left out frames it makes no difference
    pairs = [pair for pair in pair_videos(results, truth) if pair[0].name in evaluation.lengths]
    count = 0
    for name, (truth_video, result_video) in zip(folder_names([each.name for each, _ in pairs]), pairs, strict=True):
        keys = [summarize(video).frames if video else () for video in (truth_video, result_video)]
        alignment = align(truth_video, keys[0], result_video, keys[1], common_frames=common_frames)
        errors = _Errors(evaluation, truth_video.name, results.class_names)
        sheet, shown = VideoSheet(_EVEN + _SWITCHES), errors.frames()
        for position, pair in enumerate(alignment.pairs()):
            if position in shown:
                errors.draw(position, pair, sheet)
        if len(sheet):
            sheet.write(folder / f'{name}.png')
            count += 1
    return count


class _Errors:
    """The errors of one video, from its evaluation. Where only some objects are labeled, nothing is called false."""

    def __init__(self, evaluation: Evaluation, video: str, class_names: tuple[str, ...]) -> None:
        self._length = evaluation.lengths[video]
        self._objects = [each for each in evaluation.objects if each.video == video]
        self._switches = [each for each in evaluation.switches if each.video == video]
        self._class_names = class_names
        self._all_labeled = evaluation.labels == 'exhaustive'
        self._start_ns: int | None = None

    def frames(self) -> set[int]:
        """The frames to show."""
        switches = sorted({each.frame for each in self._switches})
        return {*_spread(range(self._length), _EVEN), *_spread(switches, _SWITCHES)}

    def draw(self, position: int, pair: FramePair, sheet: VideoSheet) -> None:
        """Add the picture of a frame to the sheet, if the frame has an image."""
        truth, result = pair
        read_image = truth.read_image or (result.read_image if result else None)
        image = None if read_image is None else read_image()
        if image is None or image.shape[:2] != tuple(truth.size):
            return
        nothing = Instances.empty(truth.size).with_fields(track_ids=[])
        found = nothing if result is None else _instances(result, self._class_names)
        marks = self._marks(position, truth, result)
        self._start_ns = truth.stamp_ns if self._start_ns is None else self._start_ns
        when = truth.name
        if truth.stamp_ns is not None and self._start_ns is not None:
            when = f'{(truth.stamp_ns - self._start_ns) / 1e9:.2f} s  {when}'
        sheet.add(draw_overlay(image, found, marks=marks), f'{when}  {marks.in_words()}'.rstrip())

    def _marks(self, position: int, truth: AnnotatedFrame, result: AnnotatedFrame | None) -> TruthMarks:
        matched = {
            each.object_id: run.result_id
            for each in self._objects
            for run in each.runs
            if run.first <= position <= run.last
        }
        places = {} if result is None else {number: place for place, number in enumerate(result.track_ids.tolist())}
        overlaps = measure(position, truth, result)
        ignored = set(overlaps.result_ids[overlaps.ignored > 0.5].tolist())
        before = {each.object_id: each.before for each in self._switches if each.frame == position}
        false = places.keys() - set(matched.values()) - ignored if self._all_labeled else ()
        lost = [place for place, number in enumerate(truth.track_ids.tolist()) if number not in matched]
        return TruthMarks(
            switched={places[matched[number]]: track_id % EPOCH for number, track_id in before.items()},
            false=frozenset(places[number] for number in false),
            lost=_instances(truth, ())[lost] if lost else None,
        )


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spaced."""
    places = np.linspace(0, len(values) - 1, min(count, len(values)))
    return [values[round(place)] for place in places]


def _instances(frame: AnnotatedFrame, class_names: tuple[str, ...]) -> Instances:
    """The objects of a frame, with the track ids that pictures show: without epochs."""
    masks = np.array([decode(mask) for mask in frame.masks], np.uint8).reshape(-1, *frame.size)
    objects = Instances.from_masks(masks, frame.class_ids, frame.scores, class_names)
    return objects.with_fields(track_ids=frame.track_ids % EPOCH)
