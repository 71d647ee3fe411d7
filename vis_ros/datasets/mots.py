"""MOTS text files (KITTI MOTS, MOTSChallenge; https://www.vision.rwth-aachen.de/page/mots): one file per video, one
object of one frame per line.

A line is `frame id class height width rle` with id = class * 1000 + object number, class 1 = car, 2 = pedestrian, 10 =
ignored region, and rle = COCO's compressed code of the whole image. The masks of a frame do not overlap. KITTI numbers
frames from 0, MOTSChallenge from 1. A frame without a line has no object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from vis_ros.datasets.coco_rle import Rle, areas
from vis_ros.datasets.conversion_losses import ConversionLosses, disjoint
from vis_ros.datasets.foreign_labels import foreign_text
from vis_ros.datasets.frame_images import ImageFile, bare, folder_names, images_by_stem, write_image
from vis_ros.datasets.problems import LARGEST_SIDE, AnnotationError, Problem, ProblemLog, plural, shown
from vis_ros.datasets.segmentation import counts_fault, union
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, IndexedVideo
from vis_ros.datasets.video_summary import VideoSummary, summarize
from vis_ros.image_files import is_hidden, natural_order
from vis_ros.image_headers import LARGEST_IMAGE

CLASSES = {1: 'car', 2: 'pedestrian'}
IGNORED = 10
IDS_PER_CLASS = 1000
LAST_FRAME = 9_999_999
"""Largest frame number accepted, so that a corrupt number cannot create a huge video."""
_LARGEST_GAP, _FRAMES_PER_LINE = 100_000, 1000
"""A frame number is corrupt if it exceeds the first limit plus the second one for each line of the file."""
_NO_VIDEOS = ('labels.txt', 'classes.txt', 'requirements.txt')
"""Text files beside annotations that are none."""
TEXT_FOLDERS = ('instances_txt', 'instances', 'label_02')
_IMAGE_FOLDERS = ('images', 'image_02')
_FIELDS = ('frame', 'id', 'class', 'height', 'width')

_FrameRange = tuple[int, int]
"""First and last frame number of a video, both included."""


@dataclass(frozen=True)
class _Line:
    frame: int
    track_id: int
    class_number: int
    size: tuple[int, int]
    counts: bytes

    @property
    def rle(self) -> Rle:
        return {'size': list(self.size), 'counts': self.counts}


@dataclass
class _TextFile:
    """What is known about one video after a scan of its file.

    Attributes:
        name: of the video.
        path: of the text file.
        images: image files by stem.
        frames: frame range, if a seqmap or seqinfo.ini has it.
        log: the problems of the file.
        lines: frame number -> byte offsets of its lines.
        classes: class numbers that occur.
        size: (height, width) of all frames.
    """

    name: str
    path: Path
    images: dict[str, Path]
    frames: _FrameRange | None
    log: ProblemLog
    lines: dict[int, list[int]] = field(default_factory=dict)
    classes: set[int] = field(default_factory=set)
    size: tuple[int, int] | None = None

    @property
    def image_numbers(self) -> list[int]:
        """The frame numbers that have an image; none if the names of the images are not frame numbers."""
        numbers = sorted(int(stem) for stem in self.images if stem.isdecimal())
        return numbers if numbers and numbers[-1] <= LAST_FRAME else []

    def frame_numbers(self, first: int) -> Sequence[int]:
        """The frame numbers of the video, which starts with `first` if nothing else is known."""
        pictured = self.image_numbers
        if pictured and self.lines.keys() <= set(pictured):
            return pictured
        begin, end = self.frames or ((pictured[0], pictured[-1]) if pictured else (first, first - 1))
        return range(min([begin, *self.lines]), max([end, *self.lines]) + 1)


class MotsVideo(IndexedVideo):
    """One text file. Only the offsets of its lines are kept; they are read again with their frame."""

    def __init__(self, file: _TextFile, numbers: Sequence[int], class_ids: dict[int, int]) -> None:
        super().__init__(file.name, len(numbers))
        self._file, self._numbers, self._class_ids = file, numbers, class_ids
        self._size = file.size or (0, 0)

    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`. Its name is the frame number with six digits, like the images of KITTI."""
        number = self._numbers[index]
        name = f'{number:06d}'
        lines = self._lines(index)
        objects = [line for line in lines if line.class_number != IGNORED and areas([line.rle])[0]]
        ignored = [line for line in lines if line.class_number == IGNORED]
        image = self._file.images.get(name) or self._file.images.get(str(number))
        return AnnotatedFrame(
            name=name,
            index=index,
            stamp_ns=None,
            size=self._size,
            track_ids=np.array([line.track_id for line in objects], np.int64),
            class_ids=np.array([self._class_ids[line.class_number] for line in objects], np.int64),
            scores=np.ones(len(objects)),
            masks=[line.rle for line in objects],
            ignored=union([line.rle for line in ignored]) if ignored else None,
            read_image=None if image is None else ImageFile(image),
        )

    def empty_masks(self, index: int) -> list[int]:
        return [line.track_id for line in self._lines(index) if not areas([line.rle])[0]]

    def _lines(self, index: int) -> list[_Line]:
        """The lines of a frame, sorted by id."""
        lines = []
        with self._file.path.open('rb') as file:
            for place in self._file.lines.get(self._numbers[index], []):
                file.seek(place)
                lines.append(_split_line(file.readline()))
        return sorted(lines, key=lambda line: line.track_id)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_mots(path: str | Path, *, images: str | Path | None = None) -> AnnotatedVideos:
    """Read a text file, a folder of them, or a folder with instances_txt/*.txt or <video>/gt/gt.txt.

    The frames of a video are those of its images, if every frame with a line has one; otherwise those of seqinfo.ini
    (MOTSChallenge) or of a seqmap file (`name empty first last`). Without any of these the video starts with frame 0,
    or with 1 if no video has a frame 0, and ends with its last line; `kind` says so.

    Args:
        path: the file or folder.
        images: folder with a folder of images for each video; by default images, image_02 or img1 next to the text.

    Raises:
        AnnotationError: with every problem of every line.
    """
    path = Path(path)
    texts = text_files(path)
    if not texts:
        text = 'contains no MOTS text files (*.txt, instances_txt/*.txt, */gt/gt.txt)'
        raise AnnotationError([Problem(str(path), '', text)])
    ranges, seqmap_problems = _read_seqmaps(texts, is_whole_set=path.is_dir())
    files = [_scan(text, images, ranges) for text in texts]
    _infer_missing_sizes(files)
    if problems := [problem for file in files for problem in file.log.problems] + seqmap_problems:
        raise AnnotationError(problems)
    numbers = sorted({*CLASSES, *(number for file in files for number in file.classes)})
    class_ids = {number: position for position, number in enumerate(numbers)}
    first = 0 if any(0 in file.lines for file in files) else 1
    has_lengths = all(file.frames or file.image_numbers for file in files)
    return AnnotatedVideos(
        source=str(path),
        kind='MOTS text' if has_lengths else 'MOTS text (each video ends with its last line)',
        class_names=tuple(CLASSES.get(number, f'class {number}') for number in numbers),
        videos=[MotsVideo(file, file.frame_numbers(first), class_ids) for file in files],
    )


