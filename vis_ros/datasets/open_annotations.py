"""Open annotations of any format, which is recognized by the content of the path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vis_ros.datasets.coco_json import read_coco
from vis_ros.datasets.coco_vid import is_coco_vid, read_coco_vid, read_tracked_coco, tracked_annotations
from vis_ros.datasets.cvat_xml import read_cvat, xml_files
from vis_ros.datasets.davis import GrayMasks, read_davis
from vis_ros.datasets.foreign_labels import foreign_json
from vis_ros.datasets.labels import LABELS_FILE, read_labels
from vis_ros.datasets.library_file import LIBRARY
from vis_ros.datasets.mots import looks_like_mots, read_mots, text_files
from vis_ros.datasets.mots_png import mots_png_folders, read_mots_png
from vis_ros.datasets.problems import AnnotationError, Problem, plural, read_json, shown
from vis_ros.datasets.replay_folder import RUN, read_replay_folder, record_files
from vis_ros.datasets.video import AnnotatedVideos
from vis_ros.datasets.youtube_vis import read_youtube_vis
from vis_ros.datasets.youtube_vis_results import read_youtube_vis_results
from vis_ros.file_kinds import foreign_kind
from vis_ros.recordings.bag_files import is_bag

_NO_ANNOTATIONS = (RUN, 'results.json', LABELS_FILE)
"""JSON files in folders of annotations that are not annotations themselves."""

FORMATS = (
    'a YouTube-VIS, CocoVID or COCO file (*.json), DAVIS mask images (Annotations/<video>/*.png, <video>/*.png, '
    '*.png), MOTS PNG (instances/*.png, instances/<video>/*.png), MOTS text (*.txt, instances_txt/*.txt, '
    '<video>/gt/gt.txt), CVAT for video XML (annotations.xml), results of vis-ros replay (results.jsonl, '
    '<video>/results.jsonl, library.json), a bag (metadata.yaml, *.mcap, *.db3)'
)


def open_annotations(
    path: str | Path,
    *,
    topic: str | None = None,
    truth: AnnotatedVideos | None = None,
    images: str | Path | None = None,
    gray: GrayMasks = 'auto',
) -> AnnotatedVideos:
    """Open ground truth or results of any format.

    Args:
        path: a file or folder, see FORMATS.
        topic: of the InstanceMaskArray messages in a bag; None: all topics of this type.
        truth: ground truth of YouTube-VIS results, which do not list their frames themselves.
        images: the folder of the images, if it is not in the place that the format defines.
        gray: what gray mask images of a DAVIS folder mean.

    Raises:
        FileNotFoundError: `path` does not exist.
        AnnotationError: the format is unknown or ambiguous, or the content is wrong; lists all problems.
        ValueError: a topic is given, but `path` is not a bag or has no such topic.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'there is no file or folder {path}')
    videos = _open(path, topic, truth, images, gray)
    return videos if videos.labels else replace(videos, labels=read_labels(path))


def _open(
    path: Path, topic: str | None, truth: AnnotatedVideos | None, images: str | Path | None, gray: GrayMasks
) -> AnnotatedVideos:
    if is_bag(path) and (path.is_file() or topic is not None):
        return _read_bag(path, topic)
    if topic is not None:
        raise ValueError(f'{path} is not a bag, so it has no topic {topic!r}; leave --topic out')
    return _open_file(path, truth, images) if path.is_file() else _open_folder(path, truth, images, gray)


def _read_bag(path: Path, topic: str | None = None) -> AnnotatedVideos:
    from vis_ros.datasets.bag_annotations import read_bag

    return read_bag(path, topic)


def _open_file(path: Path, truth: AnnotatedVideos | None, images: str | Path | None) -> AnnotatedVideos:
    if path.suffix.lower() == '.xml':
        return read_cvat(path, images=images)
    if kind := foreign_kind(path):
        raise AnnotationError([Problem(str(path), '', f'is {kind}')])
    if path.suffix.lower() == '.json':
        return _open_json(path, truth, images)
    if path.suffix.lower() == '.jsonl':
        return read_replay_folder(path)
    if path.suffix.lower() == '.txt':
        return read_mots(path, images=images)
    raise AnnotationError([Problem(str(path), '', f'is not a file of a known format. Known are {FORMATS}')])


