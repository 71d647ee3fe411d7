"""DetectAndPropagate: MaskTrack R-CNN detects objects, and a propagator bridges the frames in which it misses them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import BRIDGED, CONFIRMED, Instances
from vis_ros.masks.window_resize import enlarged, reduced
from vis_ros.propagation.margins import margins
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.working_size import resize_to_working_size, working_size
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.settings import Settings
from vis_ros.tracking.tracker import Box, Point

Image = NDArray[np.uint8]

_BRIDGE_S = 1.0
"""A track is bridged for this long after its last detection."""
_MAX_OBJECTS = 8
_MIN_AREA, _MAX_GROWTH, _MIN_FREE_SHARE = 20, 2.0, 0.5
"""A propagated mask counts if it has this many pixels at working size, at most this many times the last detected
area, and this share of it is on no detection; otherwise the object has probably got another track.
"""


@dataclass(eq=False)
class _Seen:
    """The last detection of a track. row: that one instance; area: of its mask at working size."""

    stamp: float
    row: Instances
    area: int


@dataclass(eq=False)
class _Candidate:
    """A track in the newest frame. margin: (h, w), see `margins`; probability: (h, w)."""

    margin: NDArray[np.float32]
    probability: NDArray[np.float32]


class DetectAndPropagate:
    """A `Tracker` that adds the confirmed tracks that the detector has just missed to what another tracker finds.

    Every detection corrects the propagated mask of its track. At most _MAX_OBJECTS tracks are propagated, the confirmed
    ones seen last. A track that the memory has deleted for its age is not bridged.
    """

    def __init__(self, tracker: DetectAndTrack, propagator: Propagator, max_age_s: float = math.inf) -> None:
        self.class_names = tracker.class_names
        self._tracker = tracker
        self._propagator = propagator
        self._max_age_s = max_age_s
        self._clear()

    def _clear(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._size: tuple[int, int] | None = None
        self._propagator.reset()

    @property
    def identities(self) -> int:
        return self._tracker.identities

    @property
    def lost(self) -> int:
        return 0

    def reset(self) -> None:
        """Delete every track, and count track ids from 1 again."""
        self._tracker.reset()
        self._clear()

    def configure(self, settings: Settings) -> None:
        self._tracker.configure(settings)
        self._max_age_s = settings.max_age_s

    def prompt(
        self,
        *,
        mask: NDArray[np.generic] | None = None,
        box: Box | None = None,
        point: Point | None = None,
        stamp: float | None = None,
    ) -> int:
        return self._tracker.prompt(mask=mask, box=box, point=point, stamp=stamp)

    def forget(self, track_id: int) -> None:
        self._tracker.forget(track_id)

    def step(self, image: Image, stamp: float, after: Image | None = None) -> Instances:
        """The detected tracks and those that could be bridged, in ascending order of track id."""
        found = self._tracker.step(image, stamp)
        self._size = self._size or working_size(image.shape[:2], self._propagator.input_size)
        small = resize_to_working_size(image, self._size)
        by_track = self._propagate(small) if self._seen else {}
        self._correct(found, small, stamp)
        bridged = self._bridge(by_track, found, stamp)
        if not bridged:
            return found
        together = Instances.cat([_without_embeddings(found), *map(_without_embeddings, bridged)])
        assert together.track_ids is not None
        return together[np.argsort(together.track_ids, kind='stable')]

    def _propagate(self, small: Image) -> dict[int, _Candidate]:
        planes = self._propagator.step(small)
        each = map(_Candidate, margins(planes), planes[1:])
        return dict(zip(self._propagator.object_ids, each, strict=True))

    def _correct(self, found: Instances, small: Image, stamp: float) -> None:
        """Correct propagated masks by detections, and start new ones in place of tracks that are not detected now."""
        assert found.track_ids is not None and found.states is not None and self._size is not None
        confirmed = np.flatnonzero(found.states == CONFIRMED)
        known = np.isin(found.track_ids[confirmed], list(self._seen))
        for index in [*confirmed[known].tolist(), *confirmed[~known].tolist()]:
            mask = self._reduced(found, index)
            if not mask.any():
                continue
            number = int(found.track_ids[index])
            if number in self._seen:
                self._propagator.correct(number, mask)
            elif self._has_room(stamp):
                self._propagator.start(number, small, mask)
            else:
                continue
            self._seen[number] = _Seen(stamp, found[index], int(np.count_nonzero(mask)))

    def _has_room(self, stamp: float) -> bool:
        """Whether one more track can be propagated; gives up the one unseen for longest, but none seen at `stamp`."""
        if len(self._seen) >= _MAX_OBJECTS:
            oldest = min(self._seen, key=lambda number: self._seen[number].stamp)
            if self._seen[oldest].stamp >= stamp:
                return False
            self._drop(oldest)
        return True

    def _drop(self, number: int) -> None:
        del self._seen[number]
        self._propagator.forget(number)

    def _bridge(self, propagated: dict[int, _Candidate], found: Instances, stamp: float) -> list[Instances]:
        """One instance for each track that was not detected and has a plausible propagated mask."""
        assert found.track_ids is not None and self._size is not None
        missed = [number for number in self._seen if number not in found.track_ids]
        taken = np.zeros(self._size, bool)
        for index in range(len(found)) if missed else ():
            taken |= self._reduced(found, index)
        bridged = []
        for number in missed:
            seen, here = self._seen[number], propagated.get(number)
            if stamp - seen.stamp > min(_BRIDGE_S, self._max_age_s) or here is None:
                self._drop(number)
                continue
            mask = here.margin > 0
            area = int(np.count_nonzero(mask))
            free = area - int(np.count_nonzero(mask & taken))
            if area < _MIN_AREA or area > _MAX_GROWTH * seen.area or free < _MIN_FREE_SHARE * area:
                continue
            row = _bridged(seen.row, here, found.image_size)
            if row is not None:
                bridged.append(row)
        return bridged

    def _reduced(self, found: Instances, index: int) -> NDArray[np.bool_]:
        """The mask of a detection at working size."""
        assert self._size is not None
        return reduced(found.masks[index], found.rois[index], found.image_size, self._size)


def _bridged(row: Instances, propagated: _Candidate, image_size: tuple[int, int]) -> Instances | None:
    """The track of `row` where it is propagated: the mask in the image, and its mean probability as both scores. The
    hits are those of the detector. None if the mask has no pixel.
    """
    crop, roi = enlarged(propagated.margin, image_size)
    if not crop.size:
        return None
    score = np.array([propagated.probability[propagated.margin > 0].mean()], np.float32)
    return row.with_fields(
        image_size=image_size,
        boxes=roi[None].astype(np.float32),
        rois=roi[None],
        masks=[crop],
        scores=score,
        match_scores=score,
        states=np.array([BRIDGED], np.uint8),
    )


def _without_embeddings(instances: Instances) -> Instances:
    return instances.with_fields(embeddings=None, class_scores=None)
