"""What truth in YouTube-VIS and in COCO files shares: records that point to each other, checked as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.frame_images import ImageFile
from vis_ros.datasets.indexed_video import IndexedVideo
from vis_ros.datasets.problem_log import ProblemLog, is_integer, shown
from vis_ros.datasets.rle import Rle, areas
from vis_ros.datasets.segmentation import fault, to_rle, union
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideos


@dataclass(frozen=True)
class JsonLayout:
    """The words of a format. of_images: each record is an image of its own, a video of one frame (COCO)."""

    kind: str
    videos: str
    video_id: str
    of_images: bool


@dataclass(frozen=True, eq=False)
class JsonVideos(AnnotatedVideos):
    """A set of videos that remembers the numbers of its file, by which results name videos and categories.

    video_ids, category_ids: of each of `videos` and of each of `class_names`.
    """

    video_ids: tuple[int, ...] = ()
    category_ids: tuple[int, ...] = ()


@dataclass
class _Track:
    """One annotation: `segmentations` has an entry a frame, as the file has it."""

    track_id: int
    class_id: int
    crowd: bool
    segmentations: list[Any]


@dataclass
class VideoRecord:
    """One record of `videos` (or `images`): `files` has the name of each frame's picture."""

    video_id: int
    size: tuple[int, int]
    files: list[str]
    stamps_ns: list[int] | None
    tracks: list[_Track] = field(default_factory=list)


