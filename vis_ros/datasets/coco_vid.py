"""COCO JSON of videos: images that belong to videos, and annotations with an id of their object.

CocoVID (mmtracking) has `videos`, and `instance_id` or `track_id`. CVAT and FiftyOne write plain COCO with a `track_id`
for each annotation or in its `attributes`; the images of one folder are a video there. It is rewritten as YouTube-VIS,
with one record for each object of a video, and read as such.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as coco

from vis_ros.datasets.coco_json import JsonListFile, JsonVideos
from vis_ros.datasets.coco_rle import Rle
from vis_ros.datasets.conversion_losses import ConversionLosses
from vis_ros.datasets.frame_images import folder_names, stems, write_image
from vis_ros.datasets.problems import ProblemLog, is_integer, plural
from vis_ros.datasets.segmentation import uncompressed
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideos
from vis_ros.datasets.video_summary import summarize
from vis_ros.datasets.youtube_vis import read_youtube_vis
from vis_ros.image_files import natural_order

_TRACK_KEYS = ('instance_id', 'track_id')


def is_coco_vid(content: dict[str, Any]) -> bool:
    """Whether a JSON object has videos whose frames are listed as images."""
    videos, images = content.get('videos'), content.get('images')
    if not (isinstance(videos, list) and isinstance(images, list) and images and isinstance(images[0], dict)):
        return False
    return 'video_id' in images[0] and not (videos and isinstance(videos[0], dict) and 'file_names' in videos[0])


def tracked_annotations(content: dict[str, Any]) -> tuple[int, bool]:
    """Number of annotations of a COCO file with an id of their object, and whether one occurs in several images."""
    annotations = content.get('annotations')
    images_of: dict[int, set[Any]] = {}
    count = 0
    for record in annotations if isinstance(annotations, list) else ():
        track = _track_of(record) if isinstance(record, dict) else None
        if track is not None:
            count += 1
            images_of.setdefault(track, set()).add(str(record.get('image_id')))
    return count, any(len(images) > 1 for images in images_of.values())


def _track_of(record: dict[str, Any]) -> int | None:
    attributes = record.get('attributes')
    places = [record, attributes if isinstance(attributes, dict) else {}]
    return next((place[key] for place in places for key in _TRACK_KEYS if is_integer(place.get(key))), None)


def read_tracked_coco(path: Path, content: dict[str, Any], images: str | Path | None = None) -> JsonVideos:
    """Read plain COCO with track ids: the images of a folder, or of a `video_id`, are the frames of a video, in natural
    order or that of `frame_id`.

    Annotations without an id are objects of one image. CVAT marks every mask as a crowd; those with an id are objects.

    Raises:
        AnnotationError: with every problem.
    """
    log = ProblemLog(path)
    names: dict[str, int] = {}
    listed = []
    for where, image in log.records(content, 'images'):
        if (name := log.take(image, 'file_name', str, where)) is not None:
            folder = str(image['video_id']) if 'video_id' in image else str(PurePosixPath(name).parent)
            listed.append({**image, 'video_id': names.setdefault(folder, len(names) + 1)})
    listed.sort(key=lambda image: natural_order(image['file_name']))
    crowds = 0
    annotations = []
    for _, record in log.records(content, 'annotations'):
        track = _track_of(record)
        is_mask = track is not None and record.get('iscrowd') == 1
        crowds += is_mask
        annotations.append({**record, **({'iscrowd': 0} if is_mask else {}), 'track_id': track})
    log.raise_any()
    alone = sum(each['track_id'] is None and not each.get('iscrowd') for each in annotations)
    videos = [{'id': number, 'name': folder} for folder, number in names.items()]
    rewritten = {**content, 'videos': videos, 'images': listed, 'annotations': annotations}
    read = read_coco_vid(path, rewritten, images, kind='COCO JSON with track ids')
    masks = f'{plural(crowds, "mask")} with a track id and iscrowd 1, as CVAT writes masks, read as objects'
    remarks = [
        f'the images of each folder are a video in natural order ({plural(len(names), "video")})',
        *([f'{plural(alone, "annotation")} without track id, each an object of one image'] if alone else []),
        *([masks] if crowds else []),
    ]
    return replace(read, remarks=(*read.remarks, *remarks))


def read_coco_vid(
    path: Path, content: dict[str, Any], images: str | Path | None = None, kind: str = 'CocoVID JSON'
) -> JsonVideos:
    """Read the annotations. Frames are in the order of `frame_id`, or of the file if they have none.

    Raises:
        AnnotationError: with every problem.
    """
    log = ProblemLog(path)
    frames = _frames_of_videos(content, log)
    place_of = {image['id']: (video_id, place) for video_id, own in frames.items() for place, image in enumerate(own)}
    objects, remarks = _objects(content, place_of, frames, log)
    log.raise_any()
    videos = []
    for video_id, own in frames.items():
        if own:
            size = {side: own[0].get(side) for side in ('height', 'width')}
            stamps = [image.get('stamp_ns') for image in own]
            stamped = {'stamps_ns': stamps} if None not in stamps else {}
            videos.append({'id': video_id, **size, **stamped, 'file_names': [image['file_name'] for image in own]})
    rewritten = {key: content.get(key) for key in ('categories', 'info')} | {'videos': videos, 'annotations': objects}
    usual = next((each for each in (path.parent / 'images', path.parent.parent / 'images') if each.is_dir()), None)
    read = read_youtube_vis(path, images=images or usual, content=rewritten, kind=kind)
    return replace(read, remarks=(*read.remarks, *remarks))


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
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """One record of YouTube-VIS for each object of each video, and what was ignored, in words.

    Objects keep their ids if no two videos share one.
    """
    objects: dict[tuple[int, int | str], dict[str, Any]] = {}
    for where, record in log.records(content, 'annotations'):
        place = log.reference(record, 'image_id', place_of, 'images', where)
        track: int | str | None = _track_of(record)
        if track is None and (record.get('iscrowd') or 'track_id' in record):
            track = where
        elif track is None:
            track = log.take(record, _TRACK_KEYS[0], int, where)
        if place is None or track is None:
            continue
        video_id, position = place
        found = objects.setdefault(
            (video_id, track),
            {
                'id': 0,
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
    own = [track for _, track in objects if isinstance(track, int)]
    keeps = len(set(own)) == len(own)
    free = 1 + (max(own, default=0) if keeps else 0)
    for (_, track), record in objects.items():
        record['id'], free = (track, free) if keeps and isinstance(track, int) else (free, free + 1)
    renumbered = (
        f'ids of {plural(len(own), "object")} ignored: several videos use the same ids, so every object got a new one'
    )
    return list(objects.values()), () if keeps else (renumbered,)


# --- writing ----------------------------------------------------------------------------------------------------------


def write_coco(videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None] = lambda: None) -> list[str]:
    """Write instances.json, COCO with the class names, `videos` and a `track_id` for each annotation, and the images in
    images/<video>. Results have a `score` too. Tools that know no videos read it as COCO of single images.

    Args:
        videos: what to write.
        folder: the new folder.
        on_frame: called twice for each frame.

    Returns:
        what the format cannot hold, in words with counts.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    losses = ConversionLosses()
    summaries = [summarize(video, on_frame) for video in videos.videos]
    folders = folder_names([summary.name for summary in summaries])
    images: list[dict[str, Any]] = []
    has_images = False
    with JsonListFile(root / 'instances.json', '{"annotations": [') as annotations:
        count = 0
        for number, (video, summary) in enumerate(zip(videos.videos, summaries, strict=True)):
            ids = _kept_or_new(list(summary.tracks))
            losses.count_objects(summary)
            losses.new_ids += sum(track_id != identity for track_id, identity in ids.items())
            for place, (stem, frame) in enumerate(zip(stems(summary.names), video, strict=True)):
                name = write_image(frame, root / 'images' / folders[number], stem)
                has_images |= name is not None
                image = _image_record(len(images) + 1, number + 1, place, frame)
                images.append(image | {'file_name': f'{folders[number]}/{name or stem + ".jpg"}'})
                class_of = {track_id: track.class_id for track_id, track in summary.tracks.items()}
                for record in _annotation_records(frame, image['id'], ids, class_of, scored=summary.scored > 0):
                    count += 1
                    annotations.add({'id': count, **record})
                on_frame()
        rest = {
            'images': images,
            'videos': [{'id': number + 1, 'name': name} for number, name in enumerate(folders)],
            'categories': [{'id': number + 1, 'name': name} for number, name in enumerate(videos.class_names)],
            'info': {'description': videos.kind, 'has_images': has_images},
            'licenses': [],
        }
        annotations.end = f'], {json.dumps(rest)[1:]}\n'
    return losses.in_words()