def text_files(path: Path) -> list[Path]:
    """The text files of a set, in natural order."""
    if path.is_file():
        return [path]
    for pattern in ('*.txt', *(f'{folder}/*.txt' for folder in TEXT_FOLDERS), '*/gt/gt.txt'):
        found = [file for file in path.glob(pattern) if not _is_no_video(file)]
        if found:
            return sorted(found, key=lambda file: natural_order(str(file)))
    return []


def _is_no_video(file: Path) -> bool:
    return 'seqmap' in file.name or file.name in _NO_VIDEOS or is_hidden(file)


def looks_like_mots(files: Sequence[Path]) -> bool:
    """Whether one of the files begins with a line of MOTS."""
    return any(not isinstance(_parse_line(_first_line(file)), list) for file in files)


def _video_name(text: Path) -> str:
    return text.parent.parent.name if (text.parent.name, text.name) == ('gt', 'gt.txt') else text.stem


def _read_seqmaps(texts: Sequence[Path], *, is_whole_set: bool) -> tuple[dict[str, _FrameRange], list[Problem]]:
    """The frame ranges in the seqmap files next to the texts, by name of the video, and the problems of these files."""
    folder = texts[0].parent
    folders = [folder, *([folder.parent] if folder.name in TEXT_FOLDERS else [])]
    ranges: dict[str, _FrameRange] = {}
    problems = []
    for seqmap in sorted(file for place in folders for file in place.glob('*seqmap*') if file.is_file()):
        log = ProblemLog(seqmap)
        listed = _read_seqmap(seqmap, log)
        if is_whole_set:
            for name in sorted(listed.keys() - set(map(_video_name, texts))):
                log.add('', f'lists the video {name}, which has no text file')
        ranges |= listed
        problems += log.problems
    return ranges, problems


