"""`vis-ros replay` of a library of recordings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from vis_ros.cli.console import console, progress
from vis_ros.datasets.problems import plural
from vis_ros.tracking.settings import Settings

if TYPE_CHECKING:
    from vis_ros.fleet.library_replay import LibrarySummary, Runner
    from vis_ros.fleet.unit_replay import Row, UnitOptions

_MAX_ROWS = 20


def replay_library(
    source: str,
    out: str,
    topic: str | None,
    settings: Settings,
    options: UnitOptions,
    where: Runner,
    *,
    redo: bool,
    part: str | None,
) -> None:
    """Replay a library and print its rows; exit status 1 if a recording broke, 130 after Ctrl-C."""
    from vis_ros.fleet.library_replay import replay_library as run
    from vis_ros.fleet.recording_library import Unit, part_of
    from vis_ros.fleet.shared_storage import units_at
    from vis_ros.fleet.unit_replay import Job, options_identity
    from vis_ros.networks.named_weights import resolve
    from vis_ros.replay.interruption import interruptible
    from vis_ros.replay.run_identity import settings_identity

    settings.check_together()
    if settings.weights:
        resolve(settings.weights)
    with console.status('looking for recordings'):
        units = units_at(source, topic)
    if part:
        units = part_of(units, part)
    job = Job(out, settings, options, settings_identity(settings, options_identity(options, topic)))
    total = sum(unit.seconds for unit in units)
    console.print(f'{source}: {_counted(len(units), len({unit.path for unit in units}))}, {total:.0f} s')
    seen = dict.fromkeys(units, 0.0)
    with progress('seconds of recording', round(total)) as (bar, task), interruptible() as interrupted:

        def advance(unit: Unit, seconds: float) -> None:
            seconds = min(seconds, unit.seconds - seen[unit])
            seen[unit] += seconds
            bar.advance(task, seconds)

        summary = run(
            units,
            job,
            where,
            redo=redo,
            whole=part is None,
            on_frame=lambda unit: advance(unit, options.stride * unit.seconds / max(unit.frames, 1)),
            on_done=lambda unit: advance(unit, unit.seconds),
            interrupted=interrupted,
        )
    _print_summary(out, summary)
    if summary.interrupted:
        console.print(f'Interrupted. {len(summary.rows)} of {len(units)} are finished; the same command does the rest.')
        raise typer.Exit(130)
    if part is None:
        _write_tables(out)
    if summary.broken:
        raise typer.Exit(1)


def _write_tables(out: str) -> None:
    from vis_ros.datasets.library_file import LIBRARY, read_library
    from vis_ros.datasets.replay_folder import RECORDS
    from vis_ros.extras import missing
    from vis_ros.fleet.library_tables import write_tables
    from vis_ros.fleet.shared_storage import joined, local_tables

    if absent := missing('tables'):
        console.print(f'No tables: pip install {absent[0]}, and the same command writes them.')
        return
    with console.status('writing tables'), local_tables(out, (LIBRARY, RECORDS)) as folder:
        files = write_tables(folder, read_library(folder))
    console.print(f'Tables: {", ".join(joined(out, file.name) for file in files)}', soft_wrap=True)


def runner(workers: int | None, on: str | None, cpus: int, gpus: float) -> Runner:
    """Where the recordings are replayed. ValueError if --on names neither Ray nor a Ray cluster."""
    from vis_ros.fleet.ray_actors import LOCAL, RayActors, run_on_ray
    from vis_ros.fleet.worker_processes import run_on_processes

    if on is None:
        return partial(run_on_processes, workers=workers or 1)
    if on not in (LOCAL, 'auto') and not on.startswith('ray://'):
        raise ValueError(f'--on {on!r} is not ray, auto or ray://HOST:PORT')
    return partial(run_on_ray, actors=RayActors(on, cpus, gpus, workers))


def _counted(cameras: int, recordings: int) -> str:
    """The number of recordings, and that of cameras if it differs."""
    counted = plural(recordings, 'recording')
    return counted if cameras == recordings else f'{plural(cameras, "camera")} of {counted}'


def _state(row: Row) -> Text:
    if row['error']:
        return Text('broken', style='red')
    return Text('incomplete' if row['incomplete'] else '', style='yellow')


def _print_summary(out: str, summary: LibrarySummary) -> None:
    table = Table('recording', 'camera', 'images', 'skipped', 'tracks', '', title=out)
    # Broken ones first, so that they are seen where the table is cut.
    rows = sorted(summary.rows, key=lambda row: (not row['error'], not row['incomplete']))
    for row in rows[:_MAX_ROWS]:
        cells = (row['frames'], row['skipped'], row['tracks'])
        table.add_row(Text(row['recording']), Text(row['camera']), *map(str, cells), _state(row))
    console.print(table)
    for row in rows[:_MAX_ROWS]:  # below the table, where a command in a message can be copied
        if wrong := row['error'] or row['incomplete']:
            name = ' '.join(filter(None, (row['recording'], row['camera'])))
            console.print(Text.assemble(_state(row), f' {name}: {wrong}'), soft_wrap=True)
    if len(rows) > _MAX_ROWS:
        console.print(f'... and {len(rows) - _MAX_ROWS} more, see {out}/library.json.')
    frames = sum(row['frames'] for row in summary.rows)
    counted = _counted(len(summary.rows), len({row['recording'] for row in summary.rows}))
    console.print(f'{counted}: {summary.done} already done, {len(summary.broken)} broken; {frames} images.')
