"""YouTube-VIS JSON: truth as videos, categories, and annotations with a segmentation a frame.

JsonLayout: https://youtube-vos.org/dataset/vis. Beyond it a video may have `stamps_ns`, the time of each frame in
nanoseconds; other readers pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco

from vis_ros.datasets.conversion_losses import ConversionLosses
from vis_ros.datasets.frame_images import folder_names, stems, write_image
from vis_ros.datasets.json_list import JsonList
from vis_ros.datasets.json_truth import JsonLayout, JsonVideos, read_records
from vis_ros.datasets.problem_log import is_integer, read_json
from vis_ros.datasets.rle import Rle
from vis_ros.datasets.segmentation import uncompressed
from vis_ros.datasets.track_summary import VideoSummary, masks_by_track, summarise
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideos
from vis_ros.datasets.youtube_vis_results import row_of

_LAYOUT = JsonLayout(kind='YouTube-VIS JSON', videos='videos', video_id='video_id', of_images=False)
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
    with JsonList(file, '{"annotations": [', '') as annotations, _results(file, with_scores) as results:
        for number, (video, summary) in enumerate(zip(videos.videos, summaries, strict=True)):
            ignored: list[Rle | None] = [None] * len(summary.names)
            record = _video_record(number + 1, summary, folders[number])
            write_frame = _FrameWriter(file.parent / 'JPEGImages', folders[number], record, ignored, on_frame)
            for track_id, masks in masks_by_track(video, summary, write_frame).items():
                track = summary.tracks[track_id]
                annotations.add(_annotation(ids[number, track_id], number + 1, track.class_id, masks, record))
                if results is not None:
                    results.add(row_of(number + 1, track, masks))
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
    losses = ConversionLosses(ids=sum(identity != track_id for (_, track_id), identity in ids.items()))
    for summary in summaries:
        losses.count(summary)
    if with_scores:
        scores = sum(summary.scored for summary in summaries)
        losses.others.append(f'{scores} scores of objects in frames: results.json has the mean of each object instead')
    return losses.in_words()


def _results(file: Path, wanted: bool) -> JsonList | nullcontext[None]:
    if wanted and file.name == 'results.json':
        raise ValueError(f'{file} would be overwritten by the scores: call the file of the objects otherwise')
    return JsonList(file.with_name('results.json'), '[', ']\n') if wanted else nullcontext()


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
        name = write_image(frame, self.pictures / self.folder, Path(names[position]).stem)
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
