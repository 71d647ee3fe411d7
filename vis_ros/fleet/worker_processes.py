"""Units on several processes of this machine. A process that is killed costs its unit one attempt."""

from __future__ import annotations

import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Event

from vis_ros.end_with_parent import end_worker_with_parent
from vis_ros.fleet.recording_library import Unit
from vis_ros.fleet.unit_replay import ATTEMPTS, Job, Row, error_row, unit_row, with_threads

_POLL_S = 0.2  # after which an interruption is noticed
_spawning = get_context('spawn')  # forked threads of a network do not work


def run_on_processes(
    units: Sequence[Unit], job: Job, on_frame: Callable[[Unit], None], interrupted: Event, *, workers: int
) -> Iterator[tuple[Unit, Row]]:
    """Replay units on `workers` processes with one model each; yields each unit with its row when it is done.

    The units are started in the given order. The cores are shared among the models. After an interruption the processes
    are killed, and the units in work have no run.json.
    """
    waiting, deaths = deque(units), Counter[Unit]()
    job = with_threads(job, max(1, len(os.sched_getaffinity(0)) // workers))
    pool = [_Worker(job) for _ in range(min(workers, len(units)))]
    try:
        while not interrupted.is_set() and (waiting or any(worker.unit for worker in pool)):
            for worker in pool:
                if worker.unit is None and waiting:
                    worker.start(waiting.popleft())
            busy = {worker.connection: worker for worker in pool if worker.unit is not None}
            for ready in wait(list(busy), timeout=_POLL_S):
                worker = busy[ready]  # type: ignore[index]
                unit = worker.unit
                assert unit is not None
                try:
                    row = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    deaths[unit] += 1
                    pool[pool.index(worker)] = worker.replacement(job)
                    if deaths[unit] < ATTEMPTS:
                        waiting.appendleft(unit)
                    else:
                        yield (
                            unit,
                            error_row(unit, f'its process ended {ATTEMPTS} times: {worker.fate}'),
                        )
                    continue
                if row is None:
                    on_frame(unit)
                else:
                    worker.unit = None
                    yield unit, row
    finally:
        for worker in pool:
            worker.kill()


class _Worker:
    """A process that replays one unit at a time. unit: the one in work, or None."""

    def __init__(self, job: Job) -> None:
        self.connection, other = _spawning.Pipe()
        self._process = _spawning.Process(target=_serve, args=(other, job), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process is noticed
        self.unit: Unit | None = None

    def start(self, unit: Unit) -> None:
        """Give an idle worker a unit."""
        self.unit = unit
        with suppress(OSError):  # it has ended; reading from it tells
            self.connection.send(unit)

    def replacement(self, job: Job) -> _Worker:
        """A new worker in place of one that has ended."""
        self.kill()
        return _Worker(job)

    @property
    def fate(self) -> str:
        """How an ended process ended, in words."""
        code = self._process.exitcode or 0
        return f'killed by {signal.Signals(-code).name}' if code < 0 else f'exit status {code}'

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, job: Job) -> None:
    """Replay the units that arrive, until the other side is gone. None is sent for each frame, the row at the end."""
    os.setsid()  # Ctrl-C of a terminal goes to the driver only
    end_worker_with_parent()  # it would write into the results of the next driver
    try:
        while True:
            connection.send(unit_row(connection.recv(), job, lambda: connection.send(None)))
    except (EOFError, OSError):
        os._exit(1)
