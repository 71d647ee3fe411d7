"""Offline replay: every frame of a recording through the tracker of the node, in the order of stamps, without DDS.

The same recording, weights and machine give the same bytes in every file: nothing here depends on time.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from std_msgs.msg import Header

import vis_ros
from vis_ros.instances import LOST, Instances
from vis_ros.masks.encodings import rle_bytes
from vis_ros.masks.rle import mask_runs
from vis_ros.positions import positions
from vis_ros.recordings.bags import INSTANCES_TYPE, BagError, BagWriter, serialize, topic_name
from vis_ros.recordings.recording import Frame, NoFrameError, Source, Stream
from vis_ros.recordings.video_writer import CODECS
from vis_ros.replay.interruption import INTERRUPTED, interruptible
from vis_ros.replay.offline.results_json import ResultsJson
from vis_ros.replay.offline.video_files import VideoFiles
from vis_ros.replay.output_folder import make_room
from vis_ros.ros.messages import MessageContext, to_message
from vis_ros.ros.stamps import FOLDER_RATE, StampOrder, to_time
from vis_ros.tracking.tracker import Tracker

_MASK_ENCODING = 'rle'  # the bag is for keeping: without loss, and a tenth of what the node sends as mono8

_SLOWEST_VIDEO = 0.1  # images a second; below, no codec takes it


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay did.

    frames: images segmented.
    skips: why images were left out -> how many; last_problem: why the last of them was.
    warnings: what else is not as it should be in the recording -> how often.
    seconds: of wall clock, reading and drawing included.
    latency_ms: (p50, p95) of the tracker alone.
    identities: different identities over the whole recording.
    instances: objects over all frames.
    codec: FourCC of the overlay video.
    stopped_early: '' when the whole recording was replayed, INTERRUPTED, or where and how the recording is damaged.
    no_results_json: why there is no results.json, or ''.
    """

    frames: int
    skips: dict[str, int]
    last_problem: str
    warnings: dict[str, int]
    seconds: float
    latency_ms: tuple[float, float]
    identities: int
    instances: int
    codec: str
    stopped_early: str
    no_results_json: str

    @property
    def skipped(self) -> int:
        """Images that were left out."""
        return sum(self.skips.values())


