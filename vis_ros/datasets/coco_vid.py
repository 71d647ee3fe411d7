"""CocoVID (mmtracking): COCO JSON whose images belong to videos and whose annotations have an id of their object.

It is rewritten as YouTube-VIS, with one record for each object of a video, and read as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vis_ros.datasets.coco_json import JsonVideos
from vis_ros.datasets.problems import ProblemLog
from vis_ros.datasets.youtube_vis import read_youtube_vis

_TRACK_KEYS = ('instance_id', 'track_id')


def is_coco_vid(content: dict[str, Any]) -> bool:
    """Whether a JSON object has videos whose frames are listed as images."""
    videos, images = content.get('videos'), content.get('images')
    if not (isinstance(videos, list) and isinstance(images, list) and images and isinstance(images[0], dict)):
        return False
    return 'video_id' in images[0] and not (videos and isinstance(videos[0], dict) and 'file_names' in videos[0])


def read_coco_vid(path: Path, content: dict[str, Any], images: str | Path | None = None) -> JsonVideos:
    """Read the annotations. Frames are in the order of `frame_id`, or of the file if they have none.

    Raises:
        AnnotationError: with every problem.
    """
    log = ProblemLog(path)
    frames = _frames_of_videos(content, log)
    place_of = {image['id']: (video_id, place) for video_id, own in frames.items() for place, image in enumerate(own)}
    objects = _objects(content, place_of, frames, log)
    log.raise_any()
    videos = []
    for video_id, own in frames.items():
        if own:
            size = {side: own[0].get(side) for side in ('height', 'width')}
            videos.append({'id': video_id, **size, 'file_names': [image['file_name'] for image in own]})
    rewritten = {'videos': videos, 'annotations': objects, 'categories': content.get('categories')}
    return read_youtube_vis(path, images=images, content=rewritten, kind='CocoVID JSON')


def _frames_of_videos(content: dict[str, Any], log: ProblemLog) -> dict[int, list[dict[str, Any]]]:
    """Video id -> its images in order."""
    frames: dict[int, list[dict[str, Any]]] = {}
    for where, video in log.records(content, 'videos'):
        identity = log.take(video, 'id', int, where)
        if identity is not None:
            frames[identity] = []
    for where, image in log.records(content, 'images'):
        own = log.reference(image, 'video_id', frames, 'videos', where)
        name, identity = log.take(image, 'file_name', str, where), log.take(image, 'id', int, where)
        has_number = 'frame_id' not in image or log.take(image, 'frame_id', int, where) is not None
        if own is not None and name is not None and identity is not None and has_number:
            own.append(image)
    for own in frames.values():
        if all('frame_id' in image for image in own):
            own.sort(key=lambda image: int(image['frame_id']))
    return frames


def _objects(
    content: dict[str, Any],
    place_of: dict[int, tuple[int, int]],
    frames: Mapping[int, Sequence[dict[str, Any]]],
    log: ProblemLog,
) -> list[dict[str, Any]]:
    """One record of YouTube-VIS for each object of each video."""
    objects: dict[tuple[int, int], dict[str, Any]] = {}
    for where, record in log.records(content, 'annotations'):
        place = log.reference(record, 'image_id', place_of, 'images', where)
        key = next((key for key in _TRACK_KEYS if key in record), _TRACK_KEYS[0])
        track = log.take(record, key, int, where)
        if place is None or track is None:
            continue
        video_id, position = place
        found = objects.setdefault(
            (video_id, track),
            {
                'id': len(objects) + 1,
                'video_id': video_id,
                'category_id': record.get('category_id'),
                'iscrowd': record.get('iscrowd', 0),
                'segmentations': [None] * len(frames[video_id]),
            },
        )
        if found['segmentations'][position] is not None:
            log.add(where, f'the object {track} already has a mask in this image')
        if found['category_id'] != record.get('category_id'):
            log.add(where, f'the object {track} changes its category_id to {record.get("category_id")}')
        found['segmentations'][position] = record.get('segmentation')
    return list(objects.values())
