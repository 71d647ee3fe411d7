"""MOTS text (KITTI-MOTS, MOTSChallenge): one file a video, one object of one frame a line.

A line is `frame id class height width rle`: id = class * 1000 + number of the object, class 1 = car, 2 = pedestrian,
10 = ignored region, rle = COCO's compressed code of the whole image. https://www.vision.rwth-aachen.de/page/mots
Masks of a frame do not overlap. KITTI counts frames from 0, MOTSChallenge from 1. A frame without a line has no object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from vis_ros.datasets.conversion_losses import ConversionLosses
from vis_ros.datasets.frame_images import ImageFile, bare, folder_names, images_by_stem, write_image
from vis_ros.datasets.indexed_video import IndexedVideo
from vis_ros.datasets.pixel_owners import disjoint
from vis_ros.datasets.problem_log import LARGEST_SIDE, ProblemLog, shown
from vis_ros.datasets.rle import Rle, areas
from vis_ros.datasets.segmentation import counts_fault, union
from vis_ros.datasets.track_summary import VideoSummary, summarise
from vis_ros.datasets.video import AnnotatedFrame, AnnotatedVideo, AnnotatedVideos, AnnotationError, Problem
from vis_ros.image_files import natural_order

CLASSES = {1: 'car', 2: 'pedestrian'}
IGNORED = 10
IDS_A_CLASS = 1000
LAST_FRAME = 9_999_999
"""No video is longer; a corrupt number must not make one up."""
TEXT_FOLDERS = ('instances_txt', 'instances', 'label_02')
_PICTURE_FOLDERS = ('images', 'image_02')
_FIELDS = ('frame', 'id', 'class', 'height', 'width')


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


def _parse(raw: bytes) -> _Line | list[str]:
    """A line, or all that is wrong with it."""
    parts = [part.decode('latin-1') for part in raw.split()]
    if len(parts) != len(_FIELDS) + 1:
        return [f'has {len(parts)} fields, expected 6: {" ".join(_FIELDS)} rle']
    faults = [
        f'{name} is {shown(part)}, expected a whole number of at least {least}'
        for name, part, least in zip(_FIELDS, parts, (0, 0, 0, 1, 1), strict=False)
        if not re.fullmatch(r'[0-9]{1,18}', part) or int(part) < least
    ]
    if faults:
        return faults
    line = _read_line(raw)
    if line.frame > LAST_FRAME:
        return [f'frame is {line.frame}, expected at most {LAST_FRAME}']
    if max(line.size) > LARGEST_SIDE:
        return [f'height {line.size[0]} and width {line.size[1]}: no picture is larger than {LARGEST_SIDE}']
    if text_fault := counts_fault(parts[5], line.size):
        return [text_fault]
    return line


def _read_line(raw: bytes) -> _Line:
    """A line that has been parsed before."""
    *numbers, counts = raw.split()
    frame, track_id, class_number, height, width = map(int, numbers)
    return _Line(frame, track_id, class_number, (height, width), counts)


@dataclass
class _TextFile:
    """What is known of one video: lines is frame -> where its lines begin in the file; size (height, width) of all.

    frames: (first, last) where something beside the text tells; pictures: files by stem.
    """

    name: str
    path: Path
    pictures: dict[str, Path]
    frames: tuple[int, int] | None
    lines: dict[int, list[int]] = field(default_factory=dict)
    classes: set[int] = field(default_factory=set)
    size: tuple[int, int] | None = None


class MotsVideo(IndexedVideo):
    """One text file. Its lines are read again when their frame is; only their places are kept."""

    def __init__(self, file: _TextFile, numbers: Sequence[int], class_ids: dict[int, int]) -> None:
        super().__init__(file.name, len(numbers))
        self._file, self._numbers, self._class_ids = file, numbers, class_ids
        self._size = file.size or (0, 0)

    def frame(self, index: int) -> AnnotatedFrame:
        """Frame number `index`, called by its number in the file with six digits, as the pictures of KITTI are."""
        number = self._numbers[index]
        name = f'{number:06d}'
        lines = self._lines(index)
        objects = [line for line in lines if line.class_number != IGNORED and areas([line.rle])[0]]
        ignored = [line for line in lines if line.class_number == IGNORED]
        picture = self._file.pictures.get(name) or self._file.pictures.get(str(number))
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
            read_image=None if picture is None else ImageFile(picture),
        )

    def empty_masks(self, index: int) -> list[int]:
        return [line.track_id for line in self._lines(index) if not areas([line.rle])[0]]

    def _lines(self, index: int) -> list[_Line]:
        """In ascending order of id."""
        lines = []
        with self._file.path.open('rb') as file:
            for place in self._file.lines.get(self._numbers[index], []):
                file.seek(place)
                lines.append(_read_line(file.readline()))
        return sorted(lines, key=lambda line: line.track_id)


def read(path: str | Path, *, images: str | Path | None = None) -> AnnotatedVideos:
    """Read a text file, a folder of them, or a folder with instances_txt/*.txt or <video>/gt/gt.txt.

    Which frames a video has, tell its pictures, where every frame with a line has one; else seqinfo.ini (MOTSChallenge)
    or a seqmap file (`name empty first last`). Without any of them it ends with its last line, and begins with 0, or
    with 1 where no video has a frame 0: `kind` says so.

    Args:
        path: the file or folder.
        images: the folder with a folder of pictures for each video [default: images, image_02 or img1 beside the text].

    Raises:
        AnnotationError: with every problem of every line.
    """
    path = Path(path)
    texts = text_files(path)
    if not texts:
        raise AnnotationError([Problem(str(path), '', 'holds no MOTS text (*.txt, instances_txt/*.txt, */gt/gt.txt)')])
    findings = [ProblemLog(text) for text in texts]
    ranges: dict[str, tuple[int, int]] = {}
    for seqmap in _seqmaps(texts[0].parent):
        findings.append(ProblemLog(seqmap))
        listed = _read_seqmap(seqmap, findings[-1])
        if path.is_dir():
            for name in sorted(listed.keys() - set(map(_video_name, texts))):
                findings[-1].add('', f'lists the video {name}, but there is no text of it')
        ranges |= listed
    files: list[_TextFile] = []
    for text, own in zip(texts, list(findings), strict=False):
        name = _video_name(text)
        frames = _seqinfo(text, own) or ranges.get(name)
        files.append(_TextFile(name, text, images_by_stem(_picture_folder(text, name, images)), frames))
        _scan(files[-1], own)
    _settle_sizes(files, findings)
    if problems := [problem for own in findings for problem in own.problems]:
        raise AnnotationError(problems)
    numbers = sorted({*CLASSES, *(number for file in files for number in file.classes)})
    class_ids = {number: position for position, number in enumerate(numbers)}
    first = 0 if any(0 in file.lines for file in files) else 1
    known = all(file.frames or _picture_numbers(file) for file in files)
    return AnnotatedVideos(
        source=str(path),
        kind='MOTS text' if known else 'MOTS text (only the last line says how long a video is)',
        class_names=tuple(CLASSES.get(number, f'class {number}') for number in numbers),
        videos=[MotsVideo(file, _frame_numbers(file, first), class_ids) for file in files],
    )


