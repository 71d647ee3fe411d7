"""The work on one unit: a pure function of unit, job and output folder, which processes and clusters call alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from vis_ros.fleet.recording_library import Unit
from vis_ros.fleet.shared_storage import identity_of, joined, local_copy, name_place, read_text, results_folder
from vis_ros.recordings.bag_depth import DepthTopics
from vis_ros.recordings.bag_files import is_bag
from vis_ros.recordings.opening import open_recording
from vis_ros.recordings.video_writer import CODECS
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.offline.offline_replay import replay
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings
from vis_ros.visualization import Labels

ATTEMPTS = 3
"""How often a unit is tried before its row gets an error."""

Row = dict[str, Any]
"""What a unit gave, as plain JSON types: see `row_of`."""


@dataclass(frozen=True)
class UnitOptions:
    """Options of a replay that are the same for all units, see `vis_ros.replay.offline.offline_replay.replay`."""

    depth: DepthTopics | None = None
    photos: bool | None = None
    stride: int = 1
    max_frames: int | None = None
    copy_images: bool = False
    confirmed: bool = False
    labels: Labels = 'full'
    codecs: tuple[str, ...] = tuple(CODECS)
    pictures: bool = True


@dataclass(frozen=True)
class Job:
    """What is done with every unit.

    out: folder of the results, or its URL; each unit has a folder of its name in it.
    settings: of the model; options: of the replay.
    identity: hashes of both, see `settings_identity`.
    load: makes the model; it must be a function of a module.
    """

    out: str
    settings: Settings
    options: UnitOptions = field(default_factory=UnitOptions)
    identity: Mapping[str, str] = field(default_factory=dict)
    load: Callable[[Settings], Model] = Model


def unit_row(unit: Unit, job: Job, on_frame: Callable[[], None] = lambda: None) -> Row:
    """Replay a unit, and try again if that fails. Its error is in the row; no exception leaves this function."""
    error = ''
    for _ in range(ATTEMPTS):
        try:
            return replay_unit(unit, job, on_frame)
        except Exception as caught:  # whatever breaks one recording must not cost the others
            error = str(caught) if isinstance(caught, ValueError | OSError) else f'{type(caught).__name__}: {caught}'
    return error_row(unit, error)


def replay_unit(unit: Unit, job: Job, on_frame: Callable[[], None] = lambda: None) -> Row:
    """Replay a unit into its folder, and return its row. Raises what the replay raises."""
    options, source = job.options, identity_of(unit.path)
    with local_copy(unit.path) as path, results_folder(job.out, unit.name) as out:
        photos = options.photos if path.is_dir() and not is_bag(path) else False
        recording = open_recording(path, unit.topic or None, depth=options.depth, photos=photos)
        replay(
            [recording],
            _model(job.load, job.settings),
            out,
            source=unit.path,
            stride=options.stride,
            max_frames=options.max_frames,
            copy_images=options.copy_images and bool(recording.streams[0].topic),
            confirmed=options.confirmed,
            codecs=options.codecs,
            labels=options.labels,
            pictures=options.pictures,
            identity={**job.identity, **source},
            on_frame=on_frame,
        )
        if str(path) != unit.path:
            name_place(out / 'run.json', path, unit.path)
    return row_of(unit, _read_run(unit, job))


@lru_cache(maxsize=1)
def _model(load: Callable[[Settings], Model], settings: Settings) -> Model:
    """The one model of this process."""
    return load(settings)


def finished_run(unit: Unit, job: Job) -> dict[str, Any] | None:
    """The run.json of a unit; None if it is not finished: there is none, or the replay was interrupted."""
    try:
        run = _read_run(unit, job)
    except (OSError, ValueError):
        return None
    return None if run.get('stopped_early') == INTERRUPTED else run


def _read_run(unit: Unit, job: Job) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(read_text(joined(job.out, unit.name, 'run.json')))
    return run


def changes(unit: Unit, job: Job, run: Mapping[str, Any]) -> list[str]:
    """What a finished run was made with that is different now: 'settings', 'weights', 'version', 'source'."""
    try:
        wanted = {**job.identity, **identity_of(unit.path)}
    except OSError:  # replaying it tells why
        wanted = dict(job.identity)
    found = run.get('identity', {})
    return ['version' if name == 'vis_ros' else name for name in wanted if found.get(name) != wanted[name]]


def row_of(unit: Unit, run: Mapping[str, Any]) -> Row:
    """The row of a finished unit.

    recording, camera: as of the unit. frames, skipped, instances, tracks: numbers of each. error: why the recording
    ended early, or ''. incomplete: what of it was not used, in words. The rest is from run.json.
    """
    lost = [f'{count} images {reason}' for reason, count in run['skips'].items()]
    return {
        'recording': unit.recording,
        'camera': unit.camera,
        'seconds': unit.seconds,
        'frames': run['frames'],
        'skipped': run['skipped'],
        'instances': run['instances'],
        'tracks': run['tracks'],
        'error': run['stopped_early'],
        'incomplete': '; '.join([*lost, *run['left_out']]),
        'model': run['model'],
        'identity': run['identity'],
    }


def error_row(unit: Unit, error: str) -> Row:
    """The row of a unit that could not be replayed."""
    run = {
        **dict.fromkeys(('frames', 'skipped', 'instances', 'tracks'), 0),
        **{'skips': {}, 'left_out': [], 'model': '', 'identity': {}, 'stopped_early': error or 'unknown error'},
    }
    return row_of(unit, run)


def with_threads(job: Job, threads: int) -> Job:
    """The job with a number of threads for each model, unless the settings have one."""
    return job if job.settings.threads else replace(job, settings=replace(job.settings, threads=threads))


def options_identity(options: UnitOptions, topic: str | None) -> dict[str, Any]:
    """The options and the chosen topic for `settings_identity`."""
    return {**asdict(options), 'topic': topic}
