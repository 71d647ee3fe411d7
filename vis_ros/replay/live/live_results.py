"""The files of a live replay (results.jsonl, results.json, run.json) and its summary, from the replies in its bag."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message

import vis_ros
from vis_ros.images import ImageError
from vis_ros.instances import LOST, Instances
from vis_ros.msg import InstanceMaskArray
from vis_ros.percentiles import percentiles
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_reader import BagReader
from vis_ros.recordings.image_decoder import ImageDecoder
from vis_ros.recordings.topics import INSTANCES_TYPE, Topic
from vis_ros.replay.live.camera_stream import CameraStream, ImageReply
from vis_ros.replay.live.live_session import LiveSession
from vis_ros.replay.live.timed_images import TimedImage
from vis_ros.replay.offline.results_json import ResultsJson
from vis_ros.replay.offline.video_files import SLOWEST_VIDEO, VideoFiles
from vis_ros.replay.records import frame_record
from vis_ros.replay.run_date import run_date
from vis_ros.ros.messages import to_instances
from vis_ros.ros.stamps import nanoseconds
from vis_ros.video.video_decoder import Pixels
from vis_ros.whole_file import write_whole

_DECIMALS = 3


@dataclass(frozen=True)
class LiveSummary:
    """The figures of a live replay, over all cameras and rounds. Times and rates are rounded to three decimals.

    sent: number of published images.
    received: number of replies to them.
    dropped: images that the node skipped for newer ones or never received from DDS, as far as it reports that.
    lost: images without a reply that the node did not report as dropped.
    unknown: replies to images of other publishers.
    late: images published more than 10 ms after their time; latest_ms: the largest delay.
    skipped: images of the recording that could not be read; last_problem: why the last one could not.
    rate_hz: images per second that were published; recorded_hz: that of the recording at the speed of the replay.
    latency_percentiles_ms: p50, p95 and p99 of the wall time from publishing an image until its reply was received;
        None without replies.
    node_latency_percentiles_ms: the same for `latency` in the replies: from the stamp of the image until the node
        published the reply, on /clock; None if it is unknown or the node does not use /clock.
    node_clock: a description of that clock.
    epochs: of the replies, ascending.
    identities: number of different tracks in the replies.
    stopped_early: see `LiveSession`.
    no_results_json: why there is no results.json, or ''.
    """

    sent: int
    received: int
    dropped: int
    lost: int
    unknown: int
    late: int
    latest_ms: float
    skipped: int
    last_problem: str
    rate_hz: float
    recorded_hz: float
    latency_percentiles_ms: tuple[float, ...] | None
    node_latency_percentiles_ms: tuple[float, ...] | None
    node_clock: str
    epochs: tuple[int, ...]
    identities: int
    stopped_early: str
    no_results_json: str


@dataclass
class _ReplyContents:
    """What the messages of all replies contain.

    tracks: (camera, epoch, track id).
    """

    model: str = ''
    dropped: int = 0
    node_latency_ms: list[float] = field(default_factory=list)
    epochs: set[int] = field(default_factory=set)
    tracks: set[tuple[str, int, int]] = field(default_factory=set)
    class_names: dict[int, str] = field(default_factory=dict)

    def add(self, camera: str, message: InstanceMaskArray) -> None:
        self.model = message.model
        self.dropped += message.dropped
        self.epochs.add(message.epoch)
        self.tracks.update((camera, message.epoch, instance.track_id) for instance in message.instances)
        self.class_names.update((instance.class_id, instance.class_name) for instance in message.instances)
        latency_ns = nanoseconds(message.latency)
        if latency_ns is not None:
            self.node_latency_ms.append(round(latency_ns / 1e6, _DECIMALS))


def write_live_results(folder: Path, session: LiveSession) -> LiveSummary:
    """Write the files of a session that has ended, next to its bag.

    Overlay and contact sheet show the images with a reply. results.jsonl has one `frame_record` per reply, with latency
    and round. With several cameras there is one for each, in a folder of its name. The index counts the images sent to
    the camera over all rounds, those of a video in the order of display; tracks of different rounds have
    different epochs. results.json: see `ResultsJson`. run.json has the settings of the node and the figures.
    """
    contents = _ReplyContents()
    with ResultsJson(folder) as results:
        for position, stream in enumerate(session.streams.values()):
            subfolder = stream.route.camera.name if len(session.streams) > 1 else ''
            _write_video(folder, subfolder, session, stream, 1 + position, results, contents)
        no_results_json = results.write()
    latencies_ms = [
        round(reply.latency_ms, _DECIMALS) for stream in session.streams.values() for reply in stream.replies
    ]
    summary = _summarize(session, contents, latencies_ms, no_results_json)
    run = _run_record(session, contents, latencies_ms, summary)
    write_whole(folder / 'run.json', json.dumps(run, indent=1) + '\n')
    return summary


def _write_video(
    folder: Path,
    subfolder: str,
    session: LiveSession,
    stream: CameraStream,
    video_id: int,
    results: ResultsJson,
    contents: _ReplyContents,
) -> None:
    """Write results.jsonl, overlay and contact sheet of one camera, and add its replies to `results`, `contents`."""
    has_clock = bool(session.parameters.get('use_sim_time'))
    rate = max(session.timing.recorded_hz / session.rate, SLOWEST_VIDEO)
    with closing(VideoFiles(folder / subfolder, rate)) as files:
        replies = zip(_messages(folder / 'bag', stream), _replied_images(session, stream), strict=True)
        for (reply, message), (index, pixels) in replies:
            contents.add(stream.route.camera.name, message)
            instances = to_instances(message)
            # As in an offline replay, only the bag has lost tracks.
            visible = instances[np.flatnonzero(np.asarray(instances.states) != LOST)]
            results.add(video_id, index, message.epoch, visible)
            files.add(pixels, instances, _record(index, reply, message, visible, has_clock))
    results.extend(video_id, stream.sent)


def _record(
    index: int, reply: ImageReply, message: InstanceMaskArray, visible: Instances, has_clock: bool
) -> dict[str, Any]:
    image = reply.image
    record = frame_record(
        index,
        image.frame_stamp_ns,
        image.name,
        message.epoch,
        visible,
        frame_id=message.header.frame_id,
        sequence=message.sequence,
        dropped=message.dropped,
    )
    latency_ns = nanoseconds(message.latency) if has_clock else None
    return record | {'latency': None if latency_ns is None else latency_ns / 1e9, 'round': image.round}


def _replied_images(session: LiveSession, stream: CameraStream) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """The position of the image of each reply in the order of display, and its pixels, read from the recording again;
    None if they cannot be decoded.
    """
    topic = stream.route.recorded_topic
    played = chain.from_iterable(session.images.read([topic]) for _ in range(session.rounds))
    images = enumerate(_decoded(played, session.images.topics[topic]))
    for reply in stream.replies:
        found = next(((place, pixels) for place, (sent, pixels) in images if sent == reply.image.index), None)
        place, pixels = found or (reply.image.index, None)
        try:
            yield place, None if pixels is None else pixels()
        except (ImageError, BagError):
            yield place, None


def _decoded(played: Iterable[TimedImage], type: str) -> Iterator[tuple[int, Pixels]]:
    """The images of a topic in the order of display, each with its position in the order of playing."""
    decoder: ImageDecoder[int] = ImageDecoder(type, None, lambda index, error: None)
    for index, image in enumerate(played):
        yield from decoder.take(index, image.data)
    yield from decoder.end()


def _messages(bag: Path, stream: CameraStream) -> Iterator[tuple[ImageReply, InstanceMaskArray]]:
    """The replies of a camera with their messages in the bag."""
    topic = Topic(stream.route.camera.instances_topic, INSTANCES_TYPE, len(stream.replies))
    for reply, (_, _, data) in zip(stream.replies, BagReader(bag).messages([topic]), strict=True):
        yield reply, deserialize_message(data, InstanceMaskArray)


def _summarize(
    session: LiveSession, contents: _ReplyContents, latencies_ms: list[float], no_results_json: str
) -> LiveSummary:
    streams, timing = session.streams.values(), session.timing
    has_clock = bool(session.parameters.get('use_sim_time'))
    sent, received = sum(stream.sent for stream in streams), len(latencies_ms)
    return LiveSummary(
        sent=sent,
        received=received,
        dropped=contents.dropped,
        lost=sent - received - contents.dropped,
        unknown=sum(stream.unknown for stream in streams),
        late=timing.late,
        latest_ms=round(timing.latest_ms, _DECIMALS),
        skipped=session.skipped,
        last_problem=session.last_problem,
        rate_hz=round(timing.rate_hz, _DECIMALS),
        recorded_hz=round(timing.recorded_hz, _DECIMALS),
        latency_percentiles_ms=_percentiles(latencies_ms),
        node_latency_percentiles_ms=_percentiles(contents.node_latency_ms) if has_clock else None,
        node_clock=_node_clock(has_clock, session.rate),
        epochs=tuple(sorted(contents.epochs)),
        identities=len(contents.tracks),
        stopped_early=session.stopped_early,
        no_results_json=no_results_json,
    )


def _run_record(
    session: LiveSession, contents: _ReplyContents, latencies_ms: list[float], summary: LiveSummary
) -> dict[str, Any]:
    """The contents of run.json: as of an offline replay, and under 'live' what only a live replay has."""
    engine, names = session.node.status.engine, contents.class_names
    return {
        'vis_ros': vis_ros.__version__,
        'date': run_date(),
        'source': str(session.images.path),
        'model': contents.model,
        'weights': session.parameters.get('weights', ''),
        'weights_sha256': session.node.status.weights_sha256,
        'engine': engine.get('engine', ''),
        'device': engine.get('engine device', ''),
        'precision': engine.get('engine precision', ''),
        'settings': session.parameters,
        'cameras': {stream.route.camera.name: stream.route.recorded_topic for stream in session.streams.values()},
        'class_names': [names.get(number, f'class {number}') for number in range(max(names, default=-1) + 1)],
        'frames': summary.received,
        'skipped': summary.skipped,
        'stopped_early': summary.stopped_early,
        'no_results_json': summary.no_results_json,
        'live': {
            'node': session.node.name,
            'rate': session.rate,
            'loop': session.loop,
            'rounds': session.rounds,
            **asdict(summary),
            'latency_ms': latencies_ms,
            'node_latency_ms': contents.node_latency_ms,
        },
    }


def _node_clock(use_sim_time: bool, rate: float) -> str:
    if not use_sim_time:
        return 'unknown: start the node with use_sim_time:=true, which gives it the clock of the recording'
    return 'from stamp to publishing, on /clock' + ('' if rate == 1 else f' at {rate:g} times wall time')


def _percentiles(values: list[float]) -> tuple[float, ...] | None:
    """p50, p95 and p99, or None without values."""
    return tuple(round(value, _DECIMALS) for value in percentiles(values, 50, 95, 99)) if values else None
