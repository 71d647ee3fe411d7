"""Offline replay: every frame of a recording through the trackers of the node, in the order of stamps, without DDS.

The same recording, weights and machine give the same bytes in every file: only the date in run.json depends on time.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vis_ros
from vis_ros.file_digest import sha256_of
from vis_ros.instances import CONFIRMED, LOST, TENTATIVE, Instances
from vis_ros.masks.crop import areas_and_centroids
from vis_ros.masks.encodings import MASK_RLE, rle_bytes
from vis_ros.masks.rle import MaskRuns, mask_runs
from vis_ros.percentiles import percentiles
from vis_ros.positions import positions
from vis_ros.recordings.bag_files import BagError
from vis_ros.recordings.bag_writer import BagWriter
from vis_ros.recordings.cdr import serialize
from vis_ros.recordings.plain_messages import plain_header, plain_message
from vis_ros.recordings.recording import MISSING, OTHER_FRAME, Frame, NoFrameError, Recording, Stream
from vis_ros.recordings.topics import INSTANCES_TYPE, topic_name
from vis_ros.recordings.video_writer import CODECS
from vis_ros.replay.interruption import INTERRUPTED, interruptible
from vis_ros.replay.offline.frames_with_next import frames_with_next
from vis_ros.replay.offline.photo_files import PhotoFiles
from vis_ros.replay.offline.record_files import RecordFiles
from vis_ros.replay.offline.results_json import ResultsJson
from vis_ros.replay.offline.video_files import SLOWEST_VIDEO, VideoFiles
from vis_ros.replay.output_folder import room
from vis_ros.replay.records import frame_record
from vis_ros.replay.run_date import run_date
from vis_ros.ros.image_annotations import ANNOTATIONS_TYPE, to_annotations
from vis_ros.ros.serialized_instances import EncodedMasks, MessageContext, serialized_instances
from vis_ros.ros.stamps import FOLDER_RATE, StampOrder
from vis_ros.tracking.model import Model
from vis_ros.tracking.tracker import Tracker
from vis_ros.visualization import Labels
from vis_ros.whole_file import write_whole


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay did.

    frames: processed images.
    skips: reason -> number of images that were left out for it; last_problem: why the last one was.
    warnings: anything else unusual in the recording -> how often.
    seconds: wall-clock time, reading and drawing included.
    latency_ms: (p50, p95) of the tracker alone.
    identities: different tracks in the whole recording.
    instances: objects in all frames.
    codec: FourCC of the overlay video.
    stopped_early: '' when the whole recording was replayed, INTERRUPTED, or where and how the recording is damaged.
    no_results_json: why there is no results.json, or ''.
    left_out: what the recording holds beside the frames that were read, in words.
    inferred: what was assumed about the meaning of the frames, in words.
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
    left_out: tuple[str, ...] = ()
    inferred: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether everything that the recording says it holds was used, or skipped for a reason of its own."""
        return not (self.left_out or self.skips.get(MISSING) or self.warnings.get(OTHER_FRAME))

    @property
    def skipped(self) -> int:
        """Number of images that were left out."""
        return sum(self.skips.values())