def text_files(path: Path) -> list[Path]:
    """The text files of a set in natural order; none where there are none."""
    if path.is_file():
        return [path]
    for pattern in ('*.txt', *(f'{folder}/*.txt' for folder in TEXT_FOLDERS), '*/gt/gt.txt'):
        found = [file for file in path.glob(pattern) if 'seqmap' not in file.name]
        if found:
            return sorted(found, key=lambda file: natural_order(str(file)))
    return []


def _video_name(text: Path) -> str:
    return text.parent.parent.name if (text.parent.name, text.name) == ('gt', 'gt.txt') else text.stem


def _scan(file: _TextFile, findings: ProblemLog) -> None:
    """Check every line, and note where it is."""
    seen: dict[tuple[int, int], int] = {}
    place = 0
    with file.path.open('rb') as lines:
        for count, raw in enumerate(lines):
            begin, place = place, place + len(raw)
            if not raw.strip():
                continue
            where = f'line {count + 1}'
            line = _parse(raw)
            if isinstance(line, list):
                for fault in line:
                    findings.add(where, fault)
                continue
            _check_line(file, line, where, findings)
            earlier = seen.setdefault((line.frame, line.track_id), count)
            if earlier != count and line.class_number != IGNORED:
                findings.add(where, f'frame {line.frame} has the id {line.track_id} in line {earlier + 1} already')
            file.lines.setdefault(line.frame, []).append(begin)
            if line.class_number != IGNORED:
                file.classes.add(line.class_number)


