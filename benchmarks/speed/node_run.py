"""Measure a real vis_node in its own process, from image to reply over DDS."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.engine_run import OnStep, Results, ignore, measure
from benchmarks.speed.image_load import TRACKER, ImageLoad, Trial, highest_rate
from benchmarks.speed.node_times import NodeTimes
from benchmarks.speed.pipeline import serialized
from benchmarks.speed.speed_settings import SpeedSettings
from benchmarks.speed.workspace import Workspace
from vis_ros.demo.child_process import ChildProcess
from vis_ros.percentiles import milliseconds
from vis_ros.replay.live.player import open_player
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.ros.isolation import child_environment

_START_S = 1800.0  # TensorRT may have to build its engine


@dataclass(frozen=True)
class RateSearch:
    """How the highest rate is searched.

    trial_s: length of a trial in seconds; least_images: minimum number of images of a trial; precision: relative, of
    the rate.
    """

    trial_s: float = 4.0
    least_images: int = 40
    precision: float = 0.05


def measure_node(
    settings: SpeedSettings, place: Workspace, *, rates_hz: Sequence[float], on_step: OnStep = ignore
) -> Results:
    """Measure the engine as `measure` does, then a node with it, in the ROS graph of the environment.

    Args:
        settings: of one camera. `identities` limits the tracks in the node; the node starts without any.
        place: where to work.
        rates_hz: rates to play images at after the highest rate was found.
        on_step: called with a description of each step.

    Returns:
        The results of `measure`, and in 'node' those of `run_node` together with 'stages_share': the stages of
        `measure` as a share of the time that the node took for images one by one.
    """
    _check_cameras(settings)
    result = measure(settings, place, on_step=on_step)
    node = run_node(settings, place, result['score_threshold'], rates_hz=rates_hz, on_step=on_step)
    alone = node['trials'][0]
    result['node'] = {**node, 'stages_share': round(result['frame_ms']['p50'] / alone['node_ms']['p50'], 3)}
    return result


def run_node(
    settings: SpeedSettings,
    place: Workspace,
    score_threshold: float | None,
    *,
    rates_hz: Sequence[float],
    search: RateSearch | None = None,
    on_step: OnStep = ignore,
) -> Results:
    """Start a node twice, with an empty cache and with a filled one, and play images to the second one.

    Args:
        settings: of one camera.
        place: where to work.
        score_threshold: of the network; None: the model's own.
        rates_hz: rates to play images at after the highest rate was found.
        search: how the highest rate is searched.
        on_step: called with a description of each step.

    Returns:
        engine: from the diagnostics of the node.
        start_up: seconds from the start of the process to its first reply, with an empty cache and with a filled one.
        highest_rate_hz: the highest sustained rate; limited_by: 'node', or 'sender' if this process could not send
        faster.
        search: the trials of the search; trials: images one by one (wanted_hz null), then at the given rates. See
        `trial_results`.
    """
    _check_cameras(settings)
    with_weights, cache = place.with_weights(settings), place.cache('node')
    arguments = node_arguments(with_weights, score_threshold)
    images = serialized(np.load(place.images(settings.image_size), mmap_mode='r'))
    times = place.folder / 'engine_times.json'
    with open_player('vis_ros_benchmark', threading.Event()) as player:
        target, load = RunningNode(player, TRACKER), ImageLoad(player.node, player, images)
        on_step('starting the node with an empty cache')
        with _running_node(arguments, cache, times, target, load) as cold_s:
            pass
        player.run(_START_S, lambda: not player.subscribers('/image'))
        on_step('starting the node')
        with _running_node(arguments, cache, times, target, load) as warm_s:
            on_step('one by one')
            trials = [load.one_by_one(settings.frames)]
            searched = _search(load, trials[0].rate_hz, search or RateSearch(), on_step)
            for rate_hz in rates_hz:
                on_step(f'at {rate_hz:g} Hz')
                trials.append(load.at_rate(rate_hz, settings.frames))
            player.run(3.0, lambda: bool(target.status.engine))
    node_times = NodeTimes.read(times)
    return {
        'engine': target.status.engine,
        'start_up': {'cold_s': round(cold_s, 3), 'warm_s': round(warm_s, 3)},
        'highest_rate_hz': round(max((trial.rate_hz for trial in searched if trial.sustained), default=0.0), 2),
        'limited_by': 'node' if all(trial.sent_in_time for trial in searched) else 'sender',
        'search': [trial_results(trial, node_times) for trial in searched],
        'trials': [trial_results(trial, node_times) for trial in trials],
    }


def _check_cameras(settings: SpeedSettings) -> None:
    if settings.cameras != 1:
        raise ValueError(f'{settings.cameras} cameras: a node is measured with one camera')


def node_arguments(settings: SpeedSettings, score_threshold: float | None) -> list[str]:
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
def _running_node(
    arguments: list[str], cache: Path, times: Path, target: RunningNode, load: ImageLoad
) -> Iterator[float]:
    """A node that has replied; yields the seconds until it did. Its times are in their file after leaving."""
    command = [sys.executable, '-m', 'benchmarks.speed.timed_node', str(times), '--ros-args', *arguments]
    environment = {**child_environment(), 'XDG_CACHE_HOME': str(cache)}
    start = time.perf_counter()
    with ChildProcess('node', command, times.with_suffix('.log'), environment) as child:

        def check() -> None:
            child.check()
            if target.status.fault:
                raise ValueError(f'the node cannot work: {target.status.fault}')

        load.until_reply(check, _START_S)
        yield time.perf_counter() - start


def _search(load: ImageLoad, start_hz: float, search: RateSearch, on_step: OnStep) -> list[Trial]:
    """The trials of the search for the highest rate."""
    trials: list[Trial] = []

    def sustains(rate_hz: float) -> bool:
        on_step(f'searching the highest rate: {rate_hz:.1f} Hz')
        trials.append(load.at_rate(rate_hz, max(search.least_images, round(search.trial_s * rate_hz))))
        return trials[-1].sustained

    highest_rate(sustains, start_hz, search.precision)
    return trials


def trial_results(trial: Trial, times: NodeTimes) -> Results:
    """Counts of one trial, and p50 and p95 of its times; null without a reply.

    dropped: images that the node skipped for newer ones, or that the middleware reported as lost.
    latency_ms: from handing the image to DDS until the reply arrived here.
    transport_ms: until rclpy handed the image to the node.
    node_ms: from there until the node handed its message to DDS.
    engine_ms: the part of node_ms in the engine, without preprocess and paste; infer_ms: with them.
    overhead_ms: node_ms minus engine_ms of each image; around_infer_ms: node_ms minus infer_ms. At rates that are too
        high they include the time in which an image waits for the one before.
    """
    replies = trial.replies
    own = [times.engine[reply.stamp_ns] for reply in replies]
    arrived = [times.arrived[reply.stamp_ns] for reply in replies]
    node = np.array([reply.published_ns - then for reply, then in zip(replies, arrived, strict=True)]) / 1e9
    infer = np.array([seconds for seconds, _, _ in own])
    engine = np.array([seconds - preprocess - paste for seconds, preprocess, paste in own])
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