def replay(
    sources: Sequence[Source],
    new_tracker: Callable[[], Tracker],
    class_names: Sequence[str],
    out: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    every: int = 1,
    max_frames: int | None = None,
    copy_images: bool = False,
    codecs: tuple[str, ...] = tuple(CODECS),
    on_frame: Callable[[], None] = lambda: None,
) -> ReplaySummary:
    """Segment a recording and write what was found into a folder.

    The folder gets run.json (settings and counts), results.json (`ResultsJson`) and bag (an InstanceMaskArray for
    each frame, on the topics of the node: /vis_node/instances, or /vis_node/<name>/instances of a stream with a name,
    with run-length coded masks and a latency of 0; lost objects are here only); results.jsonl, overlay.mp4 and
    contact_sheet.png too, of several streams in a folder each. The headers in the bag are those of the images. Videos
    and image folders have none: there the stamp is the time since the start, and the frame id is empty. A message has
    the time of recording of its image, or of the one before if that was recorded later.

    Where time is set back the tracker forgets and an epoch begins. A recording that breaks off, and Ctrl-C, end the
    replay after the frame in work, with all files complete up to there.

    Args:
        sources: recordings, one after the other; all names of streams are different.
        new_tracker: makes the tracker of a stream.
        class_names: the name of each class id.
        out: the folder; made where it is missing, files of an earlier replay are replaced.
        settings: goes into run.json; `model` into the messages too.
        every: use one frame of so many.
        max_frames: end after so many used frames.
        copy_images: put the messages of the images into the bag, byte for byte.
        codecs: FourCCs for the video, see `VideoWriter`.
        on_frame: called after each used frame (a progress bar).

    Raises:
        ValueError: nothing can be read, there are no messages to copy, or `out` is in the recording.
        FileExistsError: out/bag is something else than a bag.
    """
    if every < 1 or (max_frames is not None and max_frames < 1):
        raise ValueError(f'every ({every}) and max_frames ({max_frames}) must be at least 1')
    streams = [stream for source in sources for stream in source.streams]
    if copy_images and not all(stream.topic for stream in streams):
        raise ValueError(f'{sources[0].description} has no image messages to copy; leave --copy-images out')
    topics = [_instances_topic(stream.name) for stream in streams]
    if len(set(topics)) < len(topics):
        raise ValueError(f'videos of different names have the same topic: {", ".join(topics)}')
    folder = Path(out)
    make_room(folder, (source.path for source in sources))
    settings = dict(settings or {})
    begin = time.perf_counter()
    with BagWriter(folder / 'bag') as bag, ResultsJson(folder) as results:
        outputs = _Outputs(
            folder, len(streams) == 1, bag, results, class_names, str(settings.get('model', '')), copy_images, codecs
        )
        runs = [_StreamRun(stream, 1 + position, outputs, every) for position, stream in enumerate(streams)]
        stopped_early = _run(sources, runs, new_tracker, every, max_frames, on_frame)
        no_results_json = results.write()
    summary = _summary(sources, runs, time.perf_counter() - begin, stopped_early, no_results_json)
    run = {
        'vis_ros': vis_ros.__version__,
        **settings,
        'cameras': {stream.name: stream.topic for stream in streams},
        'every': every,
        'max_frames': max_frames,
        'class_names': list(class_names),
        'frames': summary.frames,
        'skipped': summary.skipped,
        'skips': summary.skips,
        'warnings': summary.warnings,
        'stopped_early': summary.stopped_early,
        'no_results_json': summary.no_results_json,
        'frames_of': {run.stream.name: run.frames for run in runs},
    }
    (folder / 'run.json').write_text(json.dumps(run, indent=1) + '\n', encoding='utf-8')
    return summary


def _summary(
    sources: Sequence[Source], runs: Sequence[_StreamRun], seconds: float, stopped_early: str, no_results_json: str
) -> ReplaySummary:
    latencies = np.concatenate([np.frombuffer(run.latencies) for run in runs])
    p50, p95 = (1000 * np.percentile(latencies, [50, 95])).tolist()
    return ReplaySummary(
        frames=len(latencies),
        skips=dict(sum((source.skips for source in sources), Counter())),
        last_problem=next((source.last_problem for source in reversed(sources) if source.last_problem), ''),
        warnings=dict(sum((source.warnings for source in sources), Counter())),
        seconds=seconds,
        latency_ms=(p50, p95),
        identities=sum(len(run.identities) for run in runs),
        instances=sum(run.instances for run in runs),
        codec=next((run.codec for run in runs if run.codec), ''),
        stopped_early=stopped_early,
        no_results_json=no_results_json,
    )


# --- frames -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outputs:
    """What the streams of a replay write into, and what is the same for all of them."""

    folder: Path
    is_single: bool
    bag: BagWriter
    results: ResultsJson
    class_names: Sequence[str]
    model: str
    copy_images: bool
    codecs: tuple[str, ...]


def _run(
    sources: Sequence[Source],
    runs: Sequence[_StreamRun],
    new_tracker: Callable[[], Tracker],
    every: int,
    max_frames: int | None,
    on_frame: Callable[[], None],
) -> str:
    """Replay everything; returns `ReplaySummary.stopped_early`."""
    frames = 0
    with interruptible() as interrupted:
        for source in sources:
            own = {run.stream.name: run for run in runs if run.stream in source.streams}
            with ExitStack() as stack:
                for run in own.values():
                    stack.enter_context(run.begun(new_tracker()))
                try:
                    for frame in source.frames(every):
                        own[frame.stream].add(frame)
                        frames += 1
                        on_frame()
                        if interrupted.is_set():
                            return INTERRUPTED
                        if frames == max_frames:
                            return ''
                except BagError as error:
                    if not frames:
                        raise
                    return str(error)
                except NoFrameError:
                    if source is sources[-1] and not frames:
                        raise
    return ''


