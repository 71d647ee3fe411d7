"""The results of one frame as a JSON record: a line of results.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.masks.rle import MaskRuns, mask_runs


def frame_record(
    index: int,
    stamp_ns: int,
    name: str,
    epoch: int,
    instances: Instances,
    has_clock: bool = True,
    runs: Sequence[MaskRuns] | None = None,
) -> dict[str, Any]:
    """The tracked objects of one frame as plain JSON types.

    Args:
        index: position of the frame in the recording, from 0.
        stamp_ns: when the image was taken, in nanoseconds.
        name: of the frame.
        epoch: track ids are unique within one epoch.
        instances: tracked, with class names, in ascending order of track id.
        has_clock: whether other recordings share the clock of `stamp_ns`; False for video files and image folders.
        runs: the run lengths of each mask, if the caller has them; otherwise they are computed here.

    Returns:
        index, name, epoch: as given.
        stamp: in seconds; stamp_ns: the exact value in nanoseconds, null without a clock.
        height, width: of the image in pixels.
        instances: one record per object, in the order given:
            track_id, class_id, class_name, score;
            box: [x0, y0, x1, y1] in pixels, to a hundredth;
            roi: [x0, y0, x1, y1], the integer window of the mask;
            mask: {'size': [height, width], 'counts': [...]}, COCO's uncompressed RLE of the whole image, as
                `pycocotools.mask.frPyObjects` reads it;
            position: [x, y, z] in meters, to a tenth of a millimeter, null where unknown; only with depth.
    """
    height, width = instances.image_size
    if runs is None:
        runs = mask_runs(instances.masks, instances.rois, instances.image_size)
    names = instances.names
    return {
        'index': index,
        'stamp': stamp_ns / 1e9,
        'stamp_ns': stamp_ns if has_clock else None,
        'name': name,
        'height': height,
        'width': width,
        'epoch': epoch,
        'instances': [_object_record(instances, place, names[place], runs[place]) for place in range(len(instances))],
    }


def _object_record(instances: Instances, index: int, class_name: str, runs: MaskRuns) -> dict[str, Any]:
    return {
        'track_id': 0 if instances.track_ids is None else int(instances.track_ids[index]),
        'class_id': int(instances.class_ids[index]),
        'class_name': class_name,
        'score': round(float(instances.scores[index]), 6),
        'box': [round(float(value), 2) for value in instances.boxes[index]],
        'roi': instances.rois[index].tolist(),
        'mask': {'size': list(instances.image_size), 'counts': runs.image.tolist()},
        **({} if instances.positions is None else {'position': _meters(instances.positions[index])}),
    }


def _meters(position: NDArray[np.float32]) -> list[float] | None:
    return [round(float(value), 4) for value in position] if np.isfinite(position).all() else None
