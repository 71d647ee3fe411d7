"""Replay: every frame of a recording through a segmenter, offline and in order, with pictures and results.

The same recording, weights and machine give the same bytes in results.jsonl: nothing here depends on time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vis_ros.replay.records import frame_record
from vis_ros.segmenters.segmenter import Segmenter
from vis_ros.sources import Source
from vis_ros.stamps import FOLDER_RATE
from vis_ros.video_writer import CODECS, VideoWriter
from vis_ros.visualization import EvenlySpaced, draw_overlay

LATE_S = 0.5
"""An image older than the one before by more than this was taken after the clock was set back."""


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay did.

    frames: images segmented.
    skipped: images that could not be read, or came late.
    last_problem: why the last of them was skipped.
    seconds: of wall clock, reading and drawing included.
    latency_ms: (p50, p95) of the segmenter alone.
    identities: different identities over the whole recording.
    instances: objects over all frames.
    codec: FourCC of the overlay video.
    """

    frames: int
    skipped: int
    last_problem: str
    seconds: float
    latency_ms: tuple[float, float]
    identities: int
    instances: int
    codec: str


def replay(
    source: Source,
    segmenter: Segmenter,
    class_names: Sequence[str],
    out: str | Path,
    *,
    every: int = 1,
    max_frames: int | None = None,
    codecs: tuple[str, ...] = tuple(CODECS),
    on_frame: Callable[[], None] = lambda: None,
) -> ReplaySummary:
    """Segment a recording and write results.jsonl, overlay.mp4 and contact_sheet.png into a folder.

    As in the node, an image up to LATE_S older than the one before is out of order and skipped, and a larger step back
    (a bag recorded over a change of the clock) makes the segmenter forget and begins an epoch.

    Args:
        source: the recording.
        segmenter: its memory is reset before the first frame.
        class_names: the name of each class id.
        out: the folder; made where it is missing, files of an earlier replay are replaced.
        every: use one frame of so many.
        max_frames: end after so many used frames.
        codecs: FourCCs for the video, see `VideoWriter`.
        on_frame: called after each used frame (a progress bar).

    Raises:
        ValueError: nothing can be read, or the recording is damaged.
    """
    if every < 1 or (max_frames is not None and max_frames < 1):
        raise ValueError(f'every ({every}) and max_frames ({max_frames}) must be at least 1')
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    segmenter.reset()
    first_epoch = segmenter.epoch
    sheet = EvenlySpaced(16)
    latencies: list[float] = []
    identities: set[tuple[int, int]] = set()
    objects = 0
    previous: float | None = None
    late = 0
    begin = time.perf_counter()
    video = VideoWriter(folder / 'overlay.mp4', (source.rate or FOLDER_RATE) / every, codecs)
    with video, (folder / 'results.jsonl').open('w', encoding='utf-8') as results:
        for index, frame in enumerate(source):
            if index % every:
                continue
            if previous is not None and frame.stamp < previous:
                if previous - frame.stamp <= LATE_S:
                    late += 1
                    continue
                segmenter.reset()
            previous = frame.stamp
            start = time.perf_counter()
            instances = segmenter.step(frame.image, frame.stamp)
            latencies.append(time.perf_counter() - start)
            epoch = segmenter.epoch - first_epoch
            assert instances.track_ids is not None, 'a segmenter gives identities'
            identities.update((epoch, track_id) for track_id in instances.track_ids.tolist())
            objects += len(instances)
            record = frame_record(index, frame.stamp, frame.name, epoch, instances, class_names)
            results.write(json.dumps(record) + '\n')
            overlay = draw_overlay(frame.image, instances, class_names)
            video.write(overlay)
            sheet.add(overlay, f'{frame.name}  {frame.stamp:.2f} s')
            on_frame()
            if len(latencies) == max_frames:
                break
    sheet.write(folder / 'contact_sheet.png')
    p50, p95 = (1000 * np.percentile(latencies, [50, 95])).tolist()
    return ReplaySummary(
        frames=len(latencies),
        skipped=source.skipped + late,
        last_problem=source.last_problem or (f'{late} images came out of order' if late else ''),
        seconds=time.perf_counter() - begin,
        latency_ms=(p50, p95),
        identities=len(identities),
        instances=objects,
        codec=video.codec,
    )
