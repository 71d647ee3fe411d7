"""YouTube-VIS results: a JSON list of rows {video_id, score, category_id, segmentations}, each row an identity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.json_list import JsonList
from vis_ros.datasets.json_truth import JsonVideo, JsonVideos, check_segmentations, reference
from vis_ros.datasets.problem_log import ProblemLog, read_json, shown
from vis_ros.datasets.rle import Rle, areas
from vis_ros.datasets.segmentation import compressed, to_rle
from vis_ros.datasets.track_summary import Track, masks_by_track, summarise
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos


@dataclass(frozen=True, eq=False)
class _Row:
    track_id: int
    class_id: int
    score: float
    segmentations: list[Any]


class ResultVideo(AnnotatedVideo):
    """The rows of one video over the frames of its truth."""

    def __init__(self, truth: AnnotatedVideo, rows: list[_Row]) -> None:
        super().__init__(truth.name, truth.length)
        self._truth, self._rows = truth, rows

    def __iter__(self) -> Iterator[AnnotatedFrame]:
        for position, frame in enumerate(self._truth):
            masks = {
                row: to_rle(row.segmentations[position], frame.size)
                for row in self._rows
                if row.segmentations[position] is not None
            }
            rows = [row for row, mask in masks.items() if areas([mask])[0]]
            yield AnnotatedFrame(
                name=frame.name,
                index=frame.index,
                stamp_ns=frame.stamp_ns,
                size=frame.size,
                track_ids=np.array([row.track_id for row in rows], np.int64),
                class_ids=np.array([row.class_id for row in rows], np.int64),
                scores=np.array([row.score for row in rows]),
                masks=[masks[row] for row in rows],
                read_image=frame.read_image,
            )


def read(path: str | Path, truth: AnnotatedVideos, *, content: Any = None) -> AnnotatedVideos:
    """Read results, a list of {video_id, score, category_id, segmentations}; each row is an identity of its own.

    Args:
        path: the JSON file.
        truth: gives the frames of each video and the classes. Where it is a YouTube-VIS file, `video_id` and
            `category_id` are its ids; else 1 + the position of the video and of the class. Where it has no classes,
            `category_id` is not looked at.
        content: of the file, where it has been read already.

    Raises:
        AnnotationError: with every problem of every row.
    """
    content = read_json(Path(path)) if content is None else content
    findings = ProblemLog(path)
    if not isinstance(content, list):
        findings.add('', f'is {shown(content)}, expected a list of rows')
        findings.raise_any()
    video_ids, category_ids = _ids(truth)
    video_of = {video_id: position for position, video_id in enumerate(video_ids)}
    class_of = {category_id: position for position, category_id in enumerate(category_ids)}
    sizes = [_frame_sizes(video) for video in truth.videos]
    rows: list[list[_Row]] = [[] for _ in truth.videos]
    for position, record in enumerate(content):
        where = f'row {position}'
        if not isinstance(record, dict):
            findings.add(where, f'is {shown(record)}, expected an object')
            continue
        number = reference(record, 'video_id', video_of, 'the videos of the truth', where, findings)
        class_id = 0
        if truth.has_classes:
            class_id = reference(record, 'category_id', class_of, 'the categories of the truth', where, findings)
        score = findings.score(record, where)
        segmentations = findings.take(record, 'segmentations', list, where)
        if number is None or segmentations is None:
            continue
        check_segmentations(segmentations, sizes[number], where, findings)
        if class_id is not None and score is not None:
            rows[number].append(_Row(position + 1, class_id, score, segmentations))
    findings.raise_any()
    return AnnotatedVideos(
        source=str(path),
        kind='YouTube-VIS results',
        class_names=truth.class_names,
        videos=[ResultVideo(video, own) for video, own in zip(truth.videos, rows, strict=True)],
        has_classes=truth.has_classes,
    )


def _ids(truth: AnnotatedVideos) -> tuple[Sequence[int], Sequence[int]]:
    """By which results name the videos and the categories of a truth."""
    if isinstance(truth, JsonVideos):
        return truth.video_ids, truth.category_ids
    return range(1, len(truth.videos) + 1), range(1, len(truth.class_names) + 1)


def _frame_sizes(video: AnnotatedVideo) -> list[tuple[int, int]]:
    return [video.size] * len(video) if isinstance(video, JsonVideo) else [frame.size for frame in video]


def rows_of(videos: AnnotatedVideos) -> Iterator[dict[str, Any]]:
    """The rows of results, one an identity: video_id = 1 + position of the video, category_id = class id + 1.

    The score is the mean over the frames in which the identity is, the class that of most of them. The masks of one
    video are held in memory as run lengths.
    """
    for number, video in enumerate(videos.videos):
        summary = summarise(video)
        for track_id, masks in masks_by_track(video, summary).items():
            yield row_of(number + 1, summary.tracks[track_id], masks)


def write(videos: AnnotatedVideos, path: str | Path) -> None:
    """Write `rows_of` as a JSON file."""
    with JsonList(Path(path), '[', ']\n') as rows:
        for row in rows_of(videos):
            rows.add(row)


def row_of(video_id: int, track: Track, masks: list[Rle | None]) -> dict[str, Any]:
    """One row: of an object with its mask in each frame."""
    return {
        'video_id': video_id,
        'score': round(track.score, 6),
        'category_id': track.class_id + 1,
        'segmentations': [None if mask is None else compressed(mask) for mask in masks],
    }
