"""What `vis-ros replay` writes: run.json and results.jsonl, one line a frame; several videos in a folder each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vis_ros.datasets.indexed_video import IndexedVideo
from vis_ros.datasets.problem_log import ProblemLog, is_integer, read_json, shown
from vis_ros.datasets.rle import areas
from vis_ros.datasets.segmentation import fault, to_rle
from vis_ros.datasets.video import EPOCH, AnnotatedFrame, AnnotatedVideos, AnnotationError, Problem
from vis_ros.image_files import natural_order

RECORDS = 'results.jsonl'
RUN = 'run.json'


class ReplayVideo(IndexedVideo):
    """One results.jsonl. A line is read again when its frame is; only the places of the lines are kept."""

    def __init__(self, name: str, path: Path, places: list[int]) -> None:
        super().__init__(name, len(places))
        self._path, self._places = path, places

    def frame(self, index: int) -> AnnotatedFrame:
        """The frame of line number `index`. Its own index is that in the recording, of which only some frames may have
        been used. An object without a pixel is not in the frame.
        """
        record = self._record(index)
        size = (record['height'], record['width'])
        masks = [to_rle(instance['mask'], size) for instance in record['instances']]
        visible = areas(masks) > 0 if masks else np.zeros(0, bool)
        instances = [instance for instance, seen in zip(record['instances'], visible, strict=True) if seen]
        return AnnotatedFrame(
            name=record['name'],
            index=record['index'],
            stamp_ns=record.get('stamp_ns'),
            size=size,
            track_ids=np.array([record['epoch'] * EPOCH + instance['track_id'] for instance in instances], np.int64),
            class_ids=np.array([instance['class_id'] for instance in instances], np.int64),
            scores=np.array([instance['score'] for instance in instances], np.float64),
            masks=[mask for mask, seen in zip(masks, visible, strict=True) if seen],
        )

    def empty_masks(self, index: int) -> list[int]:
        record = self._record(index)
        size = (record['height'], record['width'])
        return [each['track_id'] for each in record['instances'] if not areas([to_rle(each['mask'], size)])[0]]

    def _record(self, index: int) -> Any:
        with self._path.open('rb') as file:
            file.seek(self._places[index])
            return json.loads(file.readline())


def record_files(path: Path) -> list[Path]:
    """The results.jsonl of a folder, or those of the folders in it; none where there are none."""
    own = path / RECORDS
    return (
        [own] if own.is_file() else sorted(path.glob(f'*/{RECORDS}'), key=lambda file: natural_order(file.parent.name))
    )


def read(path: str | Path) -> AnnotatedVideos:
    """Read the folder of a replay, a folder of such folders, or one results.jsonl.

    Classes and settings are those of run.json, in the folder of results.jsonl or in the one above. Of several runs, the
    settings are those that all have alike.

    Raises:
        AnnotationError: with every problem of every line; or several runs have different classes.
    """
    path = Path(path)
    files = [path] if path.is_file() else record_files(path)
    if not files:
        raise AnnotationError([Problem(str(path), '', f'holds no {RECORDS}, nor does a folder in it')])
    problems: list[Problem] = []
    class_names: dict[int, str] = {}
    runs = {place: _read_run(place, class_names, problems) for place in dict.fromkeys(map(_run_file, files)) if place}
    videos = []
    for file, name in zip(files, _video_names(files, runs), strict=True):
        findings = ProblemLog(file)
        places = list(_scan(file, class_names, findings))
        problems += findings.problems
        videos.append(ReplayVideo(name, file, places))
    if problems:
        raise AnnotationError(problems)
    settings = next(iter(runs.values()), {})
    class_count = max(class_names, default=0) + 1
    return AnnotatedVideos(
        source=str(path),
        kind='results of vis-ros replay',
        class_names=tuple(class_names.get(number, f'class {number}') for number in range(class_count)),
        videos=videos,
        settings={key: value for key, value in settings.items() if all(run.get(key) == value for run in runs.values())},
    )


def _run_file(records: Path) -> Path | None:
    places = (records.parent / RUN, records.parent.parent / RUN)
    return next((place for place in places if place.is_file()), None)


def _read_run(file: Path, class_names: dict[int, str], problems: list[Problem]) -> dict[str, Any]:
    """The settings in a run.json; its classes are added to those known."""
    try:
        run = read_json(file)
    except AnnotationError as error:
        problems += error.problems
        return {}
    names = run.get('class_names', []) if isinstance(run, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.append(Problem(str(file), '', f"'class_names' is {shown(names)}, expected a list of texts"))
        return {}
    for number, name in enumerate(names):
        if class_names.setdefault(number, name) != name:
            what = f'class {number} is {name!r}, but in another run {class_names[number]!r}'
            problems.append(Problem(str(file), '', what))
    return run


def _video_names(files: list[Path], runs: dict[Path, dict[str, Any]]) -> list[str]:
    """The name of its camera or recording where a video has a run.json of its own, else the name of its folder."""
    folders = [file.absolute().parent.name for file in files]
    names = [_recording(runs.get(file.parent / RUN, {})) or folder for file, folder in zip(files, folders, strict=True)]
    return names if len(set(names)) == len(names) else folders


def _recording(run: dict[str, Any]) -> str:
    cameras, source = run.get('cameras'), run.get('source')
    if isinstance(cameras, dict) and len(cameras) == 1 and (camera := next(iter(cameras))):
        return camera
    return re.sub(r'\.[A-Za-z]\w{1,4}$', '', Path(source).name) if isinstance(source, str) else ''


def _scan(file: Path, class_names: dict[int, str], findings: ProblemLog) -> Iterator[int]:
    """Check every line; yields where it begins."""
    place = 0
    previous = -1
    with file.open('rb') as lines:
        for count, line in enumerate(lines):
            begin, place = place, place + len(line)
            if not line.strip():
                continue
            where = f'line {count + 1}'
            try:
                record = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                findings.add(f'{where}, column {error.colno}', f'is not JSON: {error.msg}')
                continue
            except (UnicodeDecodeError, RecursionError) as error:
                findings.add(where, f'is not JSON: {error}')
                continue
            if not isinstance(record, dict):
                findings.add(where, f'is {shown(record)}, expected an object')
                continue
            _check_frame(record, where, class_names, findings)
            index = findings.take(record, 'index', int, where)
            if index is not None and index <= previous:
                findings.add(where, f"'index' is {index}, but that of the line before is {previous}")
            previous = previous if index is None else index
            yield begin


def _check_frame(record: dict[str, Any], where: str, class_names: dict[int, str], findings: ProblemLog) -> None:
    findings.take(record, 'name', str, where)
    epoch = findings.take(record, 'epoch', int, where)
    if epoch is not None and not 0 <= epoch < 1 << 31:
        findings.add(where, f"'epoch' is {epoch}, expected at least 0")
    size = findings.positive(record, 'height', where), findings.positive(record, 'width', where)
    if record.get('stamp_ns') is not None:
        findings.take(record, 'stamp_ns', int, where)
    seen: set[int] = set()
    for here, instance in findings.records(record, 'instances', where):
        track_id = findings.take(instance, 'track_id', int, here)
        if track_id is not None and not 0 <= track_id < EPOCH:
            findings.add(here, f"'track_id' is {track_id}, expected 0 to {EPOCH - 1}")
        if track_id in seen:
            findings.add(here, f'the track id {track_id} occurs twice in this frame')
        if track_id is not None:
            seen.add(track_id)
        _check_class(instance, here, class_names, findings)
        findings.score(instance, here)
        mask = findings.take(instance, 'mask', dict, here)
        if mask is not None and size[0] and size[1] and (text := fault(mask, (size[0], size[1]))):
            findings.add(f'{here}, mask', text)


def _check_class(instance: dict[str, Any], where: str, class_names: dict[int, str], findings: ProblemLog) -> None:
    class_id, name = findings.take(instance, 'class_id', int, where), instance.get('class_name')
    if not is_integer(class_id):
        return
    if not 0 <= class_id < 1 << 16:
        findings.add(where, f"'class_id' is {class_id}, expected 0 to 65535")
    elif isinstance(name, str) and class_names.setdefault(class_id, name) != name:
        findings.add(where, f"'class_name' of class {class_id} is {name!r}, but elsewhere {class_names[class_id]!r}")
