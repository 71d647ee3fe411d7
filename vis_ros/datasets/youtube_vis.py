"""YouTube-VIS ground truth (Yang et al. 2019, https://youtube-vos.org/dataset/vis): videos, categories and annotations
with one segmentation per frame.

As an extension a video may have `stamps_ns`, the stamp of each frame in nanoseconds. Other readers ignore it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycocotools import mask as coco

from vis_ros.datasets.coco_json import JsonLayout, JsonListFile, JsonVideos, read_truth
from vis_ros.datasets.coco_rle import Rle
from vis_ros.datasets.conversion_losses import ConversionLosses
from vis_ros.datasets.frame_images import folder_names, stems, write_image
from vis_ros.datasets.problems import is_integer, plural
from vis_ros.datasets.segmentation import uncompressed
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos
from vis_ros.datasets.video_summary import VideoSummary, masks_by_track, summarize
from vis_ros.datasets.youtube_vis_results import result_row

_YOUTUBE_VIS = JsonLayout(
    kind='YouTube-VIS JSON', videos='videos', video_id='video_id', image_folder='JPEGImages', of_images=False
)
_LARGEST_KEPT_ID = 1 << 31
"""Evaluation code allocates tables of the size of the largest id, so tracks with larger ids get new ones."""


def read_youtube_vis(
    path: str | Path, *, images: str | Path | None = None, content: Any = None, kind: str = _YOUTUBE_VIS.kind
) -> JsonVideos:
    """Read ground truth. Crowds (`iscrowd`) become ignored regions; masks are decoded when their frame is read.

    Args:
        path: the JSON file.
        images: folder of the `file_names`; by default the folder of the file, or JPEGImages in it or next to it.
        content: content of the file, if it was read before.
        kind: name of the format in the file, if `content` was rewritten from another one.

    Raises:
        AnnotationError: with every problem of every record.
    """
    return read_truth(path, replace(_YOUTUBE_VIS, kind=kind), images=images, content=content)


def write_youtube_vis(
    videos: AnnotatedVideos, path: str | Path, on_frame: Callable[[], None] = lambda: None
) -> list[str]:
    """Write ground truth: <path>/instances.json (or `path` itself if it ends with .json), with JPEGImages next to it.

    The ignored regions of a video become one crowd annotation. If the objects have scores (results), these are written
    to results.json next to it, as rows for these videos and categories. The masks of one video at a time are held in
    memory, as run lengths.

    Args:
        videos: what to write.
        path: folder or JSON file.
        on_frame: called twice for each frame.

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        ValueError: the frames of a video differ in size.
    """
    path = Path(path)
    file = path if path.suffix == '.json' else path / 'instances.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    summaries = [summarize(video, on_frame) for video in videos.videos]
    _check_sizes(summaries)
    scored = sum(summary.scored for summary in summaries)
    ids = _annotation_ids(summaries)
    folders = folder_names([summary.name for summary in summaries])
    next_crowd_id = max((identity for each in ids for identity in each.values()), default=0) + 1
    records = []
    has_images = False
    with JsonListFile(file, '{"annotations": [') as annotations, _results_file(file, scored > 0) as results:
        for number, video in enumerate(videos.videos):
            writer = _VideoWriter(number + 1, summaries[number], folders[number], file.parent / 'JPEGImages', on_frame)
            for track_id, masks in writer.read_masks(video).items():
                track = writer.summary.tracks[track_id]
                annotations.add(writer.annotation(ids[number][track_id], track.class_id, masks))
                if results is not None:
                    results.add(result_row(writer.video_id, track, masks))
            if writer.summary.ignored:
                annotations.add(writer.annotation(next_crowd_id, 0, writer.ignored, crowd=1))
                next_crowd_id += 1
            records.append(writer.record)
            has_images |= writer.has_images
        annotations.end = _end_of_file(videos, records, has_images)
    return _count_losses(summaries, ids, scored).in_words()


def _check_sizes(summaries: Sequence[VideoSummary]) -> None:
    for summary in summaries:
        if len(set(summary.sizes)) > 1:
            sizes = ', '.join(f'{width}x{height}' for height, width in sorted(set(summary.sizes)))
            raise ValueError(f'the frames of {summary.name} differ in size ({sizes}), which YouTube-VIS cannot hold')


def _results_file(file: Path, wanted: bool) -> JsonListFile | nullcontext[None]:
    if not wanted:
        return nullcontext()
    if file.name == 'results.json':
        raise ValueError(f'{file} would be overwritten by the scores: choose another name for the annotations')
    return JsonListFile(file.with_name('results.json'))


def _annotation_ids(summaries: Sequence[VideoSummary]) -> list[dict[int, int]]:
    """For each video: track id -> annotation id. Track ids are kept if they are unique over all videos."""
    track_ids = [track_id for summary in summaries for track_id in summary.tracks]
    if len(set(track_ids)) == len(track_ids) and all(0 < track_id < _LARGEST_KEPT_ID for track_id in track_ids):
        new_ids: Iterator[int] = iter(track_ids)
    else:
        new_ids = iter(range(1, len(track_ids) + 1))
    return [{track_id: next(new_ids) for track_id in summary.tracks} for summary in summaries]


def _end_of_file(videos: AnnotatedVideos, records: list[dict[str, Any]], has_images: bool) -> str:
    """The text after the list of annotations."""
    categories = [
        {'id': number + 1, 'name': name, 'supercategory': 'object'} for number, name in enumerate(videos.class_names)
    ]
    info: dict[str, Any] = {'description': videos.kind, 'has_images': has_images}
    if videos.labels:
        info['labels'] = videos.labels
    rest = {'videos': records, 'categories': categories, 'info': info, 'licenses': []}
    return f'], {json.dumps(rest)[1:]}\n'


def _count_losses(summaries: Sequence[VideoSummary], ids: Sequence[dict[int, int]], scored: int) -> ConversionLosses:
    losses = ConversionLosses()
    losses.new_ids = sum(identity != track_id for each in ids for track_id, identity in each.items())
    for summary in summaries:
        losses.count_objects(summary)
    if scored:
        losses.others.append(
            f'scores of {plural(scored, "detection")} (results.json holds the mean score of each object)'
        )
    return losses


class _VideoWriter:
    """Writes the images of one video and builds its records.

    Attributes:
        record: the record of `videos`.
        ignored: the ignored region of each frame, after `read_masks`.
        has_images: whether an image was written.
    """

    has_images = False

    def __init__(
        self, video_id: int, summary: VideoSummary, folder: str, images: Path, on_frame: Callable[[], None]
    ) -> None:
        self.video_id, self.summary = video_id, summary
        self.ignored: list[Rle | None] = [None] * len(summary.frames)
        self._folder, self._images, self._on_frame = folder, images, on_frame
        height, width = summary.sizes[0] if summary.sizes else (0, 0)
        self.record: dict[str, Any] = {
            'id': video_id,
            'width': width,
            'height': height,
            'length': len(summary.frames),
            'file_names': [f'{folder}/{stem}.jpg' for stem in stems(summary.names)],
        }
        if summary.frames and all(is_integer(stamp) for stamp in summary.stamps):
            self.record['stamps_ns'] = summary.stamps

    def read_masks(self, video: AnnotatedVideo) -> dict[int, list[Rle | None]]:
        """The masks of each track. Writes the images on the way."""
        return masks_by_track(video, self.summary, self._write_frame)

    def _write_frame(self, position: int, frame: AnnotatedFrame) -> None:
        names = self.record['file_names']
        name = write_image(frame, self._images / self._folder, Path(names[position]).stem)
        if name is not None:
            self.has_images = True
            names[position] = f'{self._folder}/{name}'
        self.ignored[position] = frame.ignored
        self._on_frame()

    def annotation(self, identity: int, class_id: int, masks: Sequence[Rle | None], crowd: int = 0) -> dict[str, Any]:
        """A record of `annotations`; `masks` has an entry for each frame."""
        return {
            'id': identity,
            'video_id': self.video_id,
            'category_id': class_id + 1,
            'iscrowd': crowd,
            'height': self.record['height'],
            'width': self.record['width'],
            'length': self.record['length'],
            'segmentations': [None if mask is None else uncompressed(mask) for mask in masks],
            'areas': [None if mask is None else int(coco.area(mask)) for mask in masks],
            'bboxes': [None if mask is None else coco.toBbox(mask).tolist() for mask in masks],
        }
