"""COCO instance files, and what they share with YouTube-VIS files: JSON records that refer to each other by id.

A file is checked as a whole: every problem of every record is reported at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.coco_rle import Rle, areas
from vis_ros.datasets.frame_images import ImageFile
from vis_ros.datasets.labels import stored_labels
from vis_ros.datasets.problems import ProblemLog, is_integer, is_unicode, read_json, shown
from vis_ros.datasets.segmentation import fault, to_rle, union
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideos, IndexedVideo


@dataclass(frozen=True)
class JsonLayout:
    """The keys of a format.

    Attributes:
        kind: name of the format.
        videos: key of the list of videos or images.
        video_id: key by which an annotation refers to its video or image.
        image_folder: usual name of the folder of the images.
        of_images: whether each record is a single image, a video of one frame (COCO).
    """

    kind: str
    videos: str
    video_id: str
    image_folder: str
    of_images: bool


_COCO = JsonLayout(kind='COCO JSON', videos='images', video_id='image_id', image_folder='images', of_images=True)


def read_coco(path: str | Path, *, images: str | Path | None = None, content: Any = None) -> JsonVideos:
    """Read a COCO instance file: each image is a video of one frame. Crowds (`iscrowd`) become ignored regions.

    Args:
        path: the JSON file.
        images: folder of the images; by default the folder of the file, or `images` in it or next to it.
        content: content of the file, if it was read before.

    Raises:
        AnnotationError: with every problem of every record.
    """
    return read_truth(path, _COCO, images=images, content=content)


@dataclass(frozen=True, eq=False)
class JsonVideos(AnnotatedVideos):
    """Videos with the ids of their file, by which YouTube-VIS results refer to videos and categories.

    Attributes:
        names_images: whether the image files that the file names should be there. Files that were converted without
            images say that they have none.
        video_ids: of each of `videos`.
        category_ids: of each of `class_names`.
    """

    names_images: bool = True
    video_ids: tuple[int, ...] = ()
    category_ids: tuple[int, ...] = ()


@dataclass
class _ObjectRecord:
    """One record of `annotations`. `segmentations` has an entry for each frame, as in the file."""

    track_id: int
    class_id: int
    crowd: bool
    segmentations: list[Any]


@dataclass
class _VideoRecord:
    """One record of `videos` or `images`, with its annotations. `files` holds the image name of each frame."""

    video_id: int
    size: tuple[int, int]
    files: list[str]
    stamps_ns: list[int] | None
    objects: list[_ObjectRecord] = field(default_factory=list)


class JsonVideo(IndexedVideo):
    """A video of a COCO or YouTube-VIS file. Masks are decoded when their frame is read."""

    def __init__(self, name: str, record: _VideoRecord, image_folders: Sequence[Path], of_images: bool) -> None:
        super().__init__(name, len(record.files))
        self._of_images = of_images  # the crowds of a converted video are ignored regions without a class
        self.size = record.size
        self._record, self._image_folders = record, image_folders
        files = [_posix(file) for file in record.files]
        bases = [Path(file).name for file in files]
        self._names = bases if len(set(bases)) == len(bases) else [file.replace('/', '_') for file in files]
        record.objects.sort(key=lambda each: each.track_id)

    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`. An object whose outline contains no pixel is left out."""
        record = self._record
        visible = [(each, to_rle(each.segmentations[index], self.size)) for each in self._visible(index)]
        objects = [(each, mask) for each, mask in visible if not each.crowd and areas([mask])[0]]
        crowds = [(each.class_id, mask) for each, mask in visible if each.crowd]
        return AnnotatedFrame(
            name=self._names[index],
            index=index,
            stamp_ns=None if record.stamps_ns is None else record.stamps_ns[index],
            size=self.size,
            track_ids=np.array([each.track_id for each, _ in objects], np.int64),
            class_ids=np.array([each.class_id for each, _ in objects], np.int64),
            scores=np.ones(len(objects)),
            masks=[mask for _, mask in objects],
            ignored=union([mask for _, mask in crowds]) if crowds else None,
            crowds=crowds if self._of_images else (),
            read_image=self._image(index),
        )

    def empty_masks(self, index: int) -> list[int]:
        visible = self._visible(index)
        masks: list[Rle] = [to_rle(each.segmentations[index], self.size) for each in visible]
        return [each.track_id for each, area in zip(visible, areas(masks), strict=True) if not area] if masks else []

    def _visible(self, index: int) -> list[_ObjectRecord]:
        return [each for each in self._record.objects if each.segmentations[index] is not None]

    def _image(self, index: int) -> ImageFile | None:
        return find_image(self._record.files[index], self._image_folders)


