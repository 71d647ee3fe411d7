"""Replay of a library: what is missing, on this machine or a cluster, and library.json with a row for each camera."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event

from vis_ros.datasets.library_file import LIBRARY, VERSION
from vis_ros.fleet.recording_library import Unit
from vis_ros.fleet.shared_storage import claim_place, joined, remove, write_text
from vis_ros.fleet.unit_replay import Job, Row, changes, finished_run, row_of

Runner = Callable[[Sequence[Unit], Job, Callable[[Unit], None], Event], Iterator[tuple[Unit, Row]]]
"""Replays units in the given order, yields each with its row, and calls the function for each frame, if it can."""

_SHOWN = 3


@dataclass(frozen=True)
class LibrarySummary:
    """What a replay of a library did.

    rows: of all units, in the order of the library; done: number of units that were finished before.
    interrupted: whether Ctrl-C ended it; then only the rows of finished units are there.
    """

    rows: tuple[Row, ...]
    done: int
    interrupted: bool

    @property
    def broken(self) -> list[Row]:
        """The rows with an error."""
        return [row for row in self.rows if row['error']]


def replay_library(
    units: Sequence[Unit],
    job: Job,
    runner: Runner,
    *,
    redo: bool = False,
    whole: bool = True,
    on_frame: Callable[[Unit], None] = lambda unit: None,
    on_done: Callable[[Unit], None] = lambda unit: None,
    interrupted: Event | None = None,
) -> LibrarySummary:
    """Replay the units that are not finished, the longest first, and write library.json.

    Args:
        units: of the library.
        job: what is done with each.
        runner: where it is done.
        redo: replace the results that were made with other settings, weights, version or source.
        whole: whether these are all units, so that library.json is written.
        on_frame: called for a processed frame; on_done: for a unit that has its row, also for one that was finished.
        interrupted: once it is set, the replay ends and keeps the finished units.

    Raises:
        ValueError: some results were made differently, and `redo` is not given.
        FileExistsError: the output folder holds files that vis-ros did not write.
    """
    interrupted = interrupted or Event()
    finished = {unit: run for unit in units if (run := finished_run(unit, job)) is not None}
    outdated = {unit: found for unit, run in finished.items() if (found := changes(unit, job, run))}
    if outdated and not redo:
        raise ValueError(_refusal(outdated, job.out))
    rows = {unit: row_of(unit, run) for unit, run in finished.items() if unit not in outdated}
    done = len(rows)
    for unit in rows:
        on_done(unit)
    claim_place(job.out)
    remove(joined(job.out, LIBRARY))
    missing = sorted((unit for unit in units if unit not in rows), key=lambda unit: -unit.seconds)
    for unit, row in runner(missing, job, on_frame, interrupted):
        rows[unit] = row
        on_done(unit)
    ordered = tuple(rows[unit] for unit in units if unit in rows)
    if whole and not interrupted.is_set():
        write_library(job.out, units, ordered)
    return LibrarySummary(ordered, done, interrupted.is_set())


def _refusal(outdated: dict[Unit, list[str]], out: str) -> str:
    listed = '; '.join(f'{unit.name}: {", ".join(what)}' for unit, what in list(outdated.items())[:_SHOWN])
    more = f' and {len(outdated) - _SHOWN} more' if len(outdated) > _SHOWN else ''
    return (
        f'{out} holds results that were made differently ({listed}{more}): choose another --out, or replace them with '
        '--redo'
    )


def write_library(out: str, units: Sequence[Unit], rows: Sequence[Row]) -> None:
    """Write library.json: the version, and for each unit its row and `folder`, where its results are."""
    content = {
        'version': VERSION,
        'rows': [{'folder': unit.name, **row} for unit, row in zip(units, rows, strict=True)],
    }
    write_text(joined(out, LIBRARY), json.dumps(content, indent=1) + '\n')