class _StreamRun:
    """The replay of one stream.

    frames, instances, identities, latencies: so far; latencies in seconds. codec: of the overlay video.
    """

    def __init__(self, stream: Stream, video_id: int, outputs: _Outputs, every: int) -> None:
        self.stream = stream
        self.frames = self.instances = 0
        self.identities: set[tuple[int, int]] = set()
        self.latencies = array('d')
        self.codec = ''
        self._video_id = video_id
        self._outputs = outputs
        self._every = every
        self._order = StampOrder()
        self._source_epoch = self._epoch = self._sequence = 0
        self._recorded_ns = 0
        self._topic = _instances_topic(stream.name)
        outputs.bag.add_topic(self._topic, INSTANCES_TYPE, stream.name)
        if outputs.copy_images:
            outputs.bag.add_topic(stream.topic, stream.type)

    @contextmanager
    def begun(self, tracker: Tracker) -> Iterator[None]:
        """While its frames come, with a memory of its own."""
        outputs = self._outputs
        folder = outputs.folder if outputs.is_single else outputs.folder / self.stream.name
        rate = max((self.stream.rate or FOLDER_RATE) / self._every, _SLOWEST_VIDEO)
        self._tracker = tracker
        with closing(VideoFiles(folder, rate, outputs.codecs)) as self._files:
            yield
            self.codec = self._files.codec
        del self._tracker, self._files
        if self.stream.count is not None:
            outputs.results.extend(self._video_id, self.stream.count)

    def add(self, frame: Frame) -> None:
        """Segment a frame and write what was found."""
        if frame.epoch != self._source_epoch:  # time was set back
            self._source_epoch = frame.epoch
            self._tracker.reset()
            self._order.forget()
            self._epoch += 1
            self._sequence = 0
        self._order.follow(frame.stamp_ns)
        start = time.perf_counter()
        instances = self._tracker.step(frame.image, self._order.seconds(frame.stamp_ns))
        self.latencies.append(time.perf_counter() - start)
        if frame.depth is not None:
            instances = instances.with_fields(positions=positions(instances, *frame.depth))
        assert instances.track_ids is not None, 'a tracker gives identities'
        self.frames += 1
        self._sequence += 1
        runs = mask_runs(instances.masks, instances.rois, instances.image_size)
        found = np.arange(len(instances)) if instances.states is None else np.flatnonzero(instances.states != LOST)
        seen, seen_runs = instances[found], [runs[index] for index in found]
        self.instances += len(seen)
        self.identities.update((self._epoch, track_id) for track_id in instances.track_ids.tolist())
        self._files.add(frame, self._epoch, seen, seen_runs)
        self._outputs.results.add(self._video_id, frame.index, self._epoch, seen, seen_runs)
        self._record(frame, instances, [rle_bytes(each.crop) for each in runs])

    def _record(self, frame: Frame, instances: Instances, mask_data: Sequence[bytes]) -> None:
        """Put it into the bag."""
        outputs = self._outputs
        # Messages of a topic are in their order also by time of recording, so that every reader gives them so.
        recorded_ns = frame.stamp_ns if frame.recorded_ns is None else frame.recorded_ns
        self._recorded_ns = max(recorded_ns, self._recorded_ns)
        if outputs.copy_images and frame.message is not None:
            outputs.bag.write(self.stream.topic, self._recorded_ns, frame.message)
        header = Header(stamp=to_time(frame.stamp_ns if frame.has_clock else 0), frame_id=frame.frame_id)
        told = MessageContext(
            header, self._epoch, self._sequence, frame.dropped, outputs.model, origin_ns=self._order.origin
        )
        message = to_message(instances, told, _MASK_ENCODING, mask_data)
        outputs.bag.write(self._topic, self._recorded_ns, serialize(message, INSTANCES_TYPE))


def _instances_topic(name: str) -> str:
    """Where the node publishes the instances of a camera."""
    parts = [topic_name(part) for part in name.split('/')] if name else []
    return '/'.join(['/vis_node', *parts, 'instances'])
