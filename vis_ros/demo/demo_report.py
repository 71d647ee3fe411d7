"""What the demo found: figures against the ground truth, a video and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message

import vis_ros
from vis_ros.datasets.rle import encode, encode_crop, iou
from vis_ros.demo.demo_run import Recording
from vis_ros.evaluation.metrics.clear import ClearMatching
from vis_ros.instances import Instances
from vis_ros.msg import InstanceMaskArray
from vis_ros.percentiles import percentiles
from vis_ros.recordings.video_writer import VideoWriter
from vis_ros.ros.messages import to_instances
from vis_ros.synthetic.labelled_frame import LabelledFrame
from vis_ros.synthetic.scene import Scene
from vis_ros.visualization import VideoSheet, draw_overlay

_SLOWEST_VIDEO = 5.0  # frames per second: on a slow machine the video plays faster than it was tracked


def write_report(
    out: Path, scene: Scene, recording: Recording, on_frame: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Score a recording and write overlay.mp4, contact_sheet.png and metrics.json into a folder.

    Args:
        out: the folder, which exists.
        scene: what was played.
        recording: what came of it; not empty.
        on_frame: called after each answer.

    Returns:
        The figures of metrics.json:
        frames_sent: by the camera.
        frames_received: images that the tracker answered with an array.
        frames_dropped: images that the tracker says it skipped for newer ones.
        latency_ms: p50 and p95 from the stamp of an image until its answer was here.
        stamps_equal: every answer has the stamp of an image that was sent, and no two the same.
        ids_unique: no identity is twice in an answer.
        identities: different track ids; true_identities: of the scene.
        id_switches: as `ClearMatching` has them, over the answered images.
        mean_mask_iou, recall: of its matches, and their share of all true objects; 0 where there are none.
        rate_hz, engine, seed, image_size, vis_ros: the conditions.
    """
    if not recording.answers:
        raise TimeoutError('the tracker answered no image of the scene')
    frame_of = {stamp: index for index, stamp in enumerate(recording.stamps_ns)}
    matching, sheet = ClearMatching(), VideoSheet(16)
    overlaps: list[float] = []
    true_objects = 0
    identities: set[int] = set()
    dropped, unique, answered = 0, True, set()
    with VideoWriter(out / 'overlay.mp4', max(_SLOWEST_VIDEO, recording.rate_hz)) as video:
        for answer in recording.answers:
            message = deserialize_message(answer.data, InstanceMaskArray)
            dropped += message.dropped
            ids = [message.epoch * 2**32 + instance.track_id for instance in message.instances]
            unique &= len(set(ids)) == len(ids)
            identities.update(ids)
            if answer.stamp_ns not in frame_of:
                continue
            answered.add(answer.stamp_ns)
            index = frame_of[answer.stamp_ns]
            truth, instances = scene.frame(index), to_instances(message)
            shared = _mask_iou(truth, instances)
            rows, columns = matching.add(index, truth.object_ids.astype(np.int64), np.array(ids, np.int64), shared)
            overlaps += shared[rows, columns].tolist()
            true_objects += len(truth)
            overlay = draw_overlay(truth.image, instances)
            video.write(overlay)
            sheet.add(overlay, f'frame {index}')
            on_frame()
    sheet.write(out / 'contact_sheet.png')
    latency = [(answer.received_ns - answer.stamp_ns) / 1e6 for answer in recording.answers]
    p50, p95 = percentiles(latency, 50, 95)
    metrics = {
        'frames_sent': len(recording.stamps_ns),
        'frames_received': len(answered),
        'frames_dropped': dropped,
        'latency_ms': {'p50': round(p50, 1), 'p95': round(p95, 1)},
        'stamps_equal': len(answered) == len(recording.answers),
        'ids_unique': unique,
        'identities': len(identities),
        'true_identities': len(scene.object_names),
        'id_switches': len(matching.switches),
        'mean_mask_iou': round(sum(overlaps) / max(1, len(overlaps)), 4),
        'recall': round(len(overlaps) / max(1, true_objects), 4),
        'rate_hz': round(recording.rate_hz, 2),
        'engine': recording.engine,
        'seed': scene.seed,
        'image_size': list(scene.size),
        'vis_ros': vis_ros.__version__,
    }
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')
    return metrics


def _mask_iou(truth: LabelledFrame, instances: Instances) -> NDArray[np.float64]:
    """(T, N) of the true masks and the instances."""
    crops = zip(instances.masks, instances.rois.tolist(), strict=True)
    found = [encode_crop(mask, roi, instances.image_size) for mask, roi in crops]
    return iou(found, [encode(mask) for mask in truth.masks]).T
