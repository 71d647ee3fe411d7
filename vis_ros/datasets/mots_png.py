"""MOTS PNG (KITTI MOTS, CVAT, Datumaro): a 16-bit PNG for each frame, whose pixels are class * 1000 + object number.

0 is background. Class 10 is the ignored region where there are fewer than 10 classes. A file labels.txt beside the PNG
files, as CVAT and Datumaro write it, names class 1 in its first line; without it 1 is a car, 2 a pedestrian (KITTI).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import decode, encode
from vis_ros.datasets.conversion_losses import ConversionLosses, disjoint
from vis_ros.datasets.frame_images import ImageFile, folder_names, images_by_stem, stems, write_image
from vis_ros.datasets.mots import CLASSES, IDS_PER_CLASS, IGNORED
from vis_ros.datasets.problems import AnnotationError, Problem
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, IndexedVideo
from vis_ros.datasets.video_summary import VideoSummary, summarize
from vis_ros.image_files import is_hidden, natural_order
from vis_ros.image_headers import LARGEST_IMAGE
from vis_ros.images import write_image_file

KIND = 'MOTS PNG'
LABELS = 'labels.txt'
_FOLDER = 'instances'
_IMAGE_FOLDERS = ('images', 'image_02', 'training/image_02')
_LARGEST = 65_535


@dataclass(frozen=True)
class _Source:
    """One video: its name, PNG files, image files by stem, and names of the classes from 1 on (none without a list)."""

    name: str
    files: list[Path]
    images: dict[str, Path]
    labels: tuple[str, ...]


class MotsPngVideo(IndexedVideo):
    """The PNG files of one video. A file is decoded when its frame is read."""

    def __init__(self, source: _Source, class_ids: dict[int, int]) -> None:
        super().__init__(source.name, len(source.files))
        self._source, self._class_ids = source, class_ids

    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`; the id of an object is its value in the PNG."""
        file = self._source.files[index]
        values = _read_values(file)
        numbers = [number for number in np.unique(values).tolist() if number]
        void = [number for number in numbers if _is_ignored(number, self._source.labels)]
        objects = [number for number in numbers if number not in void]
        image = self._source.images.get(file.stem)
        return AnnotatedFrame(
            name=file.name,
            index=index,
            stamp_ns=None,
            size=(values.shape[0], values.shape[1]),
            track_ids=np.array(objects, np.int64),
            class_ids=np.array([self._class_ids[number // IDS_PER_CLASS] for number in objects], np.int64),
            scores=np.ones(len(objects)),
            masks=[encode(values == number) for number in objects],
            ignored=encode(np.isin(values, void)) if void else None,
            read_image=None if image is None else ImageFile(image),
        )


def mots_png_folders(path: Path) -> list[Path]:
    """The folders with 16-bit PNG files of single videos: `instances` itself (CVAT), or those in it (KITTI)."""
    roots = [path] if path.name == _FOLDER else [path / _FOLDER, *sorted(path.glob(f'*/{_FOLDER}'))]
    roots = sorted((root for root in roots if root.is_dir()), key=lambda root: natural_order(str(root)))
    folders = [folder for root in roots for folder in [root, *sorted(root.iterdir())] if folder.is_dir()]
    if not folders and path.is_dir():
        folders = [path]
    return [folder for folder in folders if any(_is_16_bit(file) for file in _png_files(folder)[:1])]


def read_mots_png(path: str | Path, *, images: str | Path | None = None) -> AnnotatedVideos:
    """Read the `instances` folder of a data set, or what holds it, see `mots_png_folders`.

    Args:
        path: the folder.
        images: folder with a folder of images for each video, or with the images of the only one; by default `images`
            or `image_02` beside `instances`.

    Raises:
        AnnotationError: there is no such folder, or a PNG or a class number is wrong.
    """
    path = Path(path)
    folders = mots_png_folders(path)
    if not folders:
        raise AnnotationError([Problem(str(path), '', f'contains no 16-bit PNG files in a folder {_FOLDER}')])
    sources = [_Source(_name(each), _png_files(each), _images(each, images), _labels(each)) for each in folders]
    lists = {source.labels for source in sources if source.labels}
    if len(lists) > 1:
        raise AnnotationError([Problem(str(path), '', f'the {LABELS} of its videos differ: read each video by itself')])
    labels = lists.pop() if lists else ()
    numbers = list(range(1, len(labels) + 1)) if labels else _class_numbers(sources)
    names = labels or tuple(CLASSES.get(number, f'class {number}') for number in numbers)
    class_ids = {number: position for position, number in enumerate(numbers)}
    unknown = sorted(set(_class_numbers(sources)) - set(numbers)) if labels else []
    if unknown:
        what = f'has {len(labels)} classes, but objects are of class {", ".join(map(str, unknown))}'
        raise AnnotationError([Problem(str(path), LABELS, what)])
    videos = [MotsPngVideo(source, class_ids) for source in sources]
    return AnnotatedVideos(source=str(path), kind=KIND, class_names=names, videos=videos)


def _class_numbers(sources: Sequence[_Source]) -> list[int]:
    """The classes of all objects, and those of KITTI where no list names others. Reads every file."""
    found = set() if any(source.labels for source in sources) else set(CLASSES)
    problems: list[Problem] = []
    for source in sources:
        for file in source.files:
            try:
                values = np.unique(_read_values(file)).tolist()
            except AnnotationError as error:
                problems += error.problems
                continue
            found |= {number // IDS_PER_CLASS for number in values if number and not _is_ignored(number, source.labels)}
            if any(0 < number < IDS_PER_CLASS for number in values):
                problems.append(Problem(str(file), '', f'has values below {IDS_PER_CLASS}, which belong to no class'))
    if problems:
        raise AnnotationError(problems)
    return sorted(found)


def _is_ignored(number: int, labels: Sequence[str]) -> bool:
    return number // IDS_PER_CLASS == IGNORED and len(labels) < IGNORED


def _png_files(folder: Path) -> list[Path]:
    files = [file for file in folder.glob('*.png') if file.is_file() and not is_hidden(file)]
    return sorted(files, key=lambda file: natural_order(file.name))


def _is_16_bit(file: Path) -> bool:
    with file.open('rb') as data:
        head = data.read(26)
    return head[:8] == b'\x89PNG\r\n\x1a\n' and head[24:26] == b'\x10\x00'  # 16 bits, gray


def _read_values(file: Path) -> NDArray[np.uint16]:
    """(H, W) uint16."""
    if not _is_16_bit(file):
        raise AnnotationError([Problem(str(file), '', 'is not a gray PNG of 16 bits, as the first one of its folder')])
    with file.open('rb') as data:
        width, height = struct.unpack('>16x2I', data.read(24))
    if width * height > LARGEST_IMAGE:
        what = f'has {width}x{height} pixels, more than the limit of {LARGEST_IMAGE}'
        raise AnnotationError([Problem(str(file), '', what)])
    try:
        values = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise AnnotationError([Problem(str(file), '', f'cannot be decoded: {error}')]) from error
    if values is None or values.ndim != 2:
        raise AnnotationError([Problem(str(file), '', 'cannot be decoded: it is damaged or truncated')])
    return np.asarray(values, np.uint16)


def _name(folder: Path) -> str:
    """The folder of the video, or what holds its `instances`."""
    return folder.absolute().parent.name if folder.name == _FOLDER else folder.name


def _labels(folder: Path) -> tuple[str, ...]:
    """The names in labels.txt beside the PNG files or above them."""
    for place in (folder / LABELS, folder.parent / LABELS):
        if place.is_file():
            lines = place.read_text(encoding='utf-8', errors='replace').splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return ()


def _images(folder: Path, images: str | Path | None) -> dict[str, Path]:
    if images is not None:
        own = Path(images) / folder.name
        return images_by_stem(own if own.is_dir() else Path(images))
    root = folder.parent if folder.name == _FOLDER else folder.parent.parent
    own_name = '' if folder.name == _FOLDER else folder.name
    return next((found for kind in _IMAGE_FOLDERS if (found := images_by_stem(root / kind / own_name))), {})


# --- writing ----------------------------------------------------------------------------------------------------------


def write_mots_png(
    videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None] = lambda: None
) -> list[str]:
    """Write <video>/instances/<frame>.png with labels.txt, and the images in <video>/images, as CVAT imports them.

    Overlapping masks are separated by `disjoint`.

    Args:
        videos: what to write.
        folder: the new folder.
        on_frame: called twice for each frame.

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        ValueError: a class has more than 999 objects in one video, or there are too many classes for 16 bits.
    """
    names = videos.class_names
    if len(names) * IDS_PER_CLASS + IDS_PER_CLASS - 1 > _LARGEST:
        raise ValueError(f'there are {len(names)} classes, but 16 bits hold {_LARGEST // IDS_PER_CLASS - 1}')
    losses = ConversionLosses()
    for name, video in zip(folder_names([video.name for video in videos.videos]), videos.videos, strict=True):
        summary = summarize(video, on_frame)
        if summary.ignored and len(names) >= IGNORED:
            losses.others.append(f'ignored regions of {summary.name} (class 10 is {names[IGNORED - 1]!r})')
        losses.count_objects(summary)
        losses.scores += summary.scored
        losses.stamps += summary.stamped
        _write_video(video, summary, Path(folder) / name, names, losses, on_frame)
    return losses.in_words()


def _write_video(
    video: AnnotatedVideo,
    summary: VideoSummary,
    folder: Path,
    names: Sequence[str],
    losses: ConversionLosses,
    on_frame: Callable[[], None],
) -> None:
    (folder / _FOLDER).mkdir(parents=True)
    lines = [' '.join(name.split()) + '\n' for name in names]
    (folder / _FOLDER / LABELS).write_text(''.join(lines), encoding='utf-8', errors='backslashreplace')
    value_of = _values(summary)
    losses.new_ids += sum(track_id != value for track_id, value in value_of.items())
    for stem, frame in zip(stems(summary.names), video, strict=True):
        parts = disjoint(frame)
        values = np.zeros(frame.size, np.uint16)
        if parts.ignored is not None and len(names) < IGNORED:
            values[decode(parts.ignored) > 0] = IGNORED * IDS_PER_CLASS
        for track_id, mask in zip(frame.track_ids.tolist(), parts.masks, strict=True):
            values[decode(mask) > 0] = value_of[track_id]
        write_image_file(folder / _FOLDER / f'{stem}.png', values)
        write_image(frame, folder / 'images', stem)
        losses.count_overlaps(parts)
        on_frame()


def _values(summary: VideoSummary) -> dict[int, int]:
    """Track id -> value in the PNG. Track ids that have the form class * 1000 + number are kept."""
    class_of = {track_id: track.class_id + 1 for track_id, track in summary.tracks.items()}
    values = {track_id: track_id for track_id, number in class_of.items() if track_id // IDS_PER_CLASS == number}
    taken = set(values)
    for number in sorted(set(class_of.values())):
        own = [track_id for track_id, other in class_of.items() if other == number and track_id not in values]
        free = [i for i in range(number * IDS_PER_CLASS + 1, (number + 1) * IDS_PER_CLASS) if i not in taken]
        if len(own) > len(free):
            raise ValueError(
                f'video {summary.name} has more than {IDS_PER_CLASS - 1} objects of one class, the limit of MOTS PNG'
            )
        values |= dict(zip(own, free, strict=False))
    return values
