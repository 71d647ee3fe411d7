"""The results of one frame as a JSON record: a line of results.jsonl. results.schema.json describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import BRIDGED, CONFIRMED, LOST, TENTATIVE, Instances
from vis_ros.masks.crop import areas_and_centroids
from vis_ros.masks.rle import MaskRuns, mask_runs

_STATES = {TENTATIVE: 'tentative', CONFIRMED: 'confirmed', LOST: 'lost', BRIDGED: 'bridged'}

VERSION = 2
"""Of the layout of a line: raised when a field changes its meaning or goes. Version 1 had no `version`."""

SCHEMA = Path(__file__).with_name('results.schema.json')
"""JSON schema of a line, which describes every field."""


def frame_record(
    index: int,
    stamp_ns: int,
    name: str,
    epoch: int,
    instances: Instances,
    has_clock: bool = True,
    runs: Sequence[MaskRuns] | None = None,
    *,
    frame_id: str = '',
    sequence: int = 0,
    dropped: int = 0,
    origin_ns: int = 0,
) -> dict[str, Any]:
    """The tracked objects of one frame as plain JSON types, as SCHEMA describes them.

    Args:
        index: position of the frame in the recording, from 0.
        stamp_ns: when the image was taken, in nanoseconds.
        name: of the frame.
        epoch: track ids are unique within one epoch.
        instances: tracked, with class names, in ascending order of track id.
        has_clock: whether other recordings share the clock of `stamp_ns`; False for video files and image folders.
        runs: the run lengths of each mask, if the caller has them; otherwise they are computed here.
        frame_id, sequence, dropped: as in InstanceMaskArray.
        origin_ns: stamp from which `Instances.first_seen` counts its seconds.
    """
    (height, width), name_of = instances.image_size, instances.names
    if runs is None:
        runs = mask_runs(instances.masks, instances.rois, instances.image_size)
    areas, centroids = areas_and_centroids(instances.masks, instances.rois)
    return {
        'version': VERSION,
        'index': index,
        'stamp': stamp_ns / 1e9,
        'stamp_ns': stamp_ns if has_clock else None,
        'frame_id': frame_id,
        'name': name,
        'height': height,
        'width': width,
        'epoch': epoch,
        'sequence': sequence,
        'dropped': dropped,
        'instances': [
            _object_record(
                instances, place, name_of[place], runs[place], origin_ns, int(areas[place]), centroids[place]
            )
            for place in range(len(instances))
        ],
    }


def _object_record(
    instances: Instances,
    index: int,
    class_name: str,
    runs: MaskRuns,
    origin_ns: int,
    area: int,
    centroid: NDArray[np.float64],
) -> dict[str, Any]:
    first_seen = None if instances.first_seen is None else float(instances.first_seen[index])
    return {
        'track_id': _field(instances.track_ids, index, 0),
        'state': _STATES[_field(instances.states, index, CONFIRMED)],
        'hits': _field(instances.hits, index, 1),
        'first_seen': None if first_seen is None else round(origin_ns / 1e9 + first_seen, 6),
        'class_id': int(instances.class_ids[index]),
        'class_name': class_name,
        'score': round(float(instances.scores[index]), 6),
        'match_score': round(_field(instances.match_scores, index, 1.0), 6),
        'box': [round(float(value), 2) for value in instances.boxes[index]],
        'roi': instances.rois[index].tolist(),
        'area': area,
        'centroid': [round(value, 2) for value in centroid.tolist()],
        'mask': {'size': list(instances.image_size), 'counts': runs.image.tolist()},
        **({} if instances.positions is None else {'position': _meters(instances.positions[index])}),
    }


def _field(values: NDArray[Any] | None, index: int, default: Any) -> Any:
    return default if values is None else values[index].item()


def _meters(position: NDArray[np.float32]) -> list[float] | None:
    return [round(float(value), 4) for value in position] if np.isfinite(position).all() else None
