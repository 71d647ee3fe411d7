"""What the ground truth says of the tracks in one image, as marks for its picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import encode, encode_crop, iou
from vis_ros.datasets.video import EPOCH
from vis_ros.evaluation.metrics.clear import ClearMatching
from vis_ros.instances import LOST, Instances
from vis_ros.visualization import TruthMarks

Matches = tuple[NDArray[np.intp], NDArray[np.intp]]


def mask_iou(masks: NDArray[np.bool_] | NDArray[np.uint8], instances: Instances) -> NDArray[np.float64]:
    """(T, N) IoU of T true masks (T, H, W) and N instances."""
    crops = zip(instances.masks, instances.rois.tolist(), strict=True)
    found = [encode_crop(mask, roi, instances.image_size) for mask, roi in crops]
    return iou(found, [encode(mask) for mask in masks]).T


def error_marks(
    matching: ClearMatching, frame: int, truth: Instances, found: Instances, matches: Matches
) -> TruthMarks:
    """The errors in the image that was matched last.

    Args:
        matching: of the video so far.
        frame: number of this image in it.
        truth: the true objects.
        found: the tracks.
        matches: rows (true objects) and columns (tracks) of the pairs, as `ClearMatching.add` returned them.
    """
    rows, columns = matches
    track_of = dict(zip(np.asarray(truth.track_ids)[rows].tolist(), columns.tolist(), strict=True))
    changes = [change for change in matching.switches if change.frame == frame]
    shown = np.ones(len(found), bool) if found.states is None else found.states != LOST
    shown[columns] = False
    missed = np.setdiff1d(np.arange(len(truth)), rows)
    return TruthMarks(
        switched={track_of[change.object_id]: change.before % EPOCH for change in changes},
        false=frozenset(np.flatnonzero(shown).tolist()),
        lost=truth[missed] if len(missed) else None,
    )
