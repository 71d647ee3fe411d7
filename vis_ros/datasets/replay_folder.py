"""The output of `vis-ros replay`: run.json and results.jsonl with one line per frame, in a folder for each video."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.coco_rle import Rle, areas
from vis_ros.datasets.frame_images import ImageFile
from vis_ros.datasets.library_file import LIBRARY, library_remarks, read_library
from vis_ros.datasets.problems import AnnotationError, Problem, ProblemLog, is_integer, plural, read_json, shown
from vis_ros.datasets.segmentation import fault, to_rle
from vis_ros.datasets.video import EPOCH, AnnotatedFrame, AnnotatedVideos, IndexedVideo
from vis_ros.file_digest import sha256_of
from vis_ros.image_files import natural_order

RECORDS = 'results.jsonl'
RUN = 'run.json'
PUBLISHED_RULES = ('paper', 'mmtracking')
"""Values of the setting `association` that may give several detections of a frame the same id."""
_NEWEST = 2
"""Version of the layout of results.jsonl, see vis_ros/replay/results.schema.json."""


class ReplayVideo(IndexedVideo):
    """One results.jsonl. Only the byte offsets of its lines are kept; a line is read again with its frame.

    `images`: the folder of images that was replayed, if it is one and still there.
    """

    def __init__(self, name: str, path: Path, offsets: list[int], images: Path | None = None) -> None:
        super().__init__(name, len(offsets))
        self._path, self._offsets, self._images = path, offsets, images

    def frame(self, index: int) -> AnnotatedFrame:
        """The frame of line number `index`. Objects with an empty mask are left out.

        Its own `index` is that in the recording, of which the replay may have processed only some frames.
        """
        record = self._record(index)
        instances = [(each, mask) for each, mask in _decoded(record) if areas([mask])[0]]
        return AnnotatedFrame(
            name=record['name'],
            index=record['index'],
            stamp_ns=record.get('stamp_ns'),
            size=(record['height'], record['width']),
            track_ids=np.array([record['epoch'] * EPOCH + each['track_id'] for each, _ in instances], np.int64),
            class_ids=np.array([each['class_id'] for each, _ in instances], np.int64),
            scores=np.array([each['score'] for each, _ in instances], np.float64),
            masks=[mask for _, mask in instances],
            read_image=self._image(record['name']),
        )

    def _image(self, name: str) -> ImageFile | None:
        file = None if self._images is None or Path(name).name != name else self._images / name
        return ImageFile(file, self._images) if file is not None and file.is_file() else None

    def frame_names(self) -> list[str]:
        return [self._record(index)['name'] for index in range(self.length)]  # without decoding masks

    def empty_masks(self, index: int) -> list[int]:
        return [each['track_id'] for each, mask in _decoded(self._record(index)) if not areas([mask])[0]]

    def _record(self, index: int) -> Any:
        with self._path.open('rb') as file:
            file.seek(self._offsets[index])
            return json.loads(file.readline())


def _decoded(record: dict[str, Any]) -> list[tuple[dict[str, Any], Rle]]:
    """The instances of a line with their masks; of several with the same id the last."""
    size = (record['height'], record['width'])
    last = {instance['track_id']: instance for instance in record['instances']}
    return [(instance, to_rle(instance['mask'], size)) for instance in last.values()]


def record_files(path: Path) -> list[Path]:
    """The results.jsonl of a folder, those of the folders in it, or those of a library."""
    if (path / LIBRARY).is_file():
        return [file for row in read_library(path) if (file := path / row['folder'] / RECORDS).is_file()]
    own = path / RECORDS
    return (
        [own] if own.is_file() else sorted(path.glob(f'*/{RECORDS}'), key=lambda file: natural_order(file.parent.name))
    )


def read_replay_folder(path: str | Path) -> AnnotatedVideos:
    """Read the folder of a replay, a folder of such folders, a replayed library, or one results.jsonl.

    Classes and settings come from run.json, next to results.jsonl or in the folder above. For several runs, `settings`
    contains those that are the same in all runs. A video of a library is named by its folder.

    The published association rules may give several detections of a frame the same id. As in the code of their authors,
    the last one counts; the others are left out and counted in `remarks`.

    Raises:
        AnnotationError: with every problem of every line; or several runs have different classes.
    """
    path = Path(path)
    library = {row['folder']: row for row in read_library(path)} if (path / LIBRARY).is_file() else {}
    files = [path] if path.is_file() else record_files(path)
    if not files:
        raise AnnotationError([Problem(str(path), '', f'contains no {RECORDS}, nor does any folder in it')])
    problems: list[Problem] = []
    class_names: dict[int, str] = {}
    runs = {place: _read_run(place, class_names, problems) for place in dict.fromkeys(map(_run_file, files)) if place}
    videos = []
    doubles: Counter[str] = Counter()
    names = [file.parent.relative_to(path).as_posix() for file in files] if library else _video_names(files, runs)
    edited: list[str] = []
    for file, name in zip(files, names, strict=True):
        log = ProblemLog(file)
        offsets = list(_scan(file, class_names, _association(runs.get(_run_file(file) or file, {})), doubles, log))
        if file.name == RECORDS and not log.problems:
            _check_count(len(offsets), file, runs, log)
            edited += _other_than_written(file, runs)
        videos.append(ReplayVideo(name, file, offsets, _image_folder(file, runs)))
        problems += log.problems
    if problems:
        raise AnnotationError(problems)
    class_count = max(class_names, default=0) + 1
    return AnnotatedVideos(
        source=str(path),
        kind='results of vis-ros replay',
        class_names=tuple(class_names.get(number, f'class {number}') for number in range(class_count)),
        videos=videos,
        settings=_common_settings(list(runs.values())),
        cameras={name: str(row.get('camera') or '') for name, row in library.items()},
        remarks=(
            *library_remarks(list(library.values()), names),
            *edited,
            *(_double_ids(rule, count) for rule, count in doubles.items()),
        ),
    )


def _image_folder(file: Path, runs: dict[Path, dict[str, Any]]) -> Path | None:
    """The folder of images that gave a results.jsonl, as its run.json names it."""
    place = _run_file(file)
    source = runs[place].get('source') if place else None
    if not place or not isinstance(source, str):
        return None
    folder = Path(source) if place.parent == file.parent else Path(source, file.parent.name)
    return folder if folder.is_dir() else None


def _association(run: dict[str, Any]) -> str:
    settings = run.get('settings')
    return str(settings.get('association', '')) if isinstance(settings, dict) else ''


def _double_ids(rule: str, count: int) -> str:
    return (
        f'{plural(count, "detection")} left out, because a later one of the same frame has the same id: the last one '
        f'counts, as in the code of the association rule {rule!r}'
    )


def _check_count(lines: int, file: Path, runs: dict[Path, dict[str, Any]], log: ProblemLog) -> None:
    """Compare the number of lines with that of the processed frames in run.json, if it has one for this video."""
    expected = _of_video('frames_of', file, runs)
    if is_integer(expected) and expected != lines:
        log.add('', f'has {lines} lines, but {RUN} says that {expected} frames were processed')


def _other_than_written(file: Path, runs: dict[Path, dict[str, Any]]) -> list[str]:
    """A remark if a results.jsonl has another digest than run.json says."""
    expected = _of_video('results_sha256', file, runs)
    is_other = isinstance(expected, str) and expected != sha256_of(file)
    return [f'{file} was edited or damaged since the replay: its SHA-256 is not that in {RUN}'] if is_other else []


def _of_video(key: str, file: Path, runs: dict[Path, dict[str, Any]]) -> Any:
    """What the run.json of a results.jsonl says about its video; None if it says nothing."""
    place = _run_file(file)
    values = runs[place].get(key) if place else None
    if not place or not isinstance(values, dict):
        return None
    is_only = place.parent == file.parent and len(values) == 1
    return next(iter(values.values())) if is_only else values.get(file.parent.name)


def _common_settings(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = runs[0] if runs else {}
    return {key: value for key, value in first.items() if all(run.get(key) == value for run in runs)}


def _run_file(records: Path) -> Path | None:
    places = (records.parent / RUN, records.parent.parent / RUN)
    return next((place for place in places if place.is_file()), None)


def _read_run(file: Path, class_names: dict[int, str], problems: list[Problem]) -> dict[str, Any]:
    """The settings in a run.json. Adds its classes to `class_names`."""
    try:
        run = read_json(file)
    except AnnotationError as error:
        problems += error.problems
        return {}
    names = run.get('class_names', []) if isinstance(run, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.append(Problem(str(file), '', f"'class_names' is {shown(names)}, expected a list of strings"))
        return {}
    for number, name in enumerate(names):
        if class_names.setdefault(number, name) != name:
            what = f'class {number} is {name!r}, but in another run {class_names[number]!r}'
            problems.append(Problem(str(file), '', what))
    return run


def _video_names(files: list[Path], runs: dict[Path, dict[str, Any]]) -> list[str]:
    """The name of the camera or recording for a video with a run.json of its own, otherwise the name of its folder."""
    folders = [file.absolute().parent.name for file in files]
    names = [_recording(runs.get(file.parent / RUN, {})) or folder for file, folder in zip(files, folders, strict=True)]
    return names if len(set(names)) == len(names) else folders


def _recording(run: dict[str, Any]) -> str:
    cameras, source = run.get('cameras'), run.get('source')
    if isinstance(cameras, dict) and len(cameras) == 1 and (camera := next(iter(cameras))):
        return camera
    return re.sub(r'\.[A-Za-z]\w{1,4}$', '', Path(source).name) if isinstance(source, str) else ''


def _scan(
    file: Path, class_names: dict[int, str], association: str, doubles: Counter[str], log: ProblemLog
) -> Iterator[int]:
    """Check every line and yield its byte offset. `doubles` counts repeated ids by published rule."""
    offset = 0
    previous = -1
    with file.open('rb') as lines:
        for count, line in enumerate(lines):
            begin, offset = offset, offset + len(line)
            if not line.strip():
                continue
            where = f'line {count + 1}'
            record = _parse_line(line, where, log)
            if record is None:
                continue
            for here, track_id in _check_frame(record, where, class_names, log):
                if association in PUBLISHED_RULES:
                    doubles[association] += 1
                else:
                    log.add(here, f'the track id {track_id} occurs twice in this frame')
            index = log.take(record, 'index', int, where)
            if index is not None and index <= previous:
                log.add(where, f"'index' is {index}, but in the line before {previous}")
            previous = previous if index is None else index
            yield begin


def _parse_line(line: bytes, where: str, log: ProblemLog) -> dict[str, Any] | None:
    try:
        record = json.loads(line.rstrip())
    except json.JSONDecodeError as error:
        log.add(f'{where}, column {error.colno}', f'is not JSON: {error.msg}')
        return None
    except (ValueError, RecursionError) as error:  # as in `read_json`
        log.add(where, f'is not JSON: {error}')
        return None
    if not isinstance(record, dict):
        log.add(where, f'is {shown(record)}, expected an object')
        return None
    return record


def _check_frame(
    record: dict[str, Any], where: str, class_names: dict[int, str], log: ProblemLog
) -> list[tuple[str, int]]:
    """Check a line; returns place and track id of each instance whose id another one before it has."""
    version = record.get('version', 1)
    if not is_integer(version) or not 1 <= version <= _NEWEST:
        log.add(where, f"'version' is {shown(version)}, but this vis_ros reads 1 to {_NEWEST}: it may be an older one")
    log.take(record, 'name', str, where)
    epoch = log.take(record, 'epoch', int, where)
    if epoch is not None and not 0 <= epoch < 1 << 31:
        log.add(where, f"'epoch' is {epoch}, expected at least 0")
    size = log.size(record, where)
    if record.get('stamp_ns') is not None:
        log.take(record, 'stamp_ns', int, where)
    seen: set[int] = set()
    again = []
    for here, instance in log.records(record, 'instances', where):
        track_id = log.take(instance, 'track_id', int, here)
        if track_id is not None and not 0 <= track_id < EPOCH:
            log.add(here, f"'track_id' is {track_id}, expected 0 to {EPOCH - 1}")
        if track_id is not None and track_id in seen:
            again.append((here, track_id))
        if track_id is not None:
            seen.add(track_id)
        _check_class(instance, here, class_names, log)
        log.score(instance, here)
        mask = log.take(instance, 'mask', dict, here)
        if mask is not None and size[0] and size[1] and (text := fault(mask, (size[0], size[1]))):
            log.add(f'{here}, mask', text)
    return again


def _check_class(instance: dict[str, Any], where: str, class_names: dict[int, str], log: ProblemLog) -> None:
    class_id, name = log.take(instance, 'class_id', int, where), instance.get('class_name')
    if not is_integer(class_id):
        return
    if not 0 <= class_id < 1 << 16:
        log.add(where, f"'class_id' is {class_id}, expected 0 to 65535")
    elif isinstance(name, str) and class_names.setdefault(class_id, name) != name:
        log.add(where, f"'class_name' of class {class_id} is {name!r}, but elsewhere {class_names[class_id]!r}")