def find_image(name: str, folders: Sequence[Path]) -> ImageFile | None:
    """The image file of a name in a JSON file, in one of the folders or below them and nowhere else.

    A name that leads out of the folders, as an absolute one or one with '..', counts from where it is inside again. A
    backslash separates folders, as on Windows, unless a file has it in its name.
    """
    parts = [part for part in _posix(name).split('/') if part not in ('', '.')]
    begin = 1 + max((place for place, part in enumerate(parts) if part == '..'), default=-1)
    tails = ['/'.join(parts[first:]) for first in range(begin, len(parts))]
    names = [*([name] if '\\' in name and '/' not in name else []), *tails]
    found = ((folder, folder / each) for folder in folders for each in names)
    # `os.path.isfile` is False for names that no disk can have, where `Path.is_file` fails.
    return next((ImageFile(path, folder) for folder, path in found if os.path.isfile(path)), None)


def _is_file_name(name: str) -> bool:
    return Path(_posix(name)).name not in ('', '..')


def _posix(name: str) -> str:
    return name.replace('\\', '/')


def read_truth(
    path: str | Path, layout: JsonLayout, *, images: str | Path | None = None, content: Any = None
) -> JsonVideos:
    """Read a ground truth file of a layout. Arguments and errors as of `read_coco`."""
    path = Path(path)
    log = ProblemLog(path)
    content = read_json(path) if content is None else content
    if not isinstance(content, dict):
        log.add('', f'is {shown(content)}, expected an object with {layout.videos!r}, categories and annotations')
        log.raise_any()
    categories = _read_categories(content, log)
    videos = _read_videos(content, layout, log)
    _read_annotations(content, layout, categories, videos, log)
    log.raise_any()
    usual = [path.parent, path.parent / layout.image_folder, path.parent.parent / layout.image_folder]
    folders = usual if images is None else [Path(images)]
    info = content.get('info')
    names = _unique_names(list(videos.values()), layout.of_images)
    return JsonVideos(
        source=str(path),
        kind=layout.kind,
        class_names=tuple(categories.values()),
        videos=[
            JsonVideo(name, video, folders, layout.of_images)
            for name, video in zip(names, videos.values(), strict=True)
        ],
        labels=stored_labels(info, path),
        of_photos=layout.of_images,
        supercategories=_supercategories(content),
        names_images=not isinstance(info, dict) or info.get('has_images') is not False,
        video_ids=tuple(videos),
        category_ids=tuple(categories),
    )


def _read_id(record: dict[str, Any], where: str, seen: dict[int, str], log: ProblemLog) -> int | None:
    """The id of a record. `seen` maps ids to the records that have them."""
    identity: int | None = log.take(record, 'id', int, where)
    if identity is not None and identity in seen:
        log.add(where, f'the id {identity} is already used by {seen[identity]}')
        return None
    if identity is not None:
        seen[identity] = where.partition(',')[0]
    return identity


