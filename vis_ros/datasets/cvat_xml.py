"""CVAT for video 1.1 (https://docs.cvat.ai/docs/other/xml_format): an XML file for each video, a track for each object.

A track has a polygon or a mask in each of its frames; between keyframes, polygons with the same number of points move
evenly, as in CVAT, and all other shapes stay. It is rewritten as YouTube-VIS and read as such. A track with the label
`ignored` is an ignored region.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from vis_ros.datasets.coco_rle import Rle, decode, encode
from vis_ros.datasets.conversion_losses import ConversionLosses
from vis_ros.datasets.frame_images import folder_names, images_by_stem, write_image
from vis_ros.datasets.pixel_outline import pixel_outline
from vis_ros.datasets.problems import AnnotationError, Problem, ProblemLog, plural, shown
from vis_ros.datasets.segmentation import uncompressed
from vis_ros.datasets.video import AnnotatedVideo, AnnotatedVideos
from vis_ros.datasets.video_summary import VideoSummary, masks_by_track, summarize
from vis_ros.datasets.youtube_vis import read_youtube_vis

KIND = 'CVAT for video XML'
NAME = 'annotations.xml'
IGNORED = 'ignored'
"""Label of ignored regions."""
_LARGEST_FRAME = 9_999_999
_LARGEST_GAP, _FRAMES_PER_SHAPE = 100_000, 1000
"""A number of frames is corrupt if it exceeds the first limit plus the second one for each shape."""


@dataclass
class _Shape:
    """One shape of a track: the polygon (x0, y0, x1, y1, ...) or the run lengths; neither outside the image."""

    polygon: list[float] | None = None
    mask: dict[str, Any] | None = None
    is_keyframe: bool = True


@dataclass
class _Track:
    """Frame number -> shape, of one object."""

    where: str
    track_id: int
    label: str
    shapes: dict[int, _Shape] = field(default_factory=dict)


@dataclass
class _Task:
    """One file: size (height, width), the numbers of its frames, the labels and the tracks."""

    path: Path
    size: tuple[int, int] = (0, 0)
    frames: Sequence[int] = ()
    labels: list[str] = field(default_factory=list)
    tracks: list[_Track] = field(default_factory=list)
    held: int = 0


def xml_files(path: Path) -> list[Path]:
    """The file itself, annotations.xml of a folder, or those of the folders in it."""
    if path.is_file():
        return [path]
    return [path / NAME] if (path / NAME).is_file() else sorted(path.glob(f'*/{NAME}'))


def read_cvat(path: str | Path, *, images: str | Path | None = None) -> AnnotatedVideos:
    """Read an XML file, a folder with annotations.xml, or a folder of such folders.

    Args:
        path: the file or folder.
        images: folder of the images; by default `images` beside the file. They belong to the frames by their number
            (frame_000012), or by their order if there is one for each frame.

    Raises:
        AnnotationError: with every problem of every shape.
    """
    path = Path(path)
    problems: list[Problem] = []
    tasks = []
    for file in xml_files(path):
        log = ProblemLog(file)
        task = _read_task(file, log)
        problems += log.problems
        tasks.append(task)
    if not tasks:
        problems.append(Problem(str(path), '', f'contains no {NAME}'))
    if problems:
        raise AnnotationError(problems)
    labels = list(dict.fromkeys(label for task in tasks for label in task.labels if label != IGNORED))
    videos: list[AnnotatedVideo] = []
    for task in tasks:
        folder = task.path.parent / 'images' if images is None else Path(images)
        content = _as_youtube_vis(task, labels, folder)
        videos += read_youtube_vis(task.path, images=folder, content=content, kind=KIND).videos
    for video, name in zip(videos, _video_names(tasks), strict=True):
        video.name = name
    held = sum(task.held for task in tasks)
    remarks = [f'{plural(held, "frame")} between keyframes of different shape show the earlier one'] if held else []
    return AnnotatedVideos(str(path), KIND, tuple(labels) or ('object',), videos, remarks=tuple(remarks))


def _video_names(tasks: Sequence[_Task]) -> list[str]:
    """The folder of annotations.xml, else the name of the file."""
    names = [task.path.absolute().parent.name if task.path.name == NAME else task.path.stem for task in tasks]
    return names if len(set(names)) == len(names) else [str(task.path) for task in tasks]


def _read_task(path: Path, log: ProblemLog) -> _Task:
    task = _Task(path)
    text = path.read_bytes()
    if b'<!DOCTYPE' in text or b'<!ENTITY' in text:  # entities can expand without limit
        log.add('', 'declares a document type or entities, which CVAT does not write')
        return task
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two for an unknown encoding
        log.add('', f'is not XML: {error}')
        return task
    if root.tag != 'annotations':
        log.add('', f'has the root <{root.tag}>, expected <annotations> of CVAT')
        return task
    if root.find('image') is not None:
        log.add('', 'is CVAT for images, which has no identities: export it as "CVAT for video 1.1" or "COCO 1.0"')
        return task
    if len(root.findall('meta/project/tasks/task')) > 1:
        log.add('', 'is an export of a project with several tasks: export each task by itself')
        return task
    task.labels = [str(name.text) for name in root.iterfind('meta//labels/label/name') if name.text]
    task.size = _read_size(root, log)
    if 0 not in task.size:
        task.tracks = [_read_track(element, n, task.size, log) for n, element in enumerate(root.iterfind('track'))]
        task.labels += [track.label for track in task.tracks if track.label not in task.labels]
        task.frames = _read_frames(root, task.tracks, log)
    seen: dict[int, str] = {}
    for track in task.tracks:
        if track.track_id in seen:
            log.add(track.where, f'the id {track.track_id} is already used by {seen[track.track_id]}')
        seen.setdefault(track.track_id, track.where)
    return task


def _read_size(root: ElementTree.Element, log: ProblemLog) -> tuple[int, int]:
    found = root.find('meta//original_size')
    record: dict[str, Any] = {}
    for side in ('height', 'width'):
        text = '' if found is None else (found.findtext(side) or '').strip()
        if re.fullmatch(r'\d{1,9}', text):
            record[side] = int(text)
        elif text:
            record[side] = text
    return log.size(record, 'meta, original_size')


def _read_frames(root: ElementTree.Element, tracks: Sequence[_Track], log: ProblemLog) -> Sequence[int]:
    """The numbers of the frames: those of the task in its video if the shapes have them, else from 0."""
    meta = root.find('meta/task')
    meta = root.find('meta/job') if meta is None else meta
    meta = root.find('meta//task') if meta is None else meta
    numbers = {number for track in tracks for number in track.shapes}
    values = {}
    for key in ('size', 'start_frame', 'stop_frame'):
        text = '' if meta is None else (meta.findtext(key) or '').strip()
        if re.fullmatch(r'\d{1,7}', text):
            values[key] = int(text)
        elif text:
            log.add(f'meta, {key}', f'is {shown(text)}, expected a number of at most {_LARGEST_FRAME}')
    step = re.search(r'step=(\d+)', '' if meta is None else meta.findtext('frame_filter') or '')
    ranges = [range(values['size'])] if 'size' in values else []
    if 'stop_frame' in values:
        ranges.insert(
            0, range(values.get('start_frame', 0), values['stop_frame'] + 1, max(1, int(step[1]) if step else 1))
        )
    for frames in ranges:
        shapes = sum(len(track.shapes) for track in tracks)
        if len(frames) > _LARGEST_GAP + _FRAMES_PER_SHAPE * shapes:
            log.add('meta', f'has {len(frames)} frames, but there are {plural(shapes, "shape")}')
            return ()
        if all(number in frames for number in numbers):
            return frames
    if ranges:
        beyond = sorted(number for number in numbers if number not in ranges[-1])
        log.add('', f'has shapes in frame {beyond[0]}, but the task has {len(ranges[-1])} frames')
    elif numbers:
        log.add('meta', 'has no size: the number of frames is unknown')
    else:
        log.add('meta', 'has no size, and there is no track')
    return ()


def _read_track(element: ElementTree.Element, position: int, size: tuple[int, int], log: ProblemLog) -> _Track:
    where = f'track[{position}]'
    text = element.get('id', '')
    if not re.fullmatch(r'\d{1,18}', text):
        log.add(where, f"'id' is {shown(text)}, expected a number")
        text = str(position)
    where += f', id {text}'
    label = element.get('label', '')
    if not label:
        log.add(where, "has no 'label'")
    track = _Track(where, int(text), label)
    for shape in element:
        _read_shape(shape, track, size, log)
    return track


def _read_shape(shape: ElementTree.Element, track: _Track, size: tuple[int, int], log: ProblemLog) -> None:
    number = shape.get('frame', '')
    where = f'{track.where}, {shape.tag} of frame {number}'
    if not re.fullmatch(r'\d{1,7}', number):
        log.add(where, f"'frame' is {shown(number)}, expected a number of at most {_LARGEST_FRAME}")
        return
    if int(number) in track.shapes:
        log.add(where, 'the track already has a shape in this frame')
    found = _Shape(is_keyframe=shape.get('keyframe', '1') != '0')
    if shape.get('outside') != '1':
        if shape.tag == 'polygon':
            found.polygon = _read_polygon(shape.get('points', ''), where, log)
        elif shape.tag == 'mask':
            found.mask = _read_mask(shape, size, where, log)
        else:
            log.add(where, f'is a {shape.tag}, but masks or polygons are needed')
    track.shapes[int(number)] = found


def _read_polygon(points: str, where: str, log: ProblemLog) -> list[float] | None:
    try:
        pairs = [tuple(map(float, point.split(','))) for point in points.split(';')]
        if all(len(pair) == 2 for pair in pairs):
            return [value for pair in pairs for value in pair]
    except ValueError:
        pass
    log.add(where, f"'points' is {shown(points)}, expected x,y;x,y;...")
    return None


def _read_mask(shape: ElementTree.Element, size: tuple[int, int], where: str, log: ProblemLog) -> dict[str, Any] | None:
    """The run lengths of the whole image. CVAT has those of a window, row by row, starting with background."""
    texts = [shape.get(key, '') for key in ('left', 'top', 'width', 'height')]
    if not all(re.fullmatch(r'\d{1,6}', text) for text in texts):
        log.add(where, f'left, top, width and height are {", ".join(map(shown, texts))}, expected numbers')
        return None
    left, top, width, height = map(int, texts)
    if left + width > size[1] or top + height > size[0]:
        log.add(
            where, f'the window of {width}x{height} at ({left}, {top}) leaves the image of {size[1]}x{size[0]} pixels'
        )
        return None
    text = shape.get('rle', '')
    if not re.fullmatch(r'\s*\d{1,9}(\s*,\s*\d{1,9})*\s*', text):
        log.add(where, f"'rle' is {shown(text)}, expected run lengths with commas")
        return None
    runs = np.array([int(run) for run in text.split(',')], np.int64)
    if runs.sum() != width * height:
        log.add(
            where, f'run lengths sum to {runs.sum()}, but the window has {width} x {height} = {width * height} pixels'
        )
        return None
    plane = np.zeros(size, np.uint8)
    values = np.repeat(np.arange(len(runs)) % 2, runs)
    plane[top : top + height, left : left + width] = values.reshape(height, width)
    return uncompressed(encode(plane))


def _as_youtube_vis(task: _Task, labels: Sequence[str], images: Path) -> dict[str, Any]:
    """The file as YouTube-VIS, with the ids of its tracks."""
    ids = {label: number + 1 for number, label in enumerate(labels)}
    names, has_images = _image_names(task.frames, images)
    annotations = [
        {
            'id': track.track_id,
            'video_id': 1,
            'category_id': ids.get(track.label, 1),
            'iscrowd': int(track.label == IGNORED),
            'segmentations': _segmentations(track, task),
        }
        for track in task.tracks
    ]
    height, width = task.size
    return {
        'videos': [{'id': 1, 'height': height, 'width': width, 'file_names': names}],
        'categories': [{'id': number, 'name': label} for label, number in ids.items()] or [{'id': 1, 'name': 'object'}],
        'annotations': annotations,
        'info': {'has_images': has_images},
    }


def _image_names(frames: Sequence[int], folder: Path) -> tuple[list[str], bool]:
    """The name of the image of each frame, and whether there are images at all."""
    found = images_by_stem(folder)
    by_number = {
        int(match[1]): path.name for stem, path in found.items() if (match := re.fullmatch(r'(?:frame_)?(\d+)', stem))
    }
    if all(number in by_number for number in frames):
        return [by_number[number] for number in frames], True
    if len(found) == len(frames):
        return [path.name for path in found.values()], True
    return [by_number.get(number, f'frame_{number:06d}.png') for number in frames], bool(found)


def _segmentations(track: _Track, task: _Task) -> list[Any]:
    """The segmentation of a track in each frame of the task, or None."""
    numbers = sorted(track.shapes)
    found: list[Any] = []
    place = -1
    for frame in task.frames:
        while place + 1 < len(numbers) and numbers[place + 1] <= frame:
            place += 1
        before = track.shapes[numbers[place]] if place >= 0 else _Shape()
        after = track.shapes[numbers[place + 1]] if place + 1 < len(numbers) else None
        polygon = before.polygon
        if place >= 0 and numbers[place] < frame and after is not None and polygon is not None:
            share = (frame - numbers[place]) / (numbers[place + 1] - numbers[place])
            if after.polygon is not None and len(after.polygon) == len(polygon):
                polygon = [a + share * (b - a) for a, b in zip(polygon, after.polygon, strict=True)]
            else:
                task.held += after.polygon is not None
        found.append(before.mask if polygon is None else [polygon])
    return found


# --- writing ----------------------------------------------------------------------------------------------------------


def write_cvat(videos: AnnotatedVideos, folder: str | Path, on_frame: Callable[[], None] = lambda: None) -> list[str]:
    """Write <video>/annotations.xml and <video>/images/frame_000000.*, to upload to a task of this video in CVAT.

    Every mask becomes one polygon along the edges of its pixels, because CVAT takes masks in tracks for single shapes
    and forgets the identity. Ignored regions become a track with the label `ignored`.

    Args:
        videos: what to write.
        folder: the new folder.
        on_frame: called twice for each frame.

    Returns:
        what the format cannot hold, in words with counts.

    Raises:
        ValueError: the frames of a video differ in size, or a class has the name `ignored`.
    """
    if IGNORED in videos.class_names:
        raise ValueError(f'a class has the name {IGNORED!r}, which stands for ignored regions here: rename it')
    losses = ConversionLosses()
    for name, video in zip(folder_names([video.name for video in videos.videos]), videos.videos, strict=True):
        summary = summarize(video, on_frame)
        if len(set(summary.sizes)) > 1:
            raise ValueError(f'the frames of {summary.name} differ in size, which CVAT cannot hold')
        losses.count_objects(summary)
        losses.scores += summary.scored
        losses.stamps += summary.stamped
        losses.frame_names += len(summary.frames)
        _write_video(video, summary, Path(folder) / name, videos.class_names, losses, on_frame)
    return losses.in_words()


def _write_video(
    video: AnnotatedVideo,
    summary: VideoSummary,
    folder: Path,
    class_names: Sequence[str],
    losses: ConversionLosses,
    on_frame: Callable[[], None],
) -> None:
    folder.mkdir(parents=True)
    ignored: list[Rle | None] = [None] * len(summary.frames)

    def write_frame(position: int, frame: Any) -> None:
        write_image(frame, folder / 'images', f'frame_{position:06d}')
        ignored[position] = frame.ignored
        on_frame()

    masks = masks_by_track(video, summary, write_frame)
    ids = _track_ids(list(masks))
    losses.new_ids += sum(track_id != identity for track_id, identity in ids.items())
    used = sorted({track.class_id for track in summary.tracks.values()})
    labels = [class_names[class_id] for class_id in used] + ([IGNORED] if any(ignored) else [])
    with (folder / NAME).open('w', encoding='utf-8', errors='backslashreplace') as file:
        file.write(_head(summary, labels))
        for track_id, its in masks.items():
            file.writelines(_track_lines(ids[track_id], class_names[summary.tracks[track_id].class_id], its))
        if any(ignored):
            file.writelines(_track_lines(max(ids.values(), default=-1) + 1, IGNORED, ignored))
        file.write('</annotations>\n')


def _track_ids(track_ids: Sequence[int]) -> dict[int, int]:
    """Track id -> id in the file: kept if CVAT's integers can hold all of them."""
    if all(0 <= track_id < 1 << 31 for track_id in track_ids):
        return {track_id: track_id for track_id in track_ids}
    return {track_id: position for position, track_id in enumerate(track_ids)}


