"""A library on a local Ray of two CPUs: the same bytes as in one process, also if an actor is killed."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from helpers.made_library import job, load, make_library, results, run
from helpers.python_path import python_path

from vis_ros.fleet.ray_actors import RayActors, run_on_ray
from vis_ros.fleet.unit_replay import ATTEMPTS
from vis_ros.tracking.model import Model
from vis_ros.tracking.settings import Settings

pytestmark = pytest.mark.slow

on_two = partial(run_on_ray, actors=RayActors(count=2))


@pytest.fixture(autouse=True)
def actors_find_the_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', python_path(Path(__file__).parent))


@pytest.fixture(scope='module')
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp('recorded') / 'library')


def die(settings: Settings) -> Model:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def load_and_die_once(settings: Settings) -> Model:
    died = Path(settings.propagation_weights)  # a path that reaches the actors
    if not died.exists():
        died.touch()
        die(settings)
    return load(replace(settings, propagation_weights=''))


def test_two_actors_of_which_one_is_killed_give_the_same_bytes(library: Path, tmp_path: Path) -> None:
    wanted = job(tmp_path / 'ray')
    settings = replace(wanted.settings, propagation_weights=str(tmp_path / 'died'))
    summary = run(library, replace(wanted, settings=settings, load=load_and_die_once), on_two)
    assert (tmp_path / 'died').exists()
    assert {row['recording'] for row in summary.broken} == {'broken.mp4', 'cut', 'unreadable'}
    run(library, job(tmp_path / 'here'))
    assert results(tmp_path / 'ray') == results(tmp_path / 'here')


def test_a_recording_that_always_kills_its_actor_is_broken(library: Path, tmp_path: Path) -> None:
    (row,) = run(library / 'day2', replace(job(tmp_path / 'out'), load=die), on_two).rows
    assert row['error'].startswith(f'its worker was lost {ATTEMPTS} times')


def test_what_keeps_workers_from_starting_is_told(library: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv('PYTHONPATH')
    with pytest.raises(ValueError, match=r"no worker started on Ray: .*No module named 'helpers'"):
        run(library / 'day2', job(tmp_path / 'out'), on_two)


def test_how_many_actors_fit() -> None:
    cluster = {'CPU': 16.0, 'GPU': 2.0}
    assert RayActors(cpus=3).room(cluster) == 5
    assert RayActors(cpus=1, gpus=0.25).room(cluster) == 8
    assert RayActors(cpus=3, count=2).room(cluster) == 2
    with pytest.raises(ValueError, match=r'Ray has 16 CPUs and 2 GPUs, and a worker needs 1 and 3'):
        RayActors(gpus=3).room(cluster)
