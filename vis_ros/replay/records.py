"""Results of a frame as a JSON record: what `vis-ros replay` writes, one line a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances


def frame_record(
    index: int,
    stamp_ns: int,
    name: str,
    epoch: int,
    instances: Instances,
    class_names: Sequence[str],
    has_clock: bool = True,
) -> dict[str, Any]:
    """The tracked objects of one frame as plain JSON types.

    Returns:
        index: position in the recording, from 0.
        stamp: seconds; stamp_ns: the same exactly, in nanoseconds, null where the recording has no clock (a video file,
            an image folder): such stamps are not those of anything else.
        name: of the frame.
        height, width: of the image in pixels.
        epoch: identities compare only inside one epoch.
        instances: in ascending order of track_id, each with
            track_id, class_id, class_name, score;
            box: [x0, y0, x1, y1] in pixels, to a hundredth;
            roi: [x0, y0, x1, y1] the integer window of the mask;
            mask: {'size': [height, width], 'counts': [...]}, COCO's uncompressed RLE of the whole image
                (`full_image_rle`), as `pycocotools.mask.frPyObjects` reads it;
            position: [x, y, z] in metres, to a tenth of a millimetre, null where not known; only with depth.
    """
    height, width = instances.image_size
    return {
        'index': index,
        'stamp': stamp_ns / 1e9,
        'stamp_ns': stamp_ns if has_clock else None,
        'name': name,
        'height': height,
        'width': width,
        'epoch': epoch,
        'instances': [_record(instances, position, class_names) for position in range(len(instances))],
    }


def full_image_rle(mask: NDArray[np.uint8], roi: Sequence[int], image_size: tuple[int, int]) -> dict[str, Any]:
    """The uncompressed COCO RLE of the whole image for a mask that is stored as the crop of its roi.

    Run lengths go down the columns and start with background. Only the columns of the roi are looked at.

    Args:
        mask: (y1 - y0, x1 - x0) uint8, 0 or 1.
        roi: x0 y0 x1 y1.
        image_size: (height, width).
    """
    height, width = image_size
    x0, y0, x1, y1 = (int(value) for value in roi)
    columns = np.zeros((x1 - x0, height), np.uint8)
    columns[:, y0:y1] = mask.T
    flat = columns.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=np.uint8(0), append=np.uint8(0))) + x0 * height
    counts = np.diff(changes, prepend=0, append=height * width)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]  # the mask ends with the image
    return {'size': [height, width], 'counts': counts.tolist()}


def _record(instances: Instances, position: int, class_names: Sequence[str]) -> dict[str, Any]:
    class_id = int(instances.class_ids[position])
    roi = instances.rois[position].tolist()
    return {
        'track_id': 0 if instances.track_ids is None else int(instances.track_ids[position]),
        'class_id': class_id,
        'class_name': class_names[class_id],
        'score': round(float(instances.scores[position]), 6),
        'box': [round(float(value), 2) for value in instances.boxes[position]],
        'roi': roi,
        'mask': full_image_rle(instances.masks[position], roi, instances.image_size),
        **({} if instances.positions is None else {'position': _metres(instances.positions[position])}),
    }


def _metres(position: NDArray[np.float32]) -> list[float] | None:
    return [round(float(value), 4) for value in position] if np.isfinite(position).all() else None