def _read_seqmap(path: Path, log: ProblemLog) -> dict[str, _FrameRange]:
    """The frame ranges in a seqmap. Lines of a single word, in lists of names, have none."""
    ranges = {}
    for count, text in enumerate(path.read_text(encoding='utf-8', errors='replace').splitlines()):
        parts = text.split()
        if len(parts) < 4:
            continue
        first, last = (int(part) if re.fullmatch('[0-9]{1,7}', part) else -1 for part in parts[2:4])
        if 0 <= first <= last:
            ranges[parts[0]] = first, last
        else:
            log.add(f'line {count + 1}', f'is {shown(text)}, expected: name empty first last')
    return ranges


def _read_seqinfo(text: Path, log: ProblemLog) -> _FrameRange | None:
    """Frames 1 ... seqLength of MOTSChallenge."""
    path = text.parent.parent / 'seqinfo.ini'
    if text.name != 'gt.txt' or not path.is_file():
        return None
    try:
        parser = ConfigParser()
        parser.read(path, encoding='utf-8')
        length = parser.getint('Sequence', 'seqLength')
        if not 1 <= length <= LAST_FRAME:
            raise ValueError(f'seqLength is {length}')
        return 1, length
    except (ConfigError, ValueError) as error:
        log.add('', f'{path} has no valid seqLength: {error}')
        return None


def _scan(text: Path, images: str | Path | None, ranges: dict[str, _FrameRange]) -> _TextFile:
    """Check every line of a file and note where it is."""
    name, log = _video_name(text), ProblemLog(text)
    frames = _read_seqinfo(text, log) or ranges.get(name)
    file = _TextFile(name, text, images_by_stem(_image_folder(text, name, images)), frames, log)
    seen: dict[tuple[int, int], int] = {}
    for count, begin, raw in _numbered_lines(text):
        where = f'line {count + 1}'
        line = _parse_line(raw)
        if isinstance(line, list):
            for fault in line:
                log.add(where, fault)
            continue
        _check_line(file, line, where)
        file.lines.setdefault(line.frame, []).append(begin)
        earlier = seen.setdefault((line.frame, line.track_id), count)
        if line.class_number == IGNORED:
            continue
        file.classes.add(line.class_number)
        if earlier != count:
            log.add(where, f'frame {line.frame} already has the id {line.track_id} in line {earlier + 1}')
    if not file.lines and (kind := foreign_text(_first_line(text))):
        log.problems = [Problem(str(text), '', f'the lines are {kind}')]
    if file.lines and max(file.lines) > _LARGEST_GAP + _FRAMES_PER_LINE * len(file.lines):
        log.add('', f'the last frame is {max(file.lines)}, but only {len(file.lines)} frames have a line')
    return file


def _first_line(path: Path) -> bytes:
    return next((raw for _, _, raw in _numbered_lines(path)), b'')


