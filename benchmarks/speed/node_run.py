"""Measure a real vis_node in a process of its own, from image to answer over DDS."""

from __future__ import annotations

import bisect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.engine_run import Workspace, measure
from benchmarks.speed.figures import milliseconds
from benchmarks.speed.highest_rate import highest_rate
from benchmarks.speed.load import TRACKER, Load, Trial
from benchmarks.speed.pictures import serialised
from benchmarks.speed.settings import Settings
from vis_ros.demo.child_process import ChildProcess
from vis_ros.replay.live.client_node import client_node
from vis_ros.replay.live.player import Player
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.ros.isolation import child_environment

LOSS = 0.05
"""A rate is held where less of the images is lost."""

_START_S = 1800.0  # TensorRT may have to build its engine
_TRIAL_S, _LEAST_IMAGES = 4.0, 40
_KEEPS_UP = 0.95  # of the wanted rate: the sender


@dataclass(frozen=True)
class NodeTimes:
    """What `timed_node` has written: of each image in the engine, and stamp -> when it arrived."""

    engine: list[tuple[int, float, float, float]]
    arrived: dict[int, int]

    @classmethod
    def read(cls, path: Path) -> NodeTimes:
        written = json.loads(path.read_text(encoding='utf-8'))
        return cls([tuple(row) for row in written['engine']], dict(written['arrived']))


def measure_node(
    settings: Settings,
    place: Workspace,
    *,
    rates_hz: Sequence[float],
    on_step: Callable[[str], None] = lambda activity: None,
) -> dict[str, Any]:
    """Measure the engine as `measure` does, then a node with it, in the ROS graph that the environment names.

    Args:
        settings: of one camera; the node holds at most as many identities as they say, and does not begin with them.
        place: where to work.
        rates_hz: at which images are played after the highest rate was found.
        on_step: called with what is going on.

    Returns:
        What `measure` returns, and in 'node':
        engine: what the node's diagnostics say.
        start_up: seconds from the start of the process to its first result, with an empty cache and with the cache
            that this left.
        highest_rate_hz: with less than LOSS; limited_by: 'node', or 'sender' where this process could not send faster.
        search: the trials that led to it; trials: images one by one (wanted_hz null), then at the given rates. Each as
        of `_figures`.
        stages_share: the stages of `measure` together, as a share of what the node took for images one by one.
    """
    if settings.cameras != 1:
        raise ValueError(f'{settings.cameras} cameras: over DDS one is measured')
    result = measure(settings, place, on_step=on_step)
    local, cache = place.settings(settings), place.cache('node')
    arguments = _node_arguments(local, result['score_threshold'])
    images = serialised(list(np.load(place.pictures.file(settings.image_size), mmap_mode='r')))
    times = place.folder / 'engine_times.json'
    with client_node('vis_ros_benchmark') as (ros_node, executor):
        player = Player(ros_node, executor, threading.Event())
        target, load = RunningNode(ros_node, player, TRACKER), Load(ros_node, player, images)
        on_step('starting the node, cold')
        with _running_node(arguments, cache, times, target, load) as cold_s:
            pass
        player.run(_START_S, lambda: not player.subscribers('/image'))
        on_step('starting the node')
        with _running_node(arguments, cache, times, target, load) as warm_s:
            on_step('one by one')
            alone = load.one_by_one(settings.frames)
            search = _search(load, alone.rate_hz, on_step)
            trials = [alone]
            for rate_hz in rates_hz:
                on_step(f'at {rate_hz:g} Hz')
                trials.append(load.at_rate(rate_hz, settings.frames))
            player.run(3.0, lambda: bool(target.status.engine))
    node_times = NodeTimes.read(times)
    figures = [_figures(trial, node_times) for trial in trials]
    held = [trial for trial in search if _holds(trial)]
    result['node'] = {
        'engine': target.status.engine,
        'start_up': {'cold_s': round(cold_s, 3), 'warm_s': round(warm_s, 3)},
        'highest_rate_hz': round(max((trial.rate_hz for trial in held), default=0.0), 2),
        'limited_by': 'sender' if any(not _sent_in_time(trial) for trial in search) else 'node',
        'search': [_figures(trial, node_times) for trial in search],
        'trials': figures,
        'stages_share': round(result['frame_ms']['p50'] / figures[0]['node_ms']['p50'], 3),
    }
    return result