def _read_categories(content: dict[str, Any], log: ProblemLog) -> dict[int, str]:
    """Category id -> name."""
    categories: dict[int, str] = {}
    seen: dict[int, str] = {}
    for where, record in log.records(content, 'categories'):
        identity, name = _read_id(record, where, seen, log), log.take(record, 'name', str, where)
        if identity is None or name is None:
            continue
        if not is_unicode(name):
            log.add(where, f"'name' is {shown(name)}, which is not valid Unicode")
        if name in categories.values():
            log.add(where, f'the name {name!r} is already used by another category')
        categories[identity] = name
    if content.get('categories') == []:
        log.add('categories', 'is empty: there is no class')
    return categories


def _supercategories(content: dict[str, Any]) -> dict[str, str]:
    """Class name -> its group. Writers without groups put every class into one, which is none."""
    groups = {each['name']: each.get('supercategory') for each in content['categories']}
    named = {name: group for name, group in groups.items() if isinstance(group, str) and group}
    return named if len(set(named.values())) > 1 else {}


def _read_videos(content: dict[str, Any], layout: JsonLayout, log: ProblemLog) -> dict[int, _VideoRecord]:
    """Video id -> record, without its annotations."""
    videos: dict[int, _VideoRecord] = {}
    images: dict[str, str] = {}  # file name -> the record that has it
    seen: dict[int, str] = {}
    for where, record in log.records(content, layout.videos):
        identity = _read_id(record, where, seen, log)
        size = log.size(record, where)
        files = _read_files(record, where, layout, log)
        stamps = _read_stamps(record, where, len(files), log)
        if layout.of_images and files and images.setdefault(files[0], where) != where:
            log.add(where, f"'file_name' is {files[0]!r}, the same as of {images[files[0]]}")
        if identity is not None:
            # Kept even if it has problems, so that its annotations are checked too; the file is refused anyway.
            videos[identity] = _VideoRecord(identity, (size[0] or 0, size[1] or 0), files, stamps)
    if content.get(layout.videos) == []:
        log.add(layout.videos, 'is empty: there is nothing annotated')
    return videos


def _read_files(record: dict[str, Any], where: str, layout: JsonLayout, log: ProblemLog) -> list[str]:
    if layout.of_images:
        file = log.take(record, 'file_name', str, where)
        if file is not None and not _is_file_name(file):
            log.add(where, f"'file_name' is {shown(file)}, expected the name of an image file")
        return [] if file is None else [file]
    files: list[Any] | None = log.take(record, 'file_names', list, where)
    if files is None:
        return []
    if not files:
        log.add(where, "'file_names' is empty: the video has no frame")
    seen: dict[str, int] = {}
    for position, file in enumerate(files):
        if not isinstance(file, str) or not _is_file_name(file):
            log.add(where, f'file_names[{position}] is {shown(file)}, expected an image file name')
        elif seen.setdefault(file, position) != position:
            log.add(where, f'file_names[{position}] is {file!r}, the same as file_names[{seen[file]}]')
    if 'length' in record and log.take(record, 'length', int, where) not in (len(files), None):
        log.add(where, f"'length' is {record['length']}, but 'file_names' has {len(files)}")
    return [str(file) for file in files]


def _read_stamps(record: dict[str, Any], where: str, length: int, log: ProblemLog) -> list[int] | None:
    if record.get('stamps_ns') is None:
        return None
    stamps: list[Any] = log.take(record, 'stamps_ns', list, where) or []
    if len(stamps) != length:
        log.add(where, f"'stamps_ns' has {len(stamps)} entries, but there are {length} frames")
    for position, stamp in enumerate(stamps):
        if not is_integer(stamp):
            log.add(where, f'stamps_ns[{position}] is {shown(stamp)}, expected integer nanoseconds')
    return stamps