def _numbered_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number from 0, byte offset, content) of each line that is not empty."""
    begin = 0
    with path.open('rb') as lines:
        for count, raw in enumerate(lines):
            if raw.strip():
                yield count, begin, raw
            begin += len(raw)


def _parse_line(raw: bytes) -> _Line | list[str]:
    """The line, or everything that is wrong with it."""
    parts = [part.decode('latin-1') for part in raw.split()]
    if len(parts) != len(_FIELDS) + 1:
        return [f'has {len(parts)} fields, expected 6: {" ".join(_FIELDS)} rle']
    faults = [
        f'{name} is {shown(part)}, expected an integer of at least {least}'
        for name, part, least in zip(_FIELDS, parts, (0, 0, 0, 1, 1), strict=False)
        if not re.fullmatch(r'[0-9]{1,18}', part) or int(part) < least
    ]
    if faults:
        return faults
    line = _split_line(raw)
    if line.frame > LAST_FRAME:
        return [f'frame is {line.frame}, expected at most {LAST_FRAME}']
    if max(line.size) > LARGEST_SIDE:
        return [f'height {line.size[0]} and width {line.size[1]} exceed the maximum of {LARGEST_SIDE}']
    if line.size[0] * line.size[1] > LARGEST_IMAGE:
        return [f'height {line.size[0]} and width {line.size[1]} are more than the limit of {LARGEST_IMAGE} pixels']
    if fault := counts_fault(parts[5], line.size):
        return [fault]
    return line


def _split_line(raw: bytes) -> _Line:
    """A line that is known to be valid."""
    *numbers, counts = raw.split()
    frame, track_id, class_number, height, width = map(int, numbers)
    return _Line(frame, track_id, class_number, (height, width), counts)


def _check_line(file: _TextFile, line: _Line, where: str) -> None:
    """Check a line against the lines before it and the frame range."""
    file.size = file.size or line.size
    if line.size != file.size:
        file.log.add(where, f'height and width are {line.size}, but in the lines before {file.size}')
    if file.frames and not file.frames[0] <= line.frame <= file.frames[1]:
        first, last = file.frames
        file.log.add(where, f'frame is {line.frame}, but the video has frames {first} to {last}')


def _infer_missing_sizes(files: Sequence[_TextFile]) -> None:
    """Set the size of videos without a line: that of their images, or the one that all other videos have."""
    sizes = {file.size for file in files if file.size}
    for file in files:
        if file.size is not None:
            continue
        if file.images:
            file.size = _image_size(next(iter(file.images.values())), file.log)
        elif len(sizes) == 1:
            (file.size,) = sizes
        elif file.frames:
            file.log.add('', 'has no line, so the size of its frames is unknown: give the folder of its images')


def _image_size(path: Path, log: ProblemLog) -> tuple[int, int] | None:
    try:
        height, width = ImageFile(path)().shape[:2]
    except AnnotationError as error:
        log.problems += error.problems
        return None
    return height, width


def _image_folder(text: Path, name: str, images: str | Path | None) -> Path:
    if images is not None:
        own = Path(images) / name
        return own if own.is_dir() else Path(images)
    places = [text.parent.parent / 'img1'] if text.name == 'gt.txt' else []
    places += [folder / kind / name for folder in (text.parent, text.parent.parent) for kind in _IMAGE_FOLDERS]
    return next((place for place in places if place.is_dir()), places[0])


# --- writing ----------------------------------------------------------------------------------------------------------


def write_mots(videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None] = lambda: None) -> list[str]:
    """Write instances_txt/<video>.txt, evaluate_mots.seqmap with the frame ranges, and the images in images/<video>.

    Cars have class 1, pedestrians 2, other classes the next numbers except 10. Overlapping masks are separated by
    `disjoint`. Frames keep their numbers if their names are ascending numbers; otherwise they are numbered from 0, as
    in KITTI.

    Args:
        videos: what to write.
        folder: the new folder.
        on_frame: called twice for each frame.

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        ValueError: a class has more than 999 objects in one video.
    """
    root = Path(folder)
    (root / 'instances_txt').mkdir(parents=True, exist_ok=True)
    numbers = class_numbers(videos.class_names)
    losses = ConversionLosses()
    seqmap = []
    used: set[int] = set()
    gaps = 0
    names = [name.replace(' ', '_') for name in folder_names([video.name for video in videos.videos])]
    for name, video in zip(names, videos.videos, strict=True):
        summary = summarize(video, on_frame)
        used |= {track.class_id for track in summary.tracks.values()}
        ids = _object_ids(summary, numbers)
        own_numbers = _own_numbers(summary.names)
        frame_numbers = own_numbers or list(range(len(summary.frames)))
        losses.count_objects(summary)
        losses.scores += summary.scored
        losses.stamps += summary.stamped
        losses.new_ids += sum(track_id != identity for track_id, identity in ids.items())
        losses.frame_names += len(summary.frames) if own_numbers is None else 0
        _write_video(video, root, name, frame_numbers, ids, losses, on_frame)
        if frame_numbers:
            first, last = frame_numbers[0], frame_numbers[-1]
            seqmap.append(f'{name} empty {first:06d} {last:06d}\n')
            gaps += last - first + 1 - len(frame_numbers)
    (root / 'evaluate_mots.seqmap').write_text(''.join(seqmap), encoding='utf-8', errors='backslashreplace')
    losses.others += _other_losses(videos.class_names, numbers, used, gaps)
    return losses.in_words()


def _other_losses(names: Sequence[str], numbers: Sequence[int], used: set[int], gaps: int) -> list[str]:
    """The class names that MOTS does not know, and the frame numbers between others that are no frames."""
    losses = []
    unnamed = [f'{names[k]} is {numbers[k]}' for k in sorted(used) if numbers[k] not in CLASSES]
    if unnamed:
        losses.append(f'class names ({", ".join(unnamed)})')
    if gaps:
        losses.append(
            f'{plural(gaps, "missing frame number")} (read as frames without objects, unless there are images)'
        )
    return losses


def class_numbers(names: Sequence[str]) -> list[int]:
    """The number of each class: that of CLASSES, or the one in a name like 'class 7', otherwise the next free one."""
    fixed = {name: number for number, name in CLASSES.items()}
    fixed |= {name: int(name.split()[1]) for name in names if re.fullmatch(r'class [1-9][0-9]?', name)}
    free = (number for number in range(3, 3 + len(names) * 2 + 100) if number not in {IGNORED, *fixed.values()})
    return [fixed[name] if name in fixed and fixed[name] != IGNORED else next(free) for name in names]


def _own_numbers(names: list[str]) -> list[int] | None:
    """The names of the frames as numbers, if they are numbers in ascending order."""
    plain = [bare(name) for name in names]
    if not all(name.isdecimal() and int(name) <= LAST_FRAME for name in plain):
        return None
    numbers = [int(name) for name in plain]
    return numbers if all(before < after for before, after in pairwise(numbers)) else None


def _object_ids(summary: VideoSummary, numbers: list[int]) -> dict[int, int]:
    """Track id -> id in the file, class * 1000 + object number. Track ids that have this form are kept."""
    class_of = {track_id: numbers[track.class_id] for track_id, track in summary.tracks.items()}
    ids = {track_id: track_id for track_id, number in class_of.items() if track_id // IDS_PER_CLASS == number}
    taken = set(ids)
    for number in sorted(set(class_of.values())):
        own = [track_id for track_id, other in class_of.items() if other == number]
        if len(own) >= IDS_PER_CLASS:
            raise ValueError(
                f'video {summary.name} has {len(own)} objects of one class, but MOTS can hold {IDS_PER_CLASS - 1}'
            )
        free = (i for i in range(number * IDS_PER_CLASS + 1, (number + 1) * IDS_PER_CLASS) if i not in taken)
        ids |= {track_id: next(free) for track_id in own if track_id not in ids}
    return ids


def _write_video(
    video: AnnotatedVideo,
    root: Path,
    name: str,
    numbers: list[int],
    ids: dict[int, int],
    losses: ConversionLosses,
    on_frame: Callable[[], None],
) -> None:
    with (root / 'instances_txt' / f'{name}.txt').open('w', encoding='ascii') as file:
        for number, frame in zip(numbers, video, strict=True):
            parts = disjoint(frame)
            objects = [ids[track_id] for track_id in frame.track_ids.tolist()]
            masks = list(zip(objects, parts.masks, strict=True))
            masks += [] if parts.ignored is None else [(IGNORED * IDS_PER_CLASS, parts.ignored)]
            for identity, mask in sorted(masks, key=lambda each: each[0]):
                if areas([mask])[0]:
                    line = (number, identity, identity // IDS_PER_CLASS, *frame.size, mask['counts'].decode('ascii'))
                    file.write(' '.join(map(str, line)) + '\n')
            write_image(frame, root / 'images' / name, f'{number:06d}')
            losses.count_overlaps(parts)
            on_frame()