def _check_line(file: _TextFile, line: _Line, where: str, findings: ProblemLog) -> None:
    file.size = file.size or line.size
    if line.size != file.size:
        findings.add(where, f'height and width are {line.size}, but those of the lines before are {file.size}')
    if file.frames and not file.frames[0] <= line.frame <= file.frames[1]:
        findings.add(where, f'frame is {line.frame}, but the video has frames {file.frames[0]} to {file.frames[1]}')


def _frame_numbers(file: _TextFile, first: int) -> Sequence[int]:
    pictures = _picture_numbers(file)
    if pictures and file.lines.keys() <= set(pictures):
        return pictures
    begin, end = file.frames or ((pictures[0], pictures[-1]) if pictures else (first, first - 1))
    return range(min([begin, *file.lines]), max([end, *file.lines]) + 1)


def _picture_numbers(file: _TextFile) -> list[int]:
    numbers = sorted(int(stem) for stem in file.pictures if stem.isdecimal())
    return numbers if numbers and numbers[-1] <= LAST_FRAME else []


def _settle_sizes(files: list[_TextFile], findings: list[ProblemLog]) -> None:
    """Find the size of videos without a line: that of their pictures, or the one that all others have."""
    sizes = {file.size for file in files if file.size}
    for file, own in zip(files, findings, strict=False):
        if file.size is None and file.pictures:
            try:
                height, width = ImageFile(next(iter(file.pictures.values())))().shape[:2]
                file.size = height, width
            except AnnotationError as error:
                own.problems += error.problems
        elif file.size is None and len(sizes) == 1:
            (file.size,) = sizes
        elif file.size is None and file.frames:
            own.add('', 'has no line, so nothing tells how large its frames are: give the folder of its pictures')


def _picture_folder(text: Path, name: str, images: str | Path | None) -> Path:
    if images is not None:
        own = Path(images) / name
        return own if own.is_dir() else Path(images)
    places = [text.parent.parent / 'img1'] if text.name == 'gt.txt' else []
    places += [folder / kind / name for folder in (text.parent, text.parent.parent) for kind in _PICTURE_FOLDERS]
    return next((place for place in places if place.is_dir()), places[0])


def _seqinfo(text: Path, findings: ProblemLog) -> tuple[int, int] | None:
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
        findings.add('', f'{path} does not tell its length: {error}')
        return None


def _seqmaps(folder: Path) -> list[Path]:
    folders = [folder, *([folder.parent] if folder.name in TEXT_FOLDERS else [])]
    return sorted(file for place in folders for file in place.glob('*seqmap*') if file.is_file())


def _read_seqmap(path: Path, findings: ProblemLog) -> dict[str, tuple[int, int]]:
    """First and last frame by name. Lines of one word (lists of names) tell no length."""
    ranges = {}
    for count, text in enumerate(path.read_text(encoding='utf-8', errors='replace').splitlines()):
        parts = text.split()
        if len(parts) < 4:
            continue
        first, last = (int(part) if re.fullmatch('[0-9]{1,7}', part) else -1 for part in parts[2:4])
        if 0 <= first <= last:
            ranges[parts[0]] = first, last
        else:
            findings.add(f'line {count + 1}', f'is {shown(text)}, expected: name empty first last')
    return ranges


# --- writing ----------------------------------------------------------------------------------------------------------