def _read_annotations(
    content: dict[str, Any],
    layout: JsonLayout,
    categories: dict[int, str],
    videos: dict[int, _VideoRecord],
    log: ProblemLog,
) -> None:
    """Add the annotations to their videos."""
    class_of = {identity: position for position, identity in enumerate(categories)}
    seen: dict[int, str] = {}
    for where, record in log.records(content, 'annotations'):
        identity = _read_id(record, where, seen, log)
        video = log.reference(record, layout.video_id, videos, layout.videos, where)
        class_id = log.reference(record, 'category_id', class_of, 'categories', where)
        crowd = record.get('iscrowd', 0)
        if crowd not in (0, 1):
            log.add(where, f"'iscrowd' is {shown(crowd)}, expected 0 or 1")
        if video is None:
            continue
        _check_own_size(record, video, where, log)
        segmentations = _read_segmentations(record, video, where, layout, log)
        if identity is not None and class_id is not None and segmentations is not None:
            video.objects.append(_ObjectRecord(identity, class_id, bool(crowd), segmentations))


def _check_own_size(record: dict[str, Any], video: _VideoRecord, where: str, log: ProblemLog) -> None:
    for key, side in zip(('height', 'width'), video.size, strict=True):
        if key in record and side and record[key] != side:
            log.add(where, f'{key!r} is {shown(record[key])}, but its video has {side}')


def _read_segmentations(
    record: dict[str, Any], video: _VideoRecord, where: str, layout: JsonLayout, log: ProblemLog
) -> list[Any] | None:
    if not layout.of_images:
        segmentations: list[Any] | None = log.take(record, 'segmentations', list, where)
        if segmentations is not None and video.files:
            check_segmentations(segmentations, [video.size] * len(video.files), where, log)
        return segmentations
    segmentation = record.get('segmentation')
    if segmentation is None:
        log.add(where, "has no 'segmentation'")
    elif 0 not in video.size and (text := fault(segmentation, video.size)):
        log.add(f'{where}, segmentation', text)
    return [segmentation]


def check_segmentations(
    segmentations: list[Any], sizes: Sequence[tuple[int, int]], where: str, log: ProblemLog
) -> None:
    """Check the segmentations of one object, one for each frame.

    Args:
        segmentations: as in the file.
        sizes: (height, width) of each frame; 0 is unknown.
        where: place of the object in the file.
        log: gets the problems.
    """
    if len(segmentations) != len(sizes):
        log.add(where, f"'segmentations' has {len(segmentations)} entries, but its video has {len(sizes)} frames")
        return
    for position, (segmentation, size) in enumerate(zip(segmentations, sizes, strict=True)):
        text = None if segmentation is None or 0 in size else fault(segmentation, size)
        if text is not None:
            log.add(f'{where}, segmentations[{position}]', text)


def _unique_names(videos: Sequence[_VideoRecord], of_images: bool) -> list[str]:
    """The name of each video: its folder (for an image its file name), or its id if these are not unique."""
    paths = [Path(_posix(video.files[0])) for video in videos]
    by_name = [path.stem if of_images else path.parent.name for path in paths]
    by_path = ['_'.join((path.with_suffix('') if of_images else path.parent).parts) for path in paths]
    for names in (by_name, by_path):
        if all(names) and len(set(names)) == len(names):
            return names
    return [str(video.video_id) for video in videos]


class JsonListFile:
    """Writes a JSON file with one long list, element by element.

    Args:
        path: the file.
        begin: text before the elements.
        end: text after them. The attribute `end` may be changed until the file is closed.
    """

    def __init__(self, path: Path, begin: str = '[', end: str = ']\n') -> None:
        self._path, self._begin, self.end = path, begin, end

    def __enter__(self) -> JsonListFile:
        self._file = self._path.open('w', encoding='utf-8')
        self._file.write(self._begin)
        self._separator = '\n'
        return self

    def add(self, element: dict[str, Any]) -> None:
        """Write one element on a line of its own."""
        self._file.write(self._separator + json.dumps(element))
        self._separator = ',\n'

    def __exit__(self, *_: object) -> None:
        self._file.write('\n' + self.end)
        self._file.close()