def _open_json(path: Path, truth: AnnotatedVideos | None, images: str | Path | None) -> AnnotatedVideos:
    content = read_json(path)
    if kind := foreign_json(content):
        raise AnnotationError([Problem(str(path), '', f'is {kind}')])
    if isinstance(content, list):
        return _open_results(path, content, truth)
    if isinstance(content, dict) and is_coco_vid(content):
        return read_coco_vid(path, content, images)
    if isinstance(content, dict) and 'videos' in content:
        return read_youtube_vis(path, images=images, content=content)
    if isinstance(content, dict) and 'images' in content:
        return _open_coco(path, content, images)
    what = (
        f'an object with {", ".join(map(repr, content)) or "nothing"}' if isinstance(content, dict) else shown(content)
    )
    expected = "an object with 'videos' (YouTube-VIS) or 'images' (COCO), or a list of results"
    raise AnnotationError([Problem(str(path), '', f'is {what}, expected {expected}')])


def _open_coco(path: Path, content: dict[str, Any], images: str | Path | None) -> AnnotatedVideos:
    """COCO of videos if an id of an object occurs in several images, else of single images."""
    count, recurs = tracked_annotations(content)
    if recurs:
        return read_tracked_coco(path, content, images)
    read = read_coco(path, images=images, content=content)
    remark = f'track ids of {plural(count, "annotation")} ignored, because each occurs in one image only'
    return replace(read, remarks=(*read.remarks, remark)) if count else read


def _open_results(path: Path, rows: list[object], truth: AnnotatedVideos | None) -> AnnotatedVideos:
    if record_files(path.parent):
        what = f'lists neither the frames nor the classes of its replay: give the folder {path.parent} instead'
    elif truth is None:
        what = 'is a list of results, which does not list the frames: give the ground truth too'
    else:
        return read_youtube_vis_results(path, truth, content=rows)
    raise AnnotationError([Problem(str(path), '', what)])


def _open_folder(
    path: Path, truth: AnnotatedVideos | None, images: str | Path | None, gray: GrayMasks
) -> AnnotatedVideos:
    if (path / LIBRARY).is_file():
        return read_replay_folder(path)
    found: dict[str, Callable[[], AnnotatedVideos]] = {}
    if is_bag(path):
        found['bag'] = lambda: _read_bag(path)
    if record_files(path):
        found['results of vis-ros replay'] = lambda: read_replay_folder(path)
    for file in sorted([*path.glob('*.json'), *path.glob('annotations/*.json')]):
        if file.name not in _NO_ANNOTATIONS:
            found[str(file.relative_to(path))] = partial(_open_json, file, truth, images)
    if path.name.startswith('Annotations') or any(folder.is_dir() for folder in path.glob('Annotations*')):
        found['DAVIS mask images'] = lambda: read_davis(path, images=images, gray=gray)
    if xml_files(path):
        found['CVAT for video XML'] = lambda: read_cvat(path, images=images)
    if mots_png_folders(path):
        found['MOTS PNG'] = lambda: read_mots_png(path, images=images)
    if (texts := text_files(path)) and (not found or looks_like_mots(texts)):
        found['MOTS text'] = lambda: read_mots(path, images=images)
    if not found and (path / RUN).is_file():
        what = 'is the folder of a replay without results.jsonl: copy that file too, or open the folder bag in it'
        raise AnnotationError([Problem(str(path), '', what)])
    if not found and any(any(path.glob(pattern)) for pattern in ('*.png', '*/*.png')):
        found['DAVIS mask images'] = lambda: read_davis(path, images=images, gray=gray)
    if len(found) > 1:
        raise AnnotationError(
            [Problem(str(path), '', f'holds several annotations, choose one of them: {", ".join(found)}')]
        )
    for read in found.values():
        return read()
    raise AnnotationError([Problem(str(path), '', f'holds no annotations. Known are {FORMATS}')])