def write(videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None] = lambda: None) -> list[str]:
    """Write instances_txt/<video>.txt, evaluate_mots.seqmap with the lengths, and the pictures in images/<video>.

    Cars have class 1, pedestrians 2, other classes the next numbers but 10. Where masks overlap see `disjoint`. Frames
    that are called by numbers in ascending order keep them; else they are counted from 0, as KITTI does.

    Returns:
        what the format could not hold, in words with counts.

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
        summary = summarise(video, on_frame)
        losses.count(summary)
        losses.scores += summary.scored
        losses.stamps += summary.stamped
        used |= {track.class_id for track in summary.tracks.values()}
        ids = _object_ids(summary, numbers)
        losses.ids += sum(track_id != identity for track_id, identity in ids.items())
        own_numbers = _own_numbers(summary.names)
        losses.names += len(summary.names) if own_numbers is None else 0
        frame_numbers = own_numbers or list(range(len(summary.names)))
        _write_video(video, root, name, frame_numbers, ids, losses, on_frame)
        if frame_numbers:
            first, last = frame_numbers[0], frame_numbers[-1]
            seqmap.append(f'{name} empty {first:06d} {last:06d}\n')
            gaps += last - first + 1 - len(frame_numbers)
    (root / 'evaluate_mots.seqmap').write_text(''.join(seqmap), encoding='utf-8')
    others = [
        f'{videos.class_names[class_id]} is {numbers[class_id]}'
        for class_id in sorted(used)
        if numbers[class_id] not in CLASSES
    ]
    if others:
        losses.others.append(f'the names of {len(others)} classes: {", ".join(others)}')
    if gaps:
        losses.others.append(f'that {gaps} frames between others are no frames: without pictures they have no objects')
    return losses.in_words()


def class_numbers(names: Sequence[str]) -> list[int]:
    """The number of each class: that of CLASSES or the one in 'class 7', else the next that is free."""
    fixed = {name: number for number, name in CLASSES.items()}
    fixed |= {name: int(name.split()[1]) for name in names if re.fullmatch(r'class [1-9][0-9]?', name)}
    free = (number for number in range(3, 3 + len(names) * 2 + 100) if number not in {IGNORED, *fixed.values()})
    return [fixed[name] if name in fixed and fixed[name] != IGNORED else next(free) for name in names]


def _own_numbers(names: list[str]) -> list[int] | None:
    """What the frames are called, where these are numbers in ascending order."""
    plain = [bare(name) for name in names]
    if not all(name.isdecimal() and int(name) <= LAST_FRAME for name in plain):
        return None
    numbers = [int(name) for name in plain]
    return numbers if all(before < after for before, after in pairwise(numbers)) else None


def _object_ids(summary: VideoSummary, numbers: list[int]) -> dict[int, int]:
    """The id in the file, class * 1000 + number, by track id; ids that are so already stay."""
    ids: dict[int, int] = {}
    class_of = {track_id: numbers[track.class_id] for track_id, track in summary.tracks.items()}
    for track_id, number in class_of.items():
        if track_id // IDS_A_CLASS == number:
            ids[track_id] = track_id
    taken = set(ids.values())
    for number in sorted(set(class_of.values())):
        own = [track_id for track_id, other in class_of.items() if other == number]
        if len(own) >= IDS_A_CLASS:
            raise ValueError(f'video {summary.name} has {len(own)} objects of one class, MOTS holds {IDS_A_CLASS - 1}')
        free = (i for i in range(number * IDS_A_CLASS + 1, (number + 1) * IDS_A_CLASS) if i not in taken)
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
            shape = f'{frame.size[0]} {frame.size[1]}'
            written = [
                (ids[track_id], mask) for track_id, mask in zip(frame.track_ids.tolist(), parts.masks, strict=True)
            ]
            written += [] if parts.ignored is None else [(IGNORED * IDS_A_CLASS, parts.ignored)]
            for identity, mask in sorted(written, key=lambda each: each[0]):
                if areas([mask])[0]:
                    code = mask['counts'].decode('ascii')
                    file.write(f'{number} {identity} {identity // IDS_A_CLASS} {shape} {code}\n')
            losses.taken += parts.taken
            losses.hidden += parts.hidden
            write_image(frame, root / 'images' / name, f'{number:06d}')
            on_frame()
