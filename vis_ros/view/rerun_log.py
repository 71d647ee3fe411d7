"""The results of a replay as a Rerun recording: images, masks, boxes, positions, and the ground truth beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rerun as rr
import rerun.blueprint as rrb
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode
from vis_ros.datasets.replay_folder import RUN, record_files
from vis_ros.datasets.segmentation import to_rle
from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.datasets.video_summary import summarize
from vis_ros.evaluation.alignment import align, pair_videos
from vis_ros.recordings.recording import Recording
from vis_ros.unicode_text import unicode_text
from vis_ros.visualization import identity_color

_JPEG_QUALITY = 85
_IDS = 1 << 16
"""Masks in Rerun have 16-bit numbers; 0 is the background."""


class RerunLog:
    """Writes the cameras of one run into a Rerun stream, each below its name.

    Timelines: `frame`, the position in the recording, and `stamp`, the time of the image or, without a clock, the time
    since the start. Entities of a camera: `image`, `image/masks`, `image/boxes`, `image/truth`, `positions`.
    """

    def __init__(self, stream: rr.RecordingStream) -> None:
        self._stream = stream
        self._names: dict[str, dict[int, str]] = {}
        self._renamed: set[str] = set()

    def add_run(self, run: Path, recordings: Sequence[Recording]) -> int:
        """Log the results in a folder, with the images of the recordings, if there are any. Returns how many frames."""
        files = record_files(run)
        videos = {_video(run, file): _Lines(file) for file in files}
        count = 0
        if not recordings:
            for name, lines in videos.items():
                for record in lines:
                    self.add_frame(unicode_text(name or 'camera'), record, None)
                    count += 1
        else:
            for frame in (frame for recording in recordings for frame in recording.frames()):
                found = videos[frame.stream].at(frame.index) if frame.stream in videos else None
                if found is not None:
                    self.add_frame(unicode_text(frame.stream or 'camera'), found, frame.image)
                    count += 1
        self.add_names()
        return count

    def add_names(self) -> None:
        """Log the names and colors of the tracks of all frames so far, where there are new ones."""
        for entity in self._renamed:
            self._name_objects(entity, self._names[entity])
        self._renamed.clear()

    def add_truth(self, results: AnnotatedVideos, truth: AnnotatedVideos) -> int:
        """Log the ground truth of the frames that have results. Returns their number."""
        count = 0
        for truth_video, result_video in pair_videos(results, truth):
            if result_video is None:
                continue
            keys = [summarize(video).frames for video in (truth_video, result_video)]
            entity = 'camera' if len(results.videos) == 1 else unicode_text(result_video.name)
            numbers = set[int]()
            for true, found in align(truth_video, keys[0], result_video, keys[1]).pairs():
                if found is not None:
                    self._set_time(found.index, found.stamp_ns, None)
                    pairs = zip(true.track_ids.tolist(), true.masks, strict=True)
                    labels = _labels({number: decode(mask) for number, mask in pairs}, true.size)
                    self._stream.log(f'{entity}/image/truth', rr.SegmentationImage(labels))
                    numbers.update(map(_number, true.track_ids.tolist()))
                    count += 1
            self._name_objects(f'{entity}/image/truth', {number: f'object {number}' for number in numbers})
        return count

    def show(self, with_truth: bool) -> None:
        """Lay out the viewer: for each camera a picture with masks and boxes, and one with the ground truth."""
        views = []
        for entity in self._names:
            image = f'{entity}/image'
            views.append(rrb.Spatial2DView(name=entity, contents=[image, f'{image}/masks', f'{image}/boxes']))
            if with_truth:
                views.append(rrb.Spatial2DView(name=f'{entity}: ground truth', contents=[image, f'{image}/truth']))
        self._stream.send_blueprint(rrb.Blueprint(rrb.Grid(*views), collapse_panels=True))

    def _name_objects(self, entity: str, names: Mapping[int, str]) -> None:
        """Names and colors of the numbers in the masks below an entity. The background is clear."""
        context = [
            (0, '', (0, 0, 0, 0)),
            *((number, name, identity_color(number)[::-1]) for number, name in names.items()),
        ]
        self._stream.log(entity, rr.AnnotationContext(context), static=True)

    def add_frame(self, entity: str, record: dict[str, Any], image: NDArray[np.uint8] | None) -> None:
        """Log one frame of a camera.

        Args:
            entity: of the camera.
            record: a line of results.jsonl.
            image: (H, W, 3) uint8 BGR, or None.
        """
        self._set_time(record['index'], record['stamp_ns'], record['stamp'])
        if image is not None:
            data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
            self._stream.log(f'{entity}/image', rr.EncodedImage(contents=data, media_type='image/jpeg'))
        size, objects = (record['height'], record['width']), record['instances']
        numbers = [_number(each['track_id']) for each in objects]
        names = [f'{each["track_id"]} {each["class_name"]}' for each in objects]
        named = dict(zip(numbers, names, strict=True))
        known = self._names.setdefault(entity, {})
        if not named.items() <= known.items():
            known.update(named)
            self._renamed.add(entity)
        masks = {number: decode(to_rle(each['mask'], size)) for number, each in zip(numbers, objects, strict=True)}
        self._stream.log(f'{entity}/image/masks', rr.SegmentationImage(_labels(masks, size)))
        labels = [f'{name} {each["score"]:.2f}' for name, each in zip(names, objects, strict=True)]
        boxes = np.array([each['box'] for each in objects], np.float32).reshape(-1, 4)
        self._stream.log(
            f'{entity}/image/boxes',
            rr.Boxes2D(array=boxes, array_format=rr.Box2DFormat.XYXY, labels=labels, class_ids=numbers),
        )
        places = [(place, each['position']) for place, each in enumerate(objects) if each.get('position')]
        if places:
            chosen = [place for place, _ in places]
            self._stream.log(
                f'{entity}/positions',
                rr.Points3D(
                    [position for _, position in places],
                    labels=[names[place] for place in chosen],
                    class_ids=[numbers[place] for place in chosen],
                ),
            )

    def _set_time(self, index: int, stamp_ns: int | None, stamp: float | None) -> None:
        self._stream.set_time('frame', sequence=index)
        if stamp_ns is not None:
            self._stream.set_time('stamp', timestamp=np.datetime64(stamp_ns, 'ns'))
        elif stamp is not None:
            self._stream.set_time('stamp', duration=stamp)


class _Lines:
    """The lines of a results.jsonl, read once in order."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._records = iter(self)
        self._next = next(self._records, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self._file.open(encoding='utf-8') as lines:
            for line in lines:
                yield json.loads(line)

    def at(self, index: int) -> dict[str, Any] | None:
        """The line of the frame with this position in the recording, if it was processed."""
        while self._next is not None and self._next['index'] < index:
            self._next = next(self._records, None)
        return self._next if self._next is not None and self._next['index'] == index else None


def _video(run: Path, file: Path) -> str:
    """The name of the stream in the recording: '' for a single one."""
    if file.parent != run:
        return file.parent.relative_to(run).as_posix()
    cameras = json.loads((run / RUN).read_text(encoding='utf-8')).get('cameras', {}) if (run / RUN).is_file() else {}
    return next(iter(cameras), '')


def _number(track_id: int) -> int:
    return (track_id - 1) % (_IDS - 1) + 1


def _labels(masks: dict[int, NDArray[np.uint8]], size: tuple[int, int]) -> NDArray[np.uint16]:
    """(H, W): the number of the object of each pixel, 0 for none."""
    labels = np.zeros(size, np.uint16)
    for number, mask in masks.items():
        labels[mask > 0] = _number(number)
    return labels
