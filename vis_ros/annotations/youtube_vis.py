"""YouTube-VIS JSON: truth (videos, categories, annotations with a segmentation a frame) and results (a list of rows).

Layout: https://youtube-vos.org/dataset/vis. Beyond it a video may have `stamps_ns`, the time of each frame in
nanoseconds; other readers pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from vis_ros.annotations.findings import Findings, is_integer, read_json, shown
from vis_ros.annotations.json_truth import JsonVideo, JsonVideos, Layout, check_segmentations, read_records, reference
from vis_ros.annotations.losses import Losses
from vis_ros.annotations.pictures import folder_names, stems, write_picture
from vis_ros.annotations.rle import Rle
from vis_ros.annotations.segmentation import compressed, to_rle, uncompressed
from vis_ros.annotations.tracks import Track, VideoSummary, summarise
from vis_ros.annotations.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos

_LAYOUT = Layout(kind='YouTube-VIS JSON', videos='videos', video_id='video_id', of_images=False)
_LARGEST_KEPT_ID = 1 << 31
"""Evaluation code makes tables as long as the largest id, so larger ones are numbered anew."""


def read(path: str | Path, *, images: str | Path | None = None, content: Any = None) -> JsonVideos:
    """Read truth. Crowds (`iscrowd`) become ignored regions; masks are decoded when their frame is read.

    Args:
        path: the JSON file.
        images: the folder of the `file_names` [default: that of the file, or JPEGImages in it or beside it].
        content: of the file, where it has been read already.

    Raises:
        AnnotationError: with every problem of every record.
    """
    path = Path(path)
    folder = path.parent
    folders = [folder, folder / 'JPEGImages', folder.parent / 'JPEGImages'] if images is None else [Path(images)]
    return read_records(read_json(path) if content is None else content, path, _LAYOUT, folders)


# --- results ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Row:
    track_id: int
    class_id: int
    score: float
    segmentations: list[Any]


class _ResultVideo(AnnotatedVideo):
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
            rows = [row for row, mask in masks.items() if coco.area(mask)]
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


def read_results(path: str | Path, truth: AnnotatedVideos, *, content: Any = None) -> AnnotatedVideos:
    """Read results, a list of {video_id, score, category_id, segmentations}; each row is an identity of its own.

    Args:
        path: the JSON file.
        truth: gives the frames of each video and the classes. Where it is a YouTube-VIS file, `video_id` and
            `category_id` are its ids; else 1 + the position of the video and of the class.
        content: of the file, where it has been read already.

    Raises:
        AnnotationError: with every problem of every row.
    """
    content = read_json(Path(path)) if content is None else content
    findings = Findings(path)
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
        class_id = reference(record, 'category_id', class_of, 'the categories of the truth', where, findings)
        score = findings.score(record, where)
        segmentations = findings.take(record, 'segmentations', list, where)
        if number is None or segmentations is None:
            continue
        segmentations = _check_row(segmentations, sizes[number], where, findings)
        if class_id is not None and score is not None and segmentations is not None:
            rows[number].append(_Row(position + 1, class_id, score, segmentations))
    findings.raise_any()
    return AnnotatedVideos(
        source=str(path),
        kind='YouTube-VIS results',
        class_names=truth.class_names,
        videos=[_ResultVideo(video, own) for video, own in zip(truth.videos, rows, strict=True)],
        has_classes=truth.has_classes,
    )


def _ids(truth: AnnotatedVideos) -> tuple[Sequence[int], Sequence[int]]:
    """By which results name the videos and the categories of a truth."""
    if isinstance(truth, JsonVideos):
        return truth.video_ids, truth.category_ids
    return range(1, len(truth.videos) + 1), range(1, len(truth.class_names) + 1)


def _frame_sizes(video: AnnotatedVideo) -> list[tuple[int, int]]:
    return [video.size] * len(video) if isinstance(video, JsonVideo) else [frame.size for frame in video]


def _check_row(
    segmentations: list[Any], sizes: list[tuple[int, int]], where: str, findings: Findings
) -> list[Any] | None:
    if len(segmentations) != len(sizes):
        findings.add(where, f"'segmentations' has {len(segmentations)} entries, but its video has {len(sizes)} frames")
        return None
    good = True
    for index, (segmentation, size) in enumerate(zip(segmentations, sizes, strict=True)):
        place = [f'segmentations[{index}]']
        good &= check_segmentations([segmentation], place, 1, size, where, findings) is not None
    return segmentations if good else None


def result_rows(videos: AnnotatedVideos) -> Iterator[dict[str, Any]]:
    """The rows of results, one an identity: video_id = 1 + position of the video, category_id = class id + 1.

    The score is the mean over the frames in which the identity is, the class that of most of them. The masks of one
    video are held in memory as run lengths.
    """
    for number, video in enumerate(videos.videos):
        summary = summarise(video)
        for track_id, masks in _masks_by_track(video, summary).items():
            yield _result_row(number + 1, summary.tracks[track_id], masks)


def write_results(videos: AnnotatedVideos, path: str | Path) -> None:
    """Write `result_rows` as a JSON file."""
    with _JsonList(Path(path), '[', ']\n') as rows:
        for row in result_rows(videos):
            rows.add(row)


def _result_row(video_id: int, track: Track, masks: list[Rle | None]) -> dict[str, Any]:
    return {
        'video_id': video_id,
        'score': round(track.score, 6),
        'category_id': track.class_id + 1,
        'segmentations': [None if mask is None else compressed(mask) for mask in masks],
    }


def _masks_by_track(
    video: AnnotatedVideo,
    summary: VideoSummary,
    on_frame: Callable[[int, AnnotatedFrame], None] = lambda position, frame: None,
) -> dict[int, list[Rle | None]]:
    masks: dict[int, list[Rle | None]] = {track_id: [None] * len(summary.names) for track_id in summary.tracks}
    for position, frame in enumerate(video):
        for track_id, mask in zip(frame.track_ids.tolist(), frame.masks, strict=True):
            masks[track_id][position] = mask
        on_frame(position, frame)
    return masks


# --- writing truth ----------------------------------------------------------------------------------------------------


def write(videos: AnnotatedVideos, path: str | Path, on_frame: Callable[[], None] = lambda: None) -> list[str]:
    """Write truth: <path>/instances.json (or `path` itself where it ends with .json) and JPEGImages beside it.

    Ignored regions become one crowd annotation a video. Where objects have scores (results), they are written to
    results.json beside it, as rows for these videos and categories. The masks of one video at a time are held in
    memory, as run lengths.

    Returns:
        what the format could not hold, in words with counts.

    Raises:
        ValueError: the frames of one video differ in size.
    """
    path = Path(path)
    file = path if path.suffix == '.json' else path / 'instances.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    summaries = [summarise(video, on_frame) for video in videos.videos]
    for summary in summaries:
        if len(set(summary.sizes)) > 1:
            sizes = ', '.join(f'{width}x{height}' for height, width in sorted(set(summary.sizes)))
            raise ValueError(f'the frames of {summary.name} differ in size ({sizes}), which YouTube-VIS cannot hold')
    ids = _annotation_ids(summaries)
    with_scores = any(summary.scored for summary in summaries)
    folders = folder_names([summary.name for summary in summaries])
    records = []
    crowds = 0
    with _JsonList(file, '{"annotations": [', '') as annotations, _results(file, with_scores) as results:
        for number, (video, summary) in enumerate(zip(videos.videos, summaries, strict=True)):
            ignored: list[Rle | None] = [None] * len(summary.names)
            record = _video_record(number + 1, summary, folders[number])
            write_frame = _FrameWriter(file.parent / 'JPEGImages', folders[number], record, ignored, on_frame)
            for track_id, masks in _masks_by_track(video, summary, write_frame).items():
                track = summary.tracks[track_id]
                annotations.add(_annotation(ids[number, track_id], number + 1, track.class_id, masks, record))
                if results is not None:
                    results.add(_result_row(number + 1, track, masks))
            if summary.ignored:
                crowds += 1
                annotations.add(_annotation(max(ids.values(), default=0) + crowds, number + 1, 0, ignored, record, 1))
            records.append(record)
        categories = [
            {'id': number + 1, 'name': name, 'supercategory': 'object'}
            for number, name in enumerate(videos.class_names)
        ]
        rest = {'videos': records, 'categories': categories, 'info': {'description': videos.kind}, 'licenses': []}
        annotations.end = f'], {json.dumps(rest)[1:]}\n'
    losses = Losses(ids=sum(identity != track_id for (_, track_id), identity in ids.items()))
    for summary in summaries:
        losses.count(summary)
    if with_scores:
        scores = sum(summary.scored for summary in summaries)
        losses.others.append(f'{scores} scores of objects in frames: results.json has the mean of each object instead')
    return losses.in_words()


def _results(file: Path, wanted: bool) -> _JsonList | nullcontext[None]:
    if wanted and file.name == 'results.json':
        raise ValueError(f'{file} would be overwritten by the scores: call the file of the objects otherwise')
    return _JsonList(file.with_name('results.json'), '[', ']\n') if wanted else nullcontext()


def _annotation_ids(summaries: list[VideoSummary]) -> dict[tuple[int, int], int]:
    """(number of the video, track id) -> id of the annotation: the track id where no other video has it."""
    keys = [(number, track_id) for number, summary in enumerate(summaries) for track_id in summary.tracks]
    track_ids = [track_id for _, track_id in keys]
    if len(set(track_ids)) == len(track_ids) and all(0 < track_id < _LARGEST_KEPT_ID for track_id in track_ids):
        return dict(zip(keys, track_ids, strict=True))
    return {key: number + 1 for number, key in enumerate(keys)}


def _video_record(video_id: int, summary: VideoSummary, folder: str) -> dict[str, Any]:
    height, width = summary.sizes[0] if summary.sizes else (0, 0)
    record: dict[str, Any] = {
        'id': video_id,
        'width': width,
        'height': height,
        'length': len(summary.names),
        'file_names': [f'{folder}/{stem}.jpg' for stem in stems(summary.names)],
    }
    if summary.stamps and all(is_integer(stamp) for stamp in summary.stamps):
        record['stamps_ns'] = summary.stamps
    return record


@dataclass(frozen=True)
class _FrameWriter:
    """Writes the picture of each frame, and keeps its ignored region."""

    pictures: Path
    folder: str
    record: dict[str, Any]
    ignored: list[Rle | None]
    on_frame: Callable[[], None]

    def __call__(self, position: int, frame: AnnotatedFrame) -> None:
        names = self.record['file_names']
        name = write_picture(frame, self.pictures / self.folder, Path(names[position]).stem)
        if name is not None:
            names[position] = f'{self.folder}/{name}'
        self.ignored[position] = frame.ignored
        self.on_frame()


def _annotation(
    identity: int, video_id: int, class_id: int, masks: list[Rle | None], record: dict[str, Any], crowd: int = 0
) -> dict[str, Any]:
    return {
        'id': identity,
        'video_id': video_id,
        'category_id': class_id + 1,
        'iscrowd': crowd,
        'height': record['height'],
        'width': record['width'],
        'length': record['length'],
        'segmentations': [None if mask is None else uncompressed(mask) for mask in masks],
        'areas': [None if mask is None else int(coco.area(mask)) for mask in masks],
        'bboxes': [None if mask is None else coco.toBbox(mask).tolist() for mask in masks],
    }


class _JsonList:
    """A JSON file with one long list, an element a line, written as it comes."""

    def __init__(self, path: Path, begin: str, end: str) -> None:
        self._path, self._begin, self.end = path, begin, end

    def __enter__(self) -> _JsonList:
        self._file = self._path.open('w', encoding='utf-8')
        self._file.write(self._begin)
        self._separator = '\n'
        return self

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps(element))
        self._separator = ',\n'

    def __exit__(self, *_: object) -> None:
        self._file.write('\n' + self.end)
        self._file.close()
