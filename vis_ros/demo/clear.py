"""ClearScore: tracked masks against true ones, frame by frame, after CLEAR MOT (Bernardin and Stiefelhagen 2008)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.data.labelled_frame import LabelledFrame
from vis_ros.instances import Instances

MATCH_IOU = 0.5
"""A tracked mask is the true object that it overlaps by more than this IoU."""


class ClearScore:
    """Counts over the frames of one video, whatever the classes.

    true_objects: visible true objects, one count a frame.
    matched: those that a tracked mask was matched with.
    switches: matches whose identity is another than that of the last match of the same object.
    """

    def __init__(self) -> None:
        self.true_objects = 0
        self.matched = 0
        self.switches = 0
        self._iou_sum = 0.0
        self._last: dict[int, tuple[int, int]] = {}

    def add(self, truth: LabelledFrame, instances: Instances, epoch: int = 0) -> None:
        """Score the next frame.

        An object keeps its identity of before where that still overlaps it enough; otherwise it takes the mask with the
        largest overlap. True masks are disjoint, so a mask whose IoU with one of them is more than a half cannot have
        that with a second one (Kirillov et al. 2019, section 4.1), and no two objects compete for it.

        Args:
            truth: the true objects.
            instances: with track ids, of the same image.
            epoch: identities compare only inside one epoch.
        """
        assert instances.track_ids is not None
        identities = [(epoch, int(track_id)) for track_id in instances.track_ids]
        overlaps = mask_iou(truth.masks, instances)
        self.true_objects += len(truth)
        for object_id, row in zip(truth.object_ids.tolist(), overlaps, strict=True):
            candidates = np.flatnonzero(row > MATCH_IOU).tolist()
            if not candidates:
                continue
            last = self._last.get(object_id)
            kept = [index for index in candidates if identities[index] == last]
            best = kept[0] if kept else max(candidates, key=lambda index: row[index])
            self.switches += last is not None and identities[best] != last
            self._last[object_id] = identities[best]
            self.matched += 1
            self._iou_sum += float(row[best])

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the matched pairs; 0 where there are none."""
        return self._iou_sum / self.matched if self.matched else 0.0

    @property
    def recall(self) -> float:
        """Matched share of the true objects; 0 where there are none."""
        return self.matched / self.true_objects if self.true_objects else 0.0


def mask_iou(masks: NDArray[np.bool_], instances: Instances) -> NDArray[np.float64]:
    """(T, N) IoU of T whole-image masks (T, H, W) with N instances."""
    areas = masks.sum((1, 2))
    overlaps = np.zeros((len(masks), len(instances)))
    for column, (roi, mask) in enumerate(zip(instances.rois.tolist(), instances.masks, strict=True)):
        x0, y0, x1, y1 = roi
        shared = (masks[:, y0:y1, x0:x1] & mask.astype(bool)).sum((1, 2))
        union = areas + np.count_nonzero(mask) - shared
        overlaps[:, column] = shared / np.maximum(union, 1)
    return overlaps
