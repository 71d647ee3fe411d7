"""The report of the demo: metrics against the ground truth, a video and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message

import vis_ros
from vis_ros.demo.demo_run import DemoRecording
from vis_ros.evaluation.error_marks import error_marks, mask_iou
from vis_ros.evaluation.metrics.clear import ClearMatching
from vis_ros.instances import Instances
from vis_ros.msg import InstanceMaskArray
from vis_ros.percentiles import percentiles
from vis_ros.recordings.video_writer import VideoWriter
from vis_ros.ros.messages import to_instances
from vis_ros.synthetic.labeled_frame import LabeledFrame
from vis_ros.synthetic.scene import Scene
from vis_ros.visualization import TruthMarks, VideoSheet, draw_overlay
from vis_ros.whole_file import write_whole

_SLOWEST_VIDEO = 5.0  # frames per second; if the tracker is slower, the video plays faster than real time


def write_report(
    out: Path, scene: Scene, recording: DemoRecording, on_reply: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Score a recording, and write overlay.mp4, contact_sheet.png and metrics.json into a folder.

    Args:
        out: an existing folder.
        scene: what the camera published.
        recording: of the demo.
        on_reply: called after each reply.

    Returns:
        The contents of metrics.json:
        frames_sent: images that the camera published.
        frames_received: images for which a result was received.
        frames_dropped: images that the tracker reports as dropped.
        latency_ms: p50 and p95 from the stamp of an image until its result was received.
        stamps_equal: whether the stamp of each result is that of an image, and no two are equal.
        ids_unique: whether no result has a track id twice.
        identities: number of different track ids; true_identities: number of objects in the scene.
        id_switches: as in `ClearMatching`, over the images with a result.
        mean_mask_iou: over the matches; recall: share of the true objects that were matched; 0 if there are none.
        rate_hz, engine, seed, image_size, vis_ros: the conditions.

    Raises:
        TimeoutError: the recording has no replies.
    """
    if not recording.replies:
        raise TimeoutError('the tracker published no result for any image of the scene')
    frame_of = {stamp_ns: index for index, stamp_ns in enumerate(recording.stamps_ns)}
    scores, sheet = _SceneScores(), VideoSheet(16)
    with_result: set[int] = set()
    with VideoWriter(out / 'overlay.mp4', max(_SLOWEST_VIDEO, recording.rate_hz)) as video:
        for reply in recording.replies:
            message = deserialize_message(reply.data, InstanceMaskArray)
            scores.add_message(message)
            index = frame_of.get(reply.stamp_ns)
            if index is not None:
                with_result.add(index)
                truth, instances = scene.frame(index), to_instances(message)
                marks = scores.add_frame(index, truth, instances, _track_ids(message))
                overlay = draw_overlay(truth.image, instances, marks=marks)
                video.write(overlay)
                seconds = (reply.stamp_ns - recording.stamps_ns[0]) / 1e9
                sheet.add(overlay, f'{seconds:.2f} s  {marks.in_words()}', is_wanted=bool(marks.switched))
            on_reply()
    sheet.write(out / 'contact_sheet.png')
    p50, p95 = percentiles([(reply.received_ns - reply.stamp_ns) / 1e6 for reply in recording.replies], 50, 95)
    metrics = {
        'frames_sent': len(recording.stamps_ns),
        'frames_received': len(with_result),
        'frames_dropped': scores.dropped,
        'latency_ms': {'p50': round(p50, 1), 'p95': round(p95, 1)},
        'stamps_equal': len(with_result) == len(recording.replies),
        'ids_unique': scores.ids_unique,
        'identities': len(scores.track_ids),
        'true_identities': len(scene.object_names),
        **scores.figures(),
        'rate_hz': round(recording.rate_hz, 2),
        'engine': recording.engine,
        'seed': scene.seed,
        'image_size': list(scene.size),
        'vis_ros': vis_ros.__version__,
    }
    write_whole(out / 'metrics.json', json.dumps(metrics, indent=2) + '\n')
    return metrics


def _track_ids(message: InstanceMaskArray) -> list[int]:
    """Track ids that stay unique across epochs, in the order of the message."""
    return [message.epoch * 2**32 + instance.track_id for instance in message.instances]


class _SceneScores:
    """Collects the figures of the demo, message by message.

    dropped: images that the tracker reports as dropped.
    ids_unique: whether no message has a track id twice.
    track_ids: all of them, see `_track_ids`.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self.ids_unique = True
        self.track_ids: set[int] = set()
        self._matching = ClearMatching()
        self._overlaps: list[float] = []
        self._true_objects = 0

    def add_message(self, message: InstanceMaskArray) -> None:
        """Count what the message itself contains."""
        ids = _track_ids(message)
        self.dropped += message.dropped
        self.ids_unique &= len(set(ids)) == len(ids)
        self.track_ids.update(ids)

    def add_frame(self, index: int, truth: LabeledFrame, instances: Instances, ids: list[int]) -> TruthMarks:
        """Match the instances of a frame, with their track ids, with the ground truth; returns the errors in it."""
        overlaps = mask_iou(truth.masks, instances)
        rows, columns = self._matching.add(index, truth.object_ids.astype(np.int64), np.array(ids, np.int64), overlaps)
        self._overlaps += overlaps[rows, columns].tolist()
        self._true_objects += len(truth)
        objects = Instances.from_masks(truth.masks).with_fields(track_ids=truth.object_ids)
        return error_marks(self._matching, index, objects, instances, (rows, columns))

    def figures(self) -> dict[str, float]:
        """The figures against the ground truth."""
        return {
            'id_switches': len(self._matching.switches),
            'mean_mask_iou': round(sum(self._overlaps) / max(1, len(self._overlaps)), 4),
            'recall': round(len(self._overlaps) / max(1, self._true_objects), 4),
        }
