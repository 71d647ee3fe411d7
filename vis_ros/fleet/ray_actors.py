"""Units on a Ray cluster, or on a local Ray: each actor holds a model. Paths and rows travel, frames do not."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

from vis_ros.extras import require
from vis_ros.fleet.recording_library import Unit
from vis_ros.fleet.shared_storage import is_url
from vis_ros.fleet.unit_replay import ATTEMPTS, Job, Row, error_row, unit_row, with_threads

_POLL_S = 0.2  # after which an interruption is noticed
LOCAL = 'ray'


@dataclass(frozen=True)
class RayActors:
    """Where the units run and what each actor gets.

    address: of a cluster, such as 'ray://head:10001' or 'auto'; 'ray' starts Ray on this machine.
    cpus: CPU cores of an actor, which are also the threads of its model.
    gpus: GPUs of an actor; with 0.25, four actors share one.
    count: of actors; None: as many as the cluster has room for.
    """

    address: str = LOCAL
    cpus: int = 1
    gpus: float = 0.0
    count: int | None = None

    def room(self, resources: dict[str, float]) -> int:
        """How many actors fit into the resources of a cluster, which Ray calls 'CPU' and 'GPU'.

        Raises:
            ValueError: not even one.
        """
        fit = int(resources.get('CPU', 0) // self.cpus)
        if self.gpus:
            fit = min(fit, int(resources.get('GPU', 0) / self.gpus))
        if not fit:
            has = f'{resources.get("CPU", 0):g} CPUs and {resources.get("GPU", 0):g} GPUs'
            raise ValueError(f'Ray has {has}, and a worker needs {self.cpus} and {self.gpus:g}')
        return fit if self.count is None else min(fit, self.count)


def run_on_ray(
    units: Sequence[Unit], job: Job, on_frame: Callable[[Unit], None], interrupted: Event, *, actors: RayActors
) -> Iterator[tuple[Unit, Row]]:
    """Replay units on actors, and yield each with its row when it is done. `on_frame` is not called.

    Recordings and the folder for the results must have the same paths on every machine. An actor that is lost is
    started again, and its unit too, ATTEMPTS times in all.

    Raises:
        ValueError: Ray is not installed, the cluster cannot be reached, or it has no room for an actor.
    """
    require('ray', 'a replay on Ray')
    import ray

    out = job.out if is_url(job.out) else str(Path(job.out).absolute())
    job = with_threads(replace(job, out=out), actors.cpus)
    _connect(actors.address)
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        count = min(actors.room(resources), len(units))
        make = ray.remote(num_cpus=actors.cpus, num_gpus=actors.gpus, max_restarts=-1, max_task_retries=ATTEMPTS - 1)(
            _Actor
        )
        workers = [make.remote(job) for _ in range(count)]
        _check_started(workers)
        yield from _pull(units, workers, interrupted)
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    import ray

    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    try:
        ray.init(
            address='local' if address == LOCAL else address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(f'no Ray cluster answers at {address}: {str(error).splitlines()[0]}') from error


def _check_started(workers: list[Any]) -> None:
    import ray

    try:
        ray.get([worker.is_ready.remote() for worker in workers])
    except ray.exceptions.RayError as error:
        cause = str(error).strip().splitlines()[-1]
        raise ValueError(f'no worker started on Ray: {cause}. Is the same vis_ros on all machines?') from error


def _pull(units: Sequence[Unit], actors: list[Any], interrupted: Event) -> Iterator[tuple[Unit, Row]]:
    import ray

    waiting, idle, busy = deque(units), deque(actors), dict[Any, tuple[Unit, Any]]()
    while not interrupted.is_set() and (waiting or busy):
        while waiting and idle:
            unit, actor = waiting.popleft(), idle.popleft()
            busy[actor.row.remote(unit)] = unit, actor
        for ready in ray.wait(list(busy), timeout=_POLL_S)[0]:
            unit, actor = busy.pop(ready)
            idle.append(actor)
            try:
                yield unit, ray.get(ready)
            except ray.exceptions.RayError as error:
                yield unit, error_row(unit, f'its worker was lost {ATTEMPTS} times: {str(error).splitlines()[0]}')


class _Actor:
    """Replays one unit after the other with the model of its process."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def is_ready(self) -> bool:
        return True

    def row(self, unit: Unit) -> Row:
        return unit_row(unit, self._job)