class JsonVideo(IndexedVideo):
    """A video of such a file. Masks stay as they are in the file until their frame is read."""

    def __init__(self, name: str, record: VideoRecord, picture_folders: Sequence[Path]) -> None:
        super().__init__(name, len(record.files))
        self.size = record.size
        self._record, self._picture_folders = record, picture_folders
        bases = [Path(file).name for file in record.files]
        self._names = bases if len(set(bases)) == len(bases) else [file.replace('/', '_') for file in record.files]
        record.tracks.sort(key=lambda track: track.track_id)

    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`. An object whose outline holds no pixel is not in the frame."""
        record = self._record
        visible = [
            (track, to_rle(track.segmentations[index], self.size))
            for track in record.tracks
            if track.segmentations[index] is not None
        ]
        objects = [(track, mask) for track, mask in visible if not track.crowd and areas([mask])[0]]
        crowds = [mask for track, mask in visible if track.crowd]
        return AnnotatedFrame(
            name=self._names[index],
            index=index,
            stamp_ns=None if record.stamps_ns is None else record.stamps_ns[index],
            size=self.size,
            track_ids=np.array([track.track_id for track, _ in objects], np.int64),
            class_ids=np.array([track.class_id for track, _ in objects], np.int64),
            scores=np.ones(len(objects)),
            masks=[mask for _, mask in objects],
            ignored=union(crowds) if crowds else None,
            read_image=self._picture(index),
        )

    def empty_masks(self, index: int) -> list[int]:
        tracks = [track for track in self._record.tracks if track.segmentations[index] is not None]
        masks: list[Rle] = [to_rle(track.segmentations[index], self.size) for track in tracks]
        return [track.track_id for track, area in zip(tracks, areas(masks), strict=True) if not area] if masks else []

    def _picture(self, index: int) -> ImageFile | None:
        file = self._record.files[index]
        paths = [folder / name for folder in self._picture_folders for name in dict.fromkeys((file, Path(file).name))]
        return next((ImageFile(path) for path in paths if path.is_file()), None)


def read_records(content: Any, file: Path, layout: JsonLayout, picture_folders: Sequence[Path]) -> JsonVideos:
    """Make videos of the content of a file. Raises AnnotationError with every problem of every record."""
    findings = ProblemLog(file)
    if not isinstance(content, dict):
        findings.add('', f'is {shown(content)}, expected an object with {layout.videos!r}, categories and annotations')
        findings.raise_any()
    categories = _categories(content, findings)
    videos = _videos(content, layout, findings)
    _annotations(content, layout, categories, videos, findings)
    findings.raise_any()
    class_ids = list(categories)
    names = _unique_names(list(videos.values()), layout.of_images)
    return JsonVideos(
        source=str(file),
        kind=layout.kind,
        class_names=tuple(categories.values()),
        videos=[JsonVideo(name, video, picture_folders) for name, video in zip(names, videos.values(), strict=True)],
        video_ids=tuple(videos),
        category_ids=tuple(class_ids),
    )


def _identity(record: dict[str, Any], where: str, seen: dict[int, str], findings: ProblemLog) -> int | None:
    identity: int | None = findings.take(record, 'id', int, where)
    if identity is not None and identity in seen:
        findings.add(where, f'the id {identity} is taken by {seen[identity]}')
        return None
    if identity is not None:
        seen[identity] = where.partition(',')[0]
    return identity


def _categories(content: dict[str, Any], findings: ProblemLog) -> dict[int, str]:
    categories: dict[int, str] = {}
    seen: dict[int, str] = {}
    for where, record in findings.records(content, 'categories'):
        identity, name = _identity(record, where, seen, findings), findings.take(record, 'name', str, where)
        if identity is None or name is None:
            continue
        if name in categories.values():
            findings.add(where, f'the name {name!r} is taken by another category')
        categories[identity] = name
    if content.get('categories') == []:
        findings.add('categories', 'is empty: there is no class')
    return categories


def _videos(content: dict[str, Any], layout: JsonLayout, findings: ProblemLog) -> dict[int, VideoRecord]:
    videos: dict[int, VideoRecord] = {}
    seen: dict[int, str] = {}
    for where, record in findings.records(content, layout.videos):
        identity = _identity(record, where, seen, findings)
        size = findings.positive(record, 'height', where), findings.positive(record, 'width', where)
        files = _files(record, where, layout, findings)
        stamps = _stamps(record, where, len(files), findings)
        if identity is not None:
            # One that is partly bad is kept too: its annotations are still looked at, and nothing is returned.
            videos[identity] = VideoRecord(identity, (size[0] or 0, size[1] or 0), files, stamps)
    if content.get(layout.videos) == []:
        findings.add(layout.videos, 'is empty: there is nothing annotated')
    return videos


def _files(record: dict[str, Any], where: str, layout: JsonLayout, findings: ProblemLog) -> list[str]:
    if layout.of_images:
        file = findings.take(record, 'file_name', str, where)
        return [] if file is None else [file]
    files: list[Any] | None = findings.take(record, 'file_names', list, where)
    if files is None:
        return []
    if not files:
        findings.add(where, "'file_names' is empty: the video has no frame")
    seen: dict[str, int] = {}
    for position, file in enumerate(files):
        if not isinstance(file, str) or not file:
            findings.add(where, f'file_names[{position}] is {shown(file)}, expected the name of a picture')
        elif seen.setdefault(file, position) != position:
            findings.add(where, f'file_names[{position}] is {file!r}, as file_names[{seen[file]}] is')
    if 'length' in record and findings.take(record, 'length', int, where) not in (len(files), None):
        findings.add(where, f"'length' is {record['length']}, but 'file_names' has {len(files)}")
    return [str(file) for file in files]


def _stamps(record: dict[str, Any], where: str, length: int, findings: ProblemLog) -> list[int] | None:
    if record.get('stamps_ns') is None:
        return None
    stamps: list[Any] = findings.take(record, 'stamps_ns', list, where) or []
    if len(stamps) != length:
        findings.add(where, f"'stamps_ns' has {len(stamps)} entries, but there are {length} frames")
    for position, stamp in enumerate(stamps):
        if not is_integer(stamp):
            findings.add(where, f'stamps_ns[{position}] is {shown(stamp)}, expected whole nanoseconds')
    return stamps


def _annotations(
    content: dict[str, Any],
    layout: JsonLayout,
    categories: dict[int, str],
    videos: dict[int, VideoRecord],
    findings: ProblemLog,
) -> None:
    class_of = {identity: position for position, identity in enumerate(categories)}
    seen: dict[int, str] = {}
    for where, record in findings.records(content, 'annotations'):
        identity = _identity(record, where, seen, findings)
        video = reference(record, layout.video_id, videos, layout.videos, where, findings)
        class_id = reference(record, 'category_id', class_of, 'categories', where, findings)
        crowd = record.get('iscrowd', 0)
        if crowd not in (0, 1):
            findings.add(where, f"'iscrowd' is {shown(crowd)}, expected 0 or 1")
        if video is None:
            continue
        _check_own_size(record, video, where, findings)
        segmentations = _segmentations(record, video, where, layout, findings)
        if identity is not None and class_id is not None and segmentations is not None:
            video.tracks.append(_Track(identity, class_id, bool(crowd), segmentations))


def reference(
    record: dict[str, Any], key: str, targets: dict[int, Any], name: str, where: str, findings: ProblemLog
) -> Any:
    """What the id in a field points to; None, and a problem, where it points to nothing."""
    identity = findings.take(record, key, int, where)
    if identity is not None and identity not in targets:
        findings.add(where, f'{key!r} is {identity}, which is none of {name}')
    return None if identity is None else targets.get(identity)


def _check_own_size(record: dict[str, Any], video: VideoRecord, where: str, findings: ProblemLog) -> None:
    for key, side in zip(('height', 'width'), video.size, strict=True):
        if key in record and side and record[key] != side:
            findings.add(where, f'{key!r} is {shown(record[key])}, but that of its video is {side}')


def _segmentations(
    record: dict[str, Any], video: VideoRecord, where: str, layout: JsonLayout, findings: ProblemLog
) -> list[Any] | None:
    if not layout.of_images:
        segmentations: list[Any] | None = findings.take(record, 'segmentations', list, where)
        if segmentations is not None and video.files:
            check_segmentations(segmentations, [video.size] * len(video.files), where, findings)
        return segmentations
    segmentation = record.get('segmentation')
    if segmentation is None:
        findings.add(where, "has no 'segmentation'")
    elif 0 not in video.size and (text := fault(segmentation, video.size)):
        findings.add(f'{where}, segmentation', text)
    return [segmentation]


def check_segmentations(
    segmentations: list[Any], sizes: Sequence[tuple[int, int]], where: str, findings: ProblemLog
) -> None:
    """Check the segmentations of one object, one for each frame with its (height, width); 0 is not known."""
    if len(segmentations) != len(sizes):
        findings.add(where, f"'segmentations' has {len(segmentations)} entries, but its video has {len(sizes)} frames")
        return
    for position, (segmentation, size) in enumerate(zip(segmentations, sizes, strict=True)):
        text = None if segmentation is None or 0 in size else fault(segmentation, size)
        if text is not None:
            findings.add(f'{where}, segmentations[{position}]', text)


def _unique_names(videos: Sequence[VideoRecord], of_images: bool) -> list[str]:
    """What to call each video: the folder of its files (an image: its file), or its id where those are not unique."""
    paths = [Path(video.files[0]) for video in videos]
    by_name = [path.stem if of_images else path.parent.name for path in paths]
    by_path = ['_'.join((path.with_suffix('') if of_images else path.parent).parts) for path in paths]
    for names in (by_name, by_path):
        if all(names) and len(set(names)) == len(names):
            return names
    return [str(video.video_id) for video in videos]