def _node_arguments(settings: Settings, score_threshold: float | None) -> list[str]:
    """ROS arguments that give the node these settings."""
    height, width = settings.input_size or (0, 0)
    parameters: dict[str, Any] = {
        'weights': settings.weights,
        'engine': settings.engine,
        'precision': settings.precision,
        'threads': settings.threads,
        'input_height': height,
        'input_width': width,
        'max_detections': settings.detections,
        'score_threshold': score_threshold or 0.0,
    }
    if settings.detections:
        parameters['new_track_score'] = 0.0
    if settings.identities:
        parameters['max_identities'] = settings.identities
    return [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]


@contextmanager
def _running_node(arguments: list[str], cache: Path, times: Path, target: RunningNode, load: Load) -> Iterator[float]:
    """A node that has answered: the seconds until it did. On leaving, its engine times are in their file."""
    command = [sys.executable, '-m', 'benchmarks.speed.timed_node', str(times), '--ros-args', *arguments]
    environment = {**child_environment(), 'XDG_CACHE_HOME': str(cache)}
    begun = time.perf_counter()
    with ChildProcess('node', command, times.with_suffix('.log'), environment) as child:

        def check() -> None:
            child.check()
            if target.status.fault:
                raise ValueError(f'the node cannot work: {target.status.fault}')

        load.until_answered(check, _START_S)
        yield time.perf_counter() - begun


def _search(load: Load, start_hz: float, on_step: Callable[[str], None]) -> list[Trial]:
    """The trials by which the highest rate is found; it is that of the fastest that holds."""
    trials: list[Trial] = []

    def holds(rate_hz: float) -> bool:
        on_step(f'looking for the highest rate: {rate_hz:.1f} Hz')
        trials.append(load.at_rate(rate_hz, max(_LEAST_IMAGES, round(_TRIAL_S * rate_hz))))
        return _holds(trials[-1])

    highest_rate(holds, start_hz)
    return trials


def _holds(trial: Trial) -> bool:
    return trial.loss < LOSS and _sent_in_time(trial)


def _sent_in_time(trial: Trial) -> bool:
    return trial.wanted_hz is None or trial.rate_hz >= _KEEPS_UP * trial.wanted_hz


def _figures(trial: Trial, times: NodeTimes) -> dict[str, Any]:
    """Of one trial; p50 and p95 of the times, null where nothing was answered.

    dropped: images that the node says it skipped for newer ones, or that the middleware told it were lost.
    latency_ms: from giving an image to DDS until the answer was here.
    transport_ms: until rclpy has handed the image to the node.
    node_ms: from there until the node gave the answer to DDS (its `latency`, less what passed between stamp and then).
    engine_ms: of that in the engine, without preprocess and paste; infer_ms: with them.
    overhead_ms: node_ms less engine_ms, image by image; around_infer_ms: node_ms less infer_ms. At rates that are too
        high they have in them that an image waits for the one before.
    """
    replies = trial.replies
    ended = [row[0] for row in times.engine]
    # One thread runs the network and publishes: the last inference that ended before is that of the answer.
    own = [times.engine[bisect.bisect_right(ended, reply.published_ns) - 1] for reply in replies]
    arrived = [times.arrived[reply.stamp_ns] for reply in replies]
    node = np.array([reply.published_ns - then for reply, then in zip(replies, arrived, strict=True)]) / 1e9
    infer = np.array([seconds for _, seconds, _, _ in own])
    engine = np.array([seconds - preprocess - paste for _, seconds, preprocess, paste in own])
    seconds_of = {
        'latency': np.array([reply.received_ns - reply.sent_ns for reply in replies]) / 1e9,
        'transport': np.array([then - reply.sent_ns for reply, then in zip(replies, arrived, strict=True)]) / 1e9,
        'node': node,
        'engine': engine,
        'infer': infer,
        'overhead': node - engine,
        'around_infer': node - infer,
    }
    return {
        'wanted_hz': trial.wanted_hz,
        'rate_hz': round(trial.rate_hz, 3),
        'sent': trial.sent,
        'answered': len(replies),
        'dropped': sum(reply.dropped for reply in replies),
        'loss': round(trial.loss, 4),
        'objects': float(np.median([reply.objects for reply in replies])) if replies else None,
        **{f'{name}_ms': milliseconds(seconds) if replies else None for name, seconds in seconds_of.items()},
    }
