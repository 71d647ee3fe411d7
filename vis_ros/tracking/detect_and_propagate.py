"""DetectAndPropagate: MaskTrack R-CNN detects objects, and a propagator bridges the frames in which it misses them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import CONFIRMED, Instances
from vis_ros.propagation.first_masks import working_size
from vis_ros.propagation.propagator import Propagator
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.propagate import margins, tight_box

Image = NDArray[np.uint8]

_CARRY_S = 1.0
"""An identity is carried for so long after it was detected last."""
_MAX_OBJECTS = 8
_SMALLEST, _GROWTH, _FREE_SHARE = 20, 2.0, 0.5
"""A carried mask counts if it has so many pixels at the working size, at most so many times those last detected, and
this share of it is on no detection: otherwise the object has likely got another number."""


@dataclass(eq=False)
class _Seen:
    """The last detection of an identity. row: that one instance; area: of its mask at the working size."""

    stamp: float
    row: Instances
    area: int


class DetectAndPropagate:
    """A `Tracker` that adds to what a tracker finds the confirmed identities that it has just lost.

    Every detection corrects the mask that is carried of its identity. Only confirmed identities are carried, at most
    _MAX_OBJECTS of them, those seen last.
    """

    def __init__(self, tracker: DetectAndTrack, propagator: Propagator) -> None:
        self._tracker = tracker
        self._propagator = propagator
        self._clear()

    def _clear(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._size: tuple[int, int] | None = None
        self._propagator.reset()

    @property
    def epoch(self) -> int:
        return self._tracker.epoch

    @property
    def identities(self) -> int:
        return self._tracker.identities

    def reset(self) -> None:
        """Forget every identity and raise the epoch."""
        self._tracker.reset()
        self._clear()

    def step(self, image: Image, stamp: float) -> Instances:
        """What is detected, and of the others what can be carried, in ascending order of identity."""
        found = self._tracker.step(image, stamp)
        self._size = self._size or working_size(image.shape[:2], self._propagator.input_size)
        small = np.asarray(cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        carried = margins(self._propagator.step(small)) if self._seen else []
        planes = dict(zip(self._propagator.object_ids, carried, strict=True))
        self._take(found, small, stamp)
        rows = self._carry(planes, found, stamp)
        return joined(found, rows)

    def _take(self, found: Instances, small: Image, stamp: float) -> None:
        """Correct masks by the detections, and start new ones; those that are not seen now give way to them."""
        assert found.track_ids is not None and found.states is not None and self._size is not None
        confirmed = np.flatnonzero(found.states == CONFIRMED)
        known = np.isin(found.track_ids[confirmed], list(self._seen))
        for index in [*confirmed[known].tolist(), *confirmed[~known].tolist()]:
            mask = self._reduced(found.full_mask(index))
            if not mask.any():
                continue
            number = int(found.track_ids[index])
            if number in self._seen:
                self._propagator.correct(number, mask)
            elif self._has_room(stamp):
                self._propagator.start(number, small, mask)
            else:
                continue
            self._seen[number] = _Seen(stamp, found[[index]], int(np.count_nonzero(mask)))

    def _has_room(self, stamp: float) -> bool:
        """Whether one more can be carried; of those not seen at that time the one unseen for longest is given up."""
        if len(self._seen) >= _MAX_OBJECTS:
            oldest = min(self._seen, key=lambda number: self._seen[number].stamp)
            if self._seen[oldest].stamp >= stamp:
                return False
            self._drop(oldest)
        return True

    def _drop(self, number: int) -> None:
        del self._seen[number]
        self._propagator.forget(number)

    def _carry(self, planes: dict[int, NDArray[np.float32]], found: Instances, stamp: float) -> list[Instances]:
        """One instance for each identity that was not detected and whose carried mask can be believed."""
        assert found.track_ids is not None and self._size is not None
        taken = np.zeros(self._size, bool)
        for index in range(len(found)):
            taken |= self._reduced(found.full_mask(index))
        rows = []
        for number in [n for n in self._seen if n not in found.track_ids]:
            seen, margin = self._seen[number], planes.get(number)
            if stamp - seen.stamp > _CARRY_S or margin is None:
                self._drop(number)
                continue
            mask = margin > 0
            area = int(np.count_nonzero(mask))
            free = area - int(np.count_nonzero(mask & taken))
            if area < _SMALLEST or area > _GROWTH * seen.area or free < _FREE_SHARE * area:
                continue
            row = _with_mask(seen.row, margin, found.image_size)
            if row is not None:
                rows.append(row)
        return rows

    def _reduced(self, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
        assert self._size is not None
        return np.asarray(cv2.resize(mask, self._size[::-1], interpolation=cv2.INTER_NEAREST) > 0, bool)


def _with_mask(row: Instances, margin: NDArray[np.float32], image_size: tuple[int, int]) -> Instances | None:
    """The instance with the mask that its margin has in an image; None if that has no pixel."""
    mask = cv2.resize(margin, image_size[::-1], interpolation=cv2.INTER_LINEAR) > 0
    if not mask.any():
        return None
    roi = tight_box(mask)
    x0, y0, x1, y1 = roi.tolist()
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1]).astype(np.uint8)
    return row.with_fields(image_size=image_size, boxes=roi[None].astype(np.float32), rois=roi[None], masks=[crop])


def joined(found: Instances, rows: list[Instances]) -> Instances:
    """All instances in ascending order of identity. Fields that only some have are left out."""
    if not rows:
        return found
    parts = [found, *rows]
    fields = {}
    for name in ('boxes', 'scores', 'class_ids', 'rois', 'track_ids', 'match_scores', 'hits', 'states', 'first_seen'):
        fields[name] = np.concatenate([getattr(part, name) for part in parts])
    together = Instances(image_size=found.image_size, masks=[m for part in parts for m in part.masks], **fields)
    assert together.track_ids is not None
    return together[np.argsort(together.track_ids, kind='stable')]