def _head(summary: VideoSummary, labels: Sequence[str]) -> str:
    height, width = summary.sizes[0] if summary.sizes else (0, 0)
    listed = ''.join(
        f'<label><name>{_text(label)}</name><type>any</type><attributes></attributes></label>' for label in labels
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
        f'<name>{_text(summary.name)}</name><size>{len(summary.frames)}</size><mode>interpolation</mode>'
        f'<overlap>0</overlap><start_frame>0</start_frame><stop_frame>{len(summary.frames) - 1}</stop_frame>'
        f'<frame_filter></frame_filter><labels>{listed}</labels>'
        f'<original_size><width>{width}</width><height>{height}</height></original_size></task></meta>\n'
    )


def _text(value: str) -> str:
    return value.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def _track_lines(track_id: int, label: str, masks: Sequence[Rle | None]) -> Iterator[str]:
    yield f'<track id="{track_id}" label={quoteattr(label)} source="auto">\n'
    previous = ''
    for frame, mask in enumerate(masks):
        points = '' if mask is None else ';'.join(f'{x},{y}' for x, y in pixel_outline(decode(mask)))
        if points or previous:
            shown_points, outside = (points, 0) if points else (previous, 1)
            yield (
                f'<polygon frame="{frame}" keyframe="1" outside="{outside}" occluded="0" points="{shown_points}" '
                'z_order="0"></polygon>\n'
            )
        previous = points
    yield '</track>\n'