def _kept_or_new(track_ids: Sequence[int]) -> dict[int, int]:
    """Track id -> id in the file: kept if 32 bits can hold all of a video."""
    if all(0 < track_id < 1 << 31 for track_id in track_ids):
        return {track_id: track_id for track_id in track_ids}
    return {track_id: position + 1 for position, track_id in enumerate(track_ids)}


def _image_record(identity: int, video_id: int, place: int, frame: AnnotatedFrame) -> dict[str, Any]:
    height, width = frame.size
    stamp = {} if frame.stamp_ns is None else {'stamp_ns': frame.stamp_ns}
    return {'id': identity, 'video_id': video_id, 'frame_id': place, 'height': height, 'width': width, **stamp}


def _annotation_records(
    frame: AnnotatedFrame, image_id: int, ids: Mapping[int, int], class_of: Mapping[int, int], *, scored: bool
) -> list[dict[str, Any]]:
    rows = zip(frame.track_ids.tolist(), frame.scores.tolist(), frame.masks, strict=True)
    records = [
        _mask_record(image_id, class_of[track_id] + 1, mask)
        | {'track_id': ids[track_id], 'iscrowd': 0, **({'score': round(score, 6)} if scored else {})}
        for track_id, score, mask in rows
    ]
    return records + ([] if frame.ignored is None else [_mask_record(image_id, 1, frame.ignored) | {'iscrowd': 1}])


def _mask_record(image_id: int, category_id: int, mask: Rle) -> dict[str, Any]:
    return {
        'image_id': image_id,
        'category_id': category_id,
        'segmentation': uncompressed(mask),
        'area': int(coco.area(mask)),
        'bbox': coco.toBbox(mask).tolist(),
    }
