"""What a live replay leaves: results.jsonl and run.json, from the answers in its bag, and a summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message

import vis_ros
from vis_ros.instances import LOST, Instances
from vis_ros.msg import InstanceMaskArray
from vis_ros.percentiles import percentiles
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.topics import INSTANCES_TYPE, Topic
from vis_ros.replay.interruption import INTERRUPTED
from vis_ros.replay.live.live_session import CameraStream, LiveSession
from vis_ros.replay.live.running_node import RunningNode
from vis_ros.replay.live.timed_images import TimedImages
from vis_ros.replay.offline.results_json import ResultsJson
from vis_ros.replay.records import frame_record
from vis_ros.ros.messages import to_instances
from vis_ros.ros.stamps import nanoseconds

Percentiles = tuple[float, float, float]


@dataclass(frozen=True)
class LiveSummary:
    """What came of a live replay, over all cameras and rounds.

    sent: images published.
    received: answers to them.
    dropped: images that the node skipped, as its messages say; those that the middleware told it were lost among them.
    lost: sent, but neither answered nor said to be dropped.
    late: images published more than 10 ms after their time; latest_ms: the worst of all.
    skipped: images that could not be read, and last_problem why the last of them could not.
    unknown: answers to images of others.
    rate_hz, recorded_hz: images a second as played, and as recorded times the rate.
    latency_ms: p50, p95, p99 from the publication of an image until its answer was here, in wall time; None without
        answers.
    node_latency_ms: the same of `latency` in the answers: by the node's own clock, from the stamp of the image until
        it published the answer; None where it knows none.
    node_clock: what that clock is, in words.
    epochs: of the answers, ascending; identities: how many different ones in them.
    stopped_early: '' when every round was played, INTERRUPTED, or what ended the replay before its end.
    """

    sent: int
    received: int
    dropped: int
    lost: int
    late: int
    latest_ms: float
    skipped: int
    last_problem: str
    unknown: int
    rate_hz: float
    recorded_hz: float
    latency_ms: Percentiles | None
    node_latency_ms: Percentiles | None
    node_clock: str
    epochs: tuple[int, ...]
    identities: int
    stopped_early: str


@dataclass
class _Answers:
    """What the answers of one camera say."""

    model: str = ''
    dropped: int = 0
    node_latency_ms: list[float] = field(default_factory=list)
    epochs: set[int] = field(default_factory=set)
    identities: set[tuple[int, int]] = field(default_factory=set)
    class_names: dict[int, str] = field(default_factory=dict)


def write_live_results(
    folder: Path,
    images: TimedImages,
    target: RunningNode,
    settings: dict[str, Any],
    session: LiveSession,
    rate: float,
    loop: int,
) -> LiveSummary:
    """Write results.jsonl (of several cameras one each, in folders of their names), results.json and run.json.

    A line of results.jsonl is `frame_record` plus the round. Its index counts the images that were sent to the camera,
    over all rounds; identities of different rounds differ by their epoch. results.json: see `ResultsJson`.

    Args:
        folder: where the bag is.
        images: what was played.
        target: what answered; settings: its parameters.
        session: which has ended.
        rate, loop: as asked for.
    """
    streams = list(session.streams.values())
    several = len(streams) > 1
    with ResultsJson(folder) as results:
        said = [
            _write_records(
                folder, stream, stream.route.camera.name if several else '', partial(results.add, 1 + position)
            )
            for position, stream in enumerate(streams)
        ]
        for position, stream in enumerate(streams):
            results.extend(1 + position, stream.sent)
        results.write()
    sent, received = sum(stream.sent for stream in streams), sum(len(stream.answers.answered) for stream in streams)
    dropped = sum(each.dropped for each in said)
    latencies = [answered.latency_ms for stream in streams for answered in stream.answers.answered]
    node_latencies = [latency for each in said for latency in each.node_latency_ms]
    stopped_early = session.stopped_early or (INTERRUPTED if session.stopped else '')
    summary = LiveSummary(
        sent=sent,
        received=received,
        dropped=dropped,
        lost=sent - received - dropped,
        late=session.late,
        latest_ms=session.latest_ms,
        skipped=images.skipped,
        last_problem=images.last_problem,
        unknown=sum(stream.answers.unknown for stream in streams),
        rate_hz=session.intervals / session.played_s if session.played_s else 0.0,
        recorded_hz=session.intervals / session.recorded_s if session.recorded_s else 0.0,
        latency_ms=_percentiles(latencies),
        node_latency_ms=_percentiles(node_latencies),
        node_clock=_node_clock(bool(settings.get('use_sim_time')), rate),
        epochs=tuple(sorted(set().union(*(each.epochs for each in said)))),
        identities=sum(len(each.identities) for each in said),
        stopped_early=stopped_early,
    )
    names = {number: name for each in said for number, name in each.class_names.items()}
    engine = target.status.engine
    run = {
        'vis_ros': vis_ros.__version__,
        'source': str(images.path),
        'model': next((each.model for each in said if each.model), ''),
        **settings,
        'engine': engine.get('engine', ''),
        'device': engine.get('engine device', ''),
        'precision': engine.get('engine precision', ''),
        'cameras': {stream.route.camera.name: stream.route.recorded for stream in streams},
        'class_names': [names.get(number, f'class {number}') for number in range(max(names, default=-1) + 1)],
        'frames': received,
        'skipped': images.skipped,
        'stopped_early': stopped_early,
        'live': {
            'node': target.name,
            'rate': rate,
            'loop': loop,
            'rounds': session.rounds,
            **{name: getattr(summary, name) for name in ('sent', 'received', 'dropped', 'lost', 'unknown', 'late')},
            'latest_ms': round(summary.latest_ms, 3),
            'rate_hz': round(summary.rate_hz, 3),
            'recorded_hz': round(summary.recorded_hz, 3),
            'epochs': list(summary.epochs),
            'identities': summary.identities,
            'node_clock': summary.node_clock,
            'latency_percentiles_ms': _rounded(summary.latency_ms),
            'node_latency_percentiles_ms': _rounded(summary.node_latency_ms),
            'latency_ms': _rounded(latencies),
            'node_latency_ms': _rounded(node_latencies),
        },
    }
    (folder / 'run.json').write_text(json.dumps(run, indent=1) + '\n', encoding='utf-8')
    return summary


def _write_records(
    folder: Path, stream: CameraStream, name: str, add: Callable[[int, int, Instances], None]
) -> _Answers:
    """One line for each answer in the bag into `folder/name`; what else the answers say.

    Args:
        add: called with index, epoch and objects of each.
    """
    camera, answered = stream.route.camera, stream.answers.answered
    said = _Answers()
    path = folder / name / 'results.jsonl'
    path.parent.mkdir(parents=True, exist_ok=True)
    messages = BagReader(folder / 'bag').messages([Topic(camera.instances_topic, INSTANCES_TYPE, len(answered))])
    with path.open('w', encoding='utf-8') as file:
        for (_, _, data), answer in zip(messages, answered, strict=True):
            message: InstanceMaskArray = deserialize_message(data, InstanceMaskArray)
            _listen(said, message)
            sent, instances = answer.sent, to_instances(message)
            seen = np.flatnonzero(np.asarray(instances.states) != LOST)  # as offline: lost objects are in the bag only
            instances = instances[seen]
            add(sent.index, message.epoch, instances)
            record = frame_record(
                sent.index,
                sent.taken_ns,
                sent.name,
                message.epoch,
                instances,
            )
            file.write(json.dumps(record | {'round': sent.round}) + '\n')
    return said


def _listen(said: _Answers, message: InstanceMaskArray) -> None:
    said.model = message.model
    said.dropped += message.dropped
    said.epochs.add(message.epoch)
    said.identities.update((message.epoch, instance.track_id) for instance in message.instances)
    said.class_names.update((instance.class_id, instance.class_name) for instance in message.instances)
    latency_ns = nanoseconds(message.latency)
    if latency_ns is not None:
        said.node_latency_ms.append(latency_ns / 1e6)


def _node_clock(use_sim_time: bool, rate: float) -> str:
    if use_sim_time:
        return 'from the stamp to publishing, on /clock' + (
            '' if rate == 1 else f', {rate:g} times as fast as wall time'
        )
    return 'from the stamp to publishing, in wall time: without use_sim_time the age of the recording is in it'


def _percentiles(values: Sequence[float]) -> Percentiles | None:
    """p50, p95, p99."""
    if not values:
        return None
    p50, p95, p99 = percentiles(values, 50, 95, 99)
    return p50, p95, p99


def _rounded(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else [round(value, 3) for value in values]