def replay(
    recordings: Sequence[Recording],
    model: Model,
    out: str | Path,
    *,
    source: str = '',
    stride: int = 1,
    max_frames: int | None = None,
    copy_images: bool = False,
    confirmed: bool = False,
    codecs: tuple[str, ...] = tuple(CODECS),
    labels: Labels = 'full',
    pictures: bool = True,
    identity: Mapping[str, str] | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> ReplaySummary:
    """Track the objects in a recording, and write the results into a folder.

    The folder gets run.json (settings and counts), results.json (`ResultsJson`) and bag (one InstanceMaskArray for each
    frame on the topics of the node, /vis_node/instances or /vis_node/<name>/instances for a stream with a name; its
    masks are run-length coded, its latency is 0, and only it has LOST tracks; beside it, annotations for Foxglove and
    Rerun). results.jsonl, overlay.mp4 and
    contact_sheet.png are in the folder too, or in one folder for each of several streams. Headers in the bag are those
    of the images. Videos and image folders have none: there the stamp is the time since the start, and the frame id is
    empty. The recording time of a message is that of its image, or of the previous image if that is later.

    Photos get a folder of overlays in place of the video, and nothing is tracked from one to the next.

    Where the clock of the recording is set back, tracks are deleted and a new epoch starts. A damaged recording and
    Ctrl-C end the replay after the current frame, with all files complete up to there.

    Args:
        recordings: replayed one after the other; the names of all streams differ.
        model: gives each stream a tracker.
        out: the folder. It is created if necessary; files of an earlier replay are replaced.
        source: what run.json calls the recording.
        stride: process every `stride`-th frame.
        max_frames: stop after this many processed frames.
        copy_images: copy the messages of the images into the bag, byte for byte.
        confirmed: leave out tracks until they are CONFIRMED.
        codecs: FourCCs for the video, see `VideoWriter`.
        labels: what the tags in the pictures have, see `draw_overlay`.
        pictures: write overlays and contact sheets.
        identity: hashes of what the results depend on, for run.json; see `run_identity`.
        on_frame: called after each processed frame.

    Raises:
        ValueError: no frame can be read, there are no messages to copy, or `out` is in the recording.
        FileExistsError: `out` holds files that vis-ros has not written.
    """
    if stride < 1 or (max_frames is not None and max_frames < 1):
        raise ValueError(f'stride ({stride}) and max_frames ({max_frames}) must be at least 1')
    if not recordings:
        raise ValueError('there is no recording to replay: the list is empty')
    streams = [stream for recording in recordings for stream in recording.streams]
    if copy_images and not all(stream.topic for stream in streams):
        raise ValueError(f'{recordings[0].description} has no image messages to copy; leave --copy-images out')
    if copy_images and (video := next((stream.topic for stream in streams if stream.is_video), None)):
        raise ValueError(
            f'the images of {video} are video, of which no image can be copied without those before it; leave '
            '--copy-images out and open the recording beside the results'
        )
    topics = [_instances_topic(stream.name) for stream in streams]
    if len(set(topics)) < len(topics):
        raise ValueError(f'videos of different names have the same topic: {", ".join(topics)}')
    folder = Path(out)
    videos = [stream.name for stream in streams] if len(streams) > 1 else []
    with room(folder, [recording.path for recording in recordings], videos):
        for recording in recordings:
            recording.scale16 = model.settings.scale16()
        start = time.perf_counter()
        with BagWriter(folder / 'bag') as bag, ResultsJson(folder) as results:
            outputs = _Outputs(
                folder, len(streams) == 1, bag, results, model.name, copy_images, confirmed, codecs, labels, pictures
            )
            photos = [recording.photos for recording in recordings for _ in recording.streams]
            runs = [
                _StreamRun(stream, 1 + position, outputs, stride, photos[position])
                for position, stream in enumerate(streams)
            ]
            stopped_early = _run(_processed(recordings, runs, model, stride), max_frames, on_frame)
            no_results_json = results.write()
        summary = _summary(recordings, runs, time.perf_counter() - start, stopped_early, no_results_json)
        run = {
            'vis_ros': vis_ros.__version__,
            'date': run_date(),
            'source': source or str(recordings[0].path),
            **model.describe(),
            'cameras': {stream.name: stream.topic for stream in streams},
            'stride': stride,
            'max_frames': max_frames,
            'photos': all(recording.photos for recording in recordings),
            'confirmed': confirmed,
            'class_names': list(model.class_names),
            'frames': summary.frames,
            'skipped': summary.skipped,
            'skips': summary.skips,
            'warnings': summary.warnings,
            'left_out': summary.left_out,
            'inferred': summary.inferred,
            'stopped_early': summary.stopped_early,
            'no_results_json': summary.no_results_json,
            'frames_of': {run.stream.name: run.frames for run in runs},
            'results_sha256': {run.stream.name: sha256_of(run.results) for run in runs if run.results.exists()},
            'tracks': summary.identities,
            'instances': summary.instances,
            'identity': dict(identity or {}),
        }
        write_whole(folder / 'run.json', json.dumps(run, indent=1) + '\n')
        return summary


def _summary(
    recordings: Sequence[Recording],
    runs: Sequence[_StreamRun],
    seconds: float,
    stopped_early: str,
    no_results_json: str,
) -> ReplaySummary:
    latencies = np.concatenate([np.frombuffer(run.latencies) for run in runs])
    p50, p95 = percentiles(latencies, 50, 95)
    return ReplaySummary(
        frames=len(latencies),
        skips=dict(sum((each.skips for each in recordings), Counter())),
        last_problem=next((each.last_problem for each in reversed(recordings) if each.last_problem), ''),
        warnings=dict(sum((each.warnings for each in recordings), Counter())),
        seconds=seconds,
        latency_ms=(1000 * p50, 1000 * p95),
        identities=sum(len(run.identities) for run in runs),
        instances=sum(run.instances for run in runs),
        codec=next((run.codec for run in runs if run.codec), ''),
        stopped_early=stopped_early,
        no_results_json=no_results_json,
        left_out=tuple(text for each in recordings for text in each.left_out),
        inferred=tuple(dict.fromkeys(text for each in recordings for text in each.inferred)),
    )


# --- frames -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Outputs:
    """The files that all streams of a replay share."""

    folder: Path
    is_single: bool
    bag: BagWriter
    results: ResultsJson
    model: str
    copy_images: bool
    confirmed: bool
    codecs: tuple[str, ...]
    labels: Labels
    pictures: bool


def _run(processed: Generator[None], max_frames: int | None, on_frame: Callable[[], None]) -> str:
    """Process frames until the end, `max_frames`, Ctrl-C or damage; returns `ReplaySummary.stopped_early`."""
    frames = 0
    try:
        with interruptible() as interrupted, closing(processed):
            for frames, _ in enumerate(processed, start=1):
                on_frame()
                if interrupted.is_set():
                    return INTERRUPTED
                if frames == max_frames:
                    break
    except BagError as error:
        if not frames:
            raise
        return str(error)
    return ''


def _processed(
    recordings: Sequence[Recording], runs: Sequence[_StreamRun], model: Model, stride: int
) -> Generator[None]:
    """Process one frame after the other, in the order of each recording; yields after each."""
    for recording in recordings:
        own = {run.stream.name: run for run in runs if run.stream in recording.streams}
        with ExitStack() as stack:
            for run in own.values():
                stack.enter_context(run.running(model.photo_tracker() if recording.photos else model.tracker()))
            try:
                frames = recording.frames(stride)
                alone = ((frame, None) for frame in frames)
                for frame, after in frames_with_next(frames) if model.settings.delayed else alone:
                    own[frame.stream].add(frame, after)
                    yield
            except NoFrameError:  # another recording may have frames
                if recording is recordings[-1] and not any(run.frames for run in runs):
                    raise


class _StreamRun:
    """The replay of one stream.

    frames, instances, identities, latencies: so far, latencies in seconds. codec: of the overlay video.
    results: the path of its results.jsonl.
    """

    def __init__(self, stream: Stream, video_id: int, outputs: _Outputs, stride: int, photos: bool) -> None:
        self.stream = stream
        self.frames = self.instances = 0
        self.identities: set[tuple[int, int]] = set()
        self._confirmed: set[tuple[int, int]] = set()
        self.latencies = array('d')
        self.codec = ''
        self._video_id = video_id
        self._outputs = outputs
        self._stride = stride
        self._photos = photos
        self._order = StampOrder()
        self._source_epoch = self._epoch = self._sequence = 0
        self._recorded_ns = 0
        self._topic = _instances_topic(stream.name)
        self._annotations_topic = f'{self._topic.removesuffix("instances")}annotations'
        folder = outputs.folder if outputs.is_single else outputs.folder / stream.name
        self.results = folder / 'results.jsonl'
        outputs.bag.add_topic(self._topic, INSTANCES_TYPE, stream.name)
        outputs.bag.add_topic(self._annotations_topic, ANNOTATIONS_TYPE)
        if outputs.copy_images:
            outputs.bag.add_topic(stream.topic, stream.type)

    @contextmanager
    def running(self, tracker: Tracker) -> Iterator[None]:
        """The time in which its frames are processed; its files are complete afterwards."""
        outputs = self._outputs
        folder = self.results.parent
        rate = max((self.stream.rate or FOLDER_RATE) / self._stride, SLOWEST_VIDEO)
        self._tracker = tracker
        self._files: PhotoFiles | RecordFiles | VideoFiles
        if not outputs.pictures:
            self._files = RecordFiles(folder)
        elif self._photos:
            self._files = PhotoFiles(folder, outputs.labels)
        else:
            self._files = VideoFiles(folder, rate, outputs.codecs, outputs.labels)
        try:
            with closing(self._files):
                yield
        finally:  # a replay that stops early is complete up to there
            self.codec = self._files.codec
            if self.stream.count is not None:
                outputs.results.extend(self._video_id, self.stream.count)
            del self._tracker, self._files

    def add(self, frame: Frame, after: NDArray[np.uint8] | None) -> None:
        """Track the objects in a frame, and write them. after: the next image, for trackers that use it."""
        if frame.epoch != self._source_epoch:  # time was set back
            self._source_epoch = frame.epoch
            self._tracker.reset()
            self._order.forget()
            self._epoch += 1
            self._sequence = 0
        self._order.follow(frame.stamp_ns)
        start = time.perf_counter()
        instances = self._tracker.step(frame.image, self._order.seconds(frame.stamp_ns), after=after)
        self.latencies.append(time.perf_counter() - start)
        if frame.depth is not None:
            instances = instances.with_fields(positions=positions(instances, *frame.depth))
        if self._outputs.confirmed:
            instances = self._without_unconfirmed(instances)
        assert instances.track_ids is not None, 'a tracker gives track ids'
        self.frames += 1
        self._sequence += 1
        runs = mask_runs(instances.masks, instances.rois, instances.image_size)
        found = np.arange(len(instances)) if instances.states is None else np.flatnonzero(instances.states != LOST)
        seen, seen_runs = instances[found], [runs[index] for index in found]
        self.instances += len(seen)
        self.identities.update((self._epoch, track_id) for track_id in instances.track_ids.tolist())
        self._files.add(frame.image, instances, self._json_record(frame, seen, seen_runs))
        self._outputs.results.add(self._video_id, frame.index, self._epoch, seen, seen_runs)
        data = [rle_bytes(each.crop) for each in runs]  # lossless, and a tenth of the size of mono8
        measures = areas_and_centroids(instances.masks, instances.rois)
        self._record(frame, instances, EncodedMasks(MASK_RLE, data, *measures))

    def _without_unconfirmed(self, instances: Instances) -> Instances:
        """The tracks that are or were CONFIRMED."""
        assert instances.track_ids is not None
        states = np.full(len(instances), CONFIRMED) if instances.states is None else instances.states
        self._confirmed |= {(self._epoch, track_id) for track_id in instances.track_ids[states == CONFIRMED].tolist()}
        ids = instances.track_ids.tolist()
        kept = [(self._epoch, track_id) in self._confirmed for track_id in ids]
        return instances[np.flatnonzero(np.array(kept, bool) & (states != TENTATIVE))]

    def _json_record(self, frame: Frame, seen: Instances, runs: Sequence[MaskRuns]) -> dict[str, Any]:
        """The line of results.jsonl."""
        return frame_record(
            frame.index,
            frame.stamp_ns,
            frame.name,
            self._epoch,
            seen,
            frame.has_clock and frame.recorded_ns is not None,
            runs,
            frame_id=frame.frame_id,
            sequence=self._sequence,
            dropped=frame.dropped,
            origin_ns=self._order.origin,
        )

    def _record(self, frame: Frame, instances: Instances, masks: EncodedMasks) -> None:
        """Write the message of a frame into the bag."""
        outputs = self._outputs
        # Recording times never go back, so that every reader gives the messages in this order.
        recorded_ns = frame.stamp_ns if frame.recorded_ns is None else frame.recorded_ns
        self._recorded_ns = max(recorded_ns, self._recorded_ns)
        if outputs.copy_images and frame.message is not None:
            outputs.bag.write(self.stream.topic, self._recorded_ns, frame.message)
        header = plain_header(frame.stamp_ns if frame.has_clock else 0, frame.frame_id)
        context = MessageContext(
            header, self._epoch, self._sequence, frame.dropped, outputs.model, origin_ns=self._order.origin
        )
        outputs.bag.write(self._topic, self._recorded_ns, serialized_instances(instances, context, masks))
        annotations = to_annotations(instances, context.header.stamp, plain_message)
        outputs.bag.write(self._annotations_topic, self._recorded_ns, serialize(annotations, ANNOTATIONS_TYPE))


def _instances_topic(name: str) -> str:
    """The topic on which the node publishes the instances of a camera."""
    parts = [topic_name(part) for part in name.split('/')] if name else []
    return '/'.join(['/vis_node', *parts, 'instances'])
