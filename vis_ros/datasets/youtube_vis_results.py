"""YouTube-VIS results: a JSON list of rows {video_id, score, category_id, segmentations}, one for each track."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.coco_json import JsonListFile, JsonVideo, JsonVideos, check_segmentations
from vis_ros.datasets.coco_rle import Rle, areas
from vis_ros.datasets.problems import ProblemLog, plural, read_json, shown
from vis_ros.datasets.segmentation import compressed, to_rle
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.datasets.video_summary import TrackSummary, masks_by_track, summarize


@dataclass(frozen=True, eq=False)
class _ResultRow:
    track_id: int
    class_id: int
    score: float
    segmentations: list[Any]


class ResultVideo(AnnotatedVideo):
    """The rows of one video over the frames of its ground truth."""

    def __init__(self, truth: AnnotatedVideo, rows: list[_ResultRow]) -> None:
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


def read_youtube_vis_results(path: str | Path, truth: AnnotatedVideos, *, content: Any = None) -> AnnotatedVideos:
    """Read results. Each row is a track of its own.

    Args:
        path: the JSON file.
        truth: provides the frames of each video and the classes. If it is a YouTube-VIS file, `video_id` and
            `category_id` are its ids, otherwise 1 + the position of the video and of the class. If it has no classes,
            `category_id` is ignored.
        content: content of the file, if it was read before.

    Raises:
        AnnotationError: with every problem of every row.
    """
    content = read_json(Path(path)) if content is None else content
    log = ProblemLog(path)
    if not isinstance(content, list):
        log.add('', f'is {shown(content)}, expected a list of rows')
        log.raise_any()
    rows = _read_rows(_of_images(content, truth, log), truth, log)
    log.raise_any()
    return AnnotatedVideos(
        source=str(path),
        kind='YouTube-VIS results',
        class_names=truth.class_names,
        videos=[ResultVideo(video, own) for video, own in zip(truth.videos, rows, strict=True)],
        has_classes=truth.has_classes,
        of_photos=truth.of_photos,
        remarks=_ignored_ids(content),
    )


def _ignored_ids(content: list[Any]) -> tuple[str, ...]:
    """A remark if rows have an id of their object: a row is a track of its own."""
    count = sum(isinstance(row, dict) and bool({'track_id', 'instance_id'} & row.keys()) for row in content)
    return (f'track ids of {plural(count, "row")} ignored: each row is a track of its own',) if count else ()


def _of_images(content: list[Any], truth: AnnotatedVideos, log: ProblemLog) -> list[Any]:
    """Rows of COCO results as those of videos of one frame; other rows as they are."""
    if not (content and isinstance(content[0], dict) and 'image_id' in content[0] and 'video_id' not in content[0]):
        return content
    if any(len(video) != 1 for video in truth.videos) or not isinstance(truth, JsonVideos):
        log.add('', 'has COCO results (rows with image_id) of single images, but the ground truth has videos')
        log.raise_any()
    return [
        {**row, 'video_id': row.get('image_id'), 'segmentations': [row.get('segmentation')]}
        if isinstance(row, dict)
        else row
        for row in content
    ]


def _read_rows(content: list[Any], truth: AnnotatedVideos, log: ProblemLog) -> list[list[_ResultRow]]:
    """The rows of each video of the ground truth."""
    video_ids, category_ids = _ids(truth)
    video_of = {video_id: position for position, video_id in enumerate(video_ids)}
    class_of = {category_id: position for position, category_id in enumerate(category_ids)}
    sizes = [_frame_sizes(video) for video in truth.videos]
    rows: list[list[_ResultRow]] = [[] for _ in truth.videos]
    for position, record in enumerate(content):
        where = f'row {position}'
        if not isinstance(record, dict):
            log.add(where, f'is {shown(record)}, expected an object')
            continue
        number = log.reference(record, 'video_id', video_of, 'the videos of the ground truth', where)
        class_id = 0
        if truth.has_classes:
            class_id = log.reference(record, 'category_id', class_of, 'the categories of the ground truth', where)
        score = log.score(record, where)
        segmentations = log.take(record, 'segmentations', list, where)
        if number is None or segmentations is None:
            continue
        check_segmentations(segmentations, sizes[number], where, log)
        if class_id is not None and score is not None:
            rows[number].append(_ResultRow(position + 1, class_id, score, segmentations))
    return rows


def _ids(truth: AnnotatedVideos) -> tuple[Sequence[int], Sequence[int]]:
    """The ids by which results refer to the videos and the categories."""
    if isinstance(truth, JsonVideos):
        return truth.video_ids, truth.category_ids
    return range(1, len(truth.videos) + 1), range(1, len(truth.class_names) + 1)


def _frame_sizes(video: AnnotatedVideo) -> list[tuple[int, int]]:
    return [video.size] * len(video) if isinstance(video, JsonVideo) else [frame.size for frame in video]


def write_youtube_vis_results(videos: AnnotatedVideos, path: str | Path) -> None:
    """Write `result_rows` as a JSON file."""
    with JsonListFile(Path(path)) as file:
        for row in result_rows(videos):
            file.add(row)


def result_rows(videos: AnnotatedVideos) -> Iterator[dict[str, Any]]:
    """The rows of results, one for each track: video_id = 1 + position of the video, category_id = class id + 1.

    Score and class are the mean score and the most frequent class over the frames that show the track. The masks of one
    video at a time are held in memory, as run lengths.
    """
    for number, video in enumerate(videos.videos):
        summary = summarize(video)
        for track_id, masks in masks_by_track(video, summary).items():
            yield result_row(number + 1, summary.tracks[track_id], masks)


def result_row(video_id: int, track: TrackSummary, masks: Sequence[Rle | None]) -> dict[str, Any]:
    """The row of one track; `masks` has an entry for each frame."""
    return {
        'video_id': video_id,
        'score': round(track.score, 6),
        'category_id': track.class_id + 1,
        'segmentations': [None if mask is None else compressed(mask) for mask in masks],
    }
