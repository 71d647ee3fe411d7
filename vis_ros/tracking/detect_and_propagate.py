"""DetectAndPropagate: MaskTrack R-CNN detects objects, and a propagator bridges the frames in which it misses them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import BRIDGED, CONFIRMED, LOST, Instances
from vis_ros.masks.iou import mask_iou
from vis_ros.masks.window_resize import enlarged, reduced
from vis_ros.propagation.margins import margins
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.working_size import resize_to_working_size, working_size
from vis_ros.tracking.detect_and_track import DetectAndTrack
from vis_ros.tracking.frame_history import BufferedFrame, FrameHistory
from vis_ros.tracking.prompts import OBJECT, Prompt, PromptError, resolve_prompt
from vis_ros.tracking.settings import Settings
from vis_ros.tracking.tracker import Box, Point

Image = NDArray[np.uint8]

_BRIDGE_S = 1.0
"""A track is bridged for this long after its last detection."""
_MAX_OBJECTS = 8
_LEAST_SCORE, _RECOVER_SCORE = 0.5, 0.6
"""Mean probability on its mask below which a prompted track is lost, and that it needs to be found again."""
_SAME_OBJECT = 0.5
"""Least mask IoU of a prompt and a track that are one object."""
_HISTORY_S, _HISTORY_FRAMES = 2.0, 30
"""How far back prompts can refer."""
_MIN_AREA, _MAX_GROWTH, _MIN_FREE_SHARE = 20, 2.0, 0.5
"""A propagated mask counts if it has this many pixels at working size, at most this many times the last detected
area, and this share of it is on no detection; otherwise the object has probably got another track.
"""


@dataclass(eq=False)
class _Seen:
    """The last detection of a track. row: that one instance; area: of its mask at working size.

    prompted: whether a prompt showed it; then area is that of its last mask. lost: whether it cannot be found.
    """

    stamp: float
    row: Instances
    area: int
    prompted: bool = False
    lost: bool = False


@dataclass(eq=False)
class _Candidate:
    """A track in the newest frame. margin: (h, w), see `margins`; probability: (h, w)."""

    margin: NDArray[np.float32]
    probability: NDArray[np.float32]

    @property
    def mask(self) -> NDArray[np.bool_]:
        return np.asarray(self.margin > 0, bool)

    @property
    def score(self) -> float:
        """Mean probability on its mask, 0 if it is empty."""
        return float(self.probability[self.mask].mean()) if self.mask.any() else 0.0


class DetectAndPropagate:
    """A `Tracker` that adds the confirmed tracks that the detector has just missed to what another tracker finds.

    Every detection corrects the propagated mask of its track. At most _MAX_OBJECTS tracks are propagated: those that a
    prompt showed, and the confirmed ones seen last. A track that the memory has deleted for its age is not bridged.

    A prompt names the track that is on its object, or starts one. This track is followed wherever the detector misses
    it, is LOST while it cannot be found, and stays in the memory until `forget` or `reset`.

    Args:
        tracker: detects and associates.
        propagator: of this camera.
        max_age_s: of the memory.
        only_prompted: bridge no other tracks than those that a prompt showed.
    """

    def __init__(
        self,
        tracker: DetectAndTrack,
        propagator: Propagator,
        max_age_s: float = math.inf,
        only_prompted: bool = False,
    ) -> None:
        self.class_names: tuple[str, ...] = (*tracker.class_names, OBJECT)
        self._tracker = tracker
        self._propagator = propagator
        self._max_age_s = max_age_s
        self._only_prompted = only_prompted
        self._history = FrameHistory(_HISTORY_S, _HISTORY_FRAMES)
        self._clear()

    def _clear(self) -> None:
        self._seen: dict[int, _Seen] = {}
        self._size: tuple[int, int] | None = None
        self._history.clear()
        self._propagator.reset()

    @property
    def identities(self) -> int:
        return self._tracker.identities

    @property
    def lost(self) -> int:
        return sum(each.lost for each in list(self._seen.values()))  # another thread may start one meanwhile

    @property
    def state(self) -> Mapping[str, object]:
        return self._propagator.state

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
        """Follow the object that a prompt shows wherever the detector misses it; see `Tracker.prompt`."""
        prompt = Prompt(stamp, None if mask is None else np.asarray(mask), box, point)
        frame = self._history.at(stamp)
        if sum(each.prompted for each in self._seen.values()) >= _MAX_OBJECTS:  # before the detector runs for nothing
            raise PromptError(f'{_MAX_OBJECTS} objects from prompts are followed, which is the limit: forget one')
        found = self._tracker.detect(frame.image)
        prompted = resolve_prompt(prompt, frame.image, frame.source_size, found)
        area = int(np.count_nonzero(prompted.mask))
        if area < _MIN_AREA:
            raise PromptError(f'the mask is too small: {area} pixels at network resolution, minimum {_MIN_AREA}')
        detection = None if prompted.detection is None else found[prompted.detection]
        row = self._track_on(frame, prompted.mask)
        if row is None:
            row = self._new_track(frame, prompted.mask, detection, found)
        assert row.track_ids is not None
        number = int(row.track_ids[0])
        if number not in self._seen:
            self._make_room()
        self._propagator.start(number, frame.image, prompted.mask)
        self._seen[number] = _Seen(frame.stamp, row, area, prompted=True)
        return number

    def _track_on(self, frame: BufferedFrame, mask: NDArray[np.bool_]) -> Instances | None:
        """The track of a frame whose mask is about `mask`; None if there is none."""
        tracks = frame.tracks
        assert tracks is not None
        whole = (0, 0, mask.shape[1], mask.shape[0])
        overlaps = [mask_iou(self._reduced(tracks, i), whole, mask, whole) for i in range(len(tracks))]
        best = int(np.argmax(overlaps)) if overlaps else 0
        return tracks[best] if overlaps and overlaps[best] >= _SAME_OBJECT else None

    def _new_track(
        self, frame: BufferedFrame, mask: NDArray[np.bool_], detection: Instances | None, found: Instances
    ) -> Instances:
        """Start a track in the memory; returns it as an instance of the frame."""
        assert found.embeddings is not None, 'an engine gives an embedding for every detection'
        embedding = np.zeros(found.embeddings.shape[1], np.float32)
        class_id = len(self.class_names) - 1
        if detection is not None and detection.embeddings is not None:
            embedding, class_id = detection.embeddings[0], int(detection.class_ids[0])
        crop, roi = enlarged(mask * np.float32(2) - 1, frame.source_size)
        number = self._tracker.start(roi.astype(np.float32), class_id, embedding)
        return Instances(
            image_size=frame.source_size,
            boxes=roi[None].astype(np.float32),
            scores=np.ones(1, np.float32),
            class_ids=np.array([class_id], np.int32),
            rois=roi[None],
            masks=[crop],
            class_names=self.class_names,
            track_ids=np.array([number], np.uint32),
            match_scores=np.ones(1, np.float32),
            hits=np.ones(1, np.uint32),
            states=np.array([CONFIRMED], np.uint8),
            first_seen=np.array([frame.stamp]),
        )

    def forget(self, track_id: int) -> None:
        """Follow a prompted track no longer. It stays while the detector sees it."""
        if track_id not in self._seen or not self._seen[track_id].prompted:
            tracked = ', '.join(str(number) for number, each in self._seen.items() if each.prompted) or 'none'
            raise PromptError(f'there is no track {track_id} from a prompt to forget; tracks are: {tracked}')
        self._drop(track_id)

    def step(
        self, image: Image, stamp: float, found: Instances | None = None, *, after: Image | None = None
    ) -> Instances:
        """The detected tracks and those that could be bridged, in ascending order of track id."""
        found = self._with_prompted_confirmed(self._tracker.step(image, stamp, found))
        self._size = self._size or working_size(image.shape[:2], self._propagator.input_size)
        small = resize_to_working_size(image, self._size)
        by_track = self._propagate(small) if self._seen else {}
        self._correct(found, small, stamp)
        bridged = self._bridge(by_track, found, stamp)
        if bridged:
            together = Instances.cat([_without_embeddings(found), *map(_without_embeddings, bridged)])
            assert together.track_ids is not None
            found = together[np.argsort(together.track_ids, kind='stable')]
        self._history.add(BufferedFrame(stamp, small, found.image_size, _without_embeddings(found)))
        return found

    def _with_prompted_confirmed(self, found: Instances) -> Instances:
        """With the class names of this tracker; a track that a prompt showed needs no more detections."""
        assert found.track_ids is not None and found.states is not None
        prompted = [number for number, each in self._seen.items() if each.prompted]
        states = np.where(np.isin(found.track_ids, prompted), CONFIRMED, found.states)
        return found.with_fields(states=states.astype(np.uint8), class_names=self.class_names)

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
            elif not self._only_prompted and self._make_room(stamp):
                self._propagator.start(number, small, mask)
            else:
                continue
            prompted = number in self._seen and self._seen[number].prompted
            self._seen[number] = _Seen(stamp, found[index], int(np.count_nonzero(mask)), prompted)

    def _make_room(self, stamp: float = math.inf) -> bool:
        """Whether one more track can be propagated; gives up the one unseen for longest, but none seen at `stamp` and
        none that a prompt showed.
        """
        if len(self._seen) < _MAX_OBJECTS:
            return True
        others = [number for number, each in self._seen.items() if not each.prompted and each.stamp < stamp]
        if others:
            self._drop(min(others, key=lambda number: self._seen[number].stamp))
        return bool(others)

    def _drop(self, number: int) -> None:
        del self._seen[number]
        self._propagator.forget(number)

    def _bridge(self, propagated: dict[int, _Candidate], found: Instances, stamp: float) -> list[Instances]:
        """One instance for each track that was not detected and has a plausible propagated mask, or is prompted."""
        assert found.track_ids is not None and self._size is not None
        missed = [number for number in self._seen if number not in found.track_ids]
        taken = np.zeros(self._size, bool)
        for index in range(len(found)) if missed else ():
            taken |= self._reduced(found, index)
        bridged = []
        for number in missed:
            seen, here = self._seen[number], propagated.get(number)
            is_old = not seen.prompted and stamp - seen.stamp > min(_BRIDGE_S, self._max_age_s)
            if is_old or here is None:
                self._drop(number)
                continue
            row = _bridged(seen.row, here, found.image_size) if self._is_plausible(seen, here, taken) else None
            if seen.prompted:
                row = self._followed(number, seen, here, row, found.image_size)
            if row is not None:
                bridged.append(row)
        return bridged

    def _is_plausible(self, seen: _Seen, here: _Candidate, taken: NDArray[np.bool_]) -> bool:
        area = int(np.count_nonzero(here.mask))
        free = area - int(np.count_nonzero(here.mask & taken))
        least = 0.0 if not seen.prompted else _RECOVER_SCORE if seen.lost else _LEAST_SCORE
        has_size = _MIN_AREA <= area <= _MAX_GROWTH * seen.area
        return has_size and free >= _MIN_FREE_SHARE * area and here.score >= least

    def _followed(
        self, number: int, seen: _Seen, here: _Candidate, row: Instances | None, image_size: tuple[int, int]
    ) -> Instances:
        """A prompted track: the row where it is propagated, or, if there is none, LOST in its last box."""
        seen.lost = row is None
        if row is None:
            self._propagator.correct(number, np.zeros_like(here.mask))
            self._tracker.keep(number)
            return _lost(seen.row, image_size)
        seen.row, seen.area = row, int(np.count_nonzero(here.mask))
        self._tracker.keep(number, row.boxes[0])
        return row

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
    score = np.array([propagated.score], np.float32)
    return row.with_fields(
        image_size=image_size,
        boxes=roi[None].astype(np.float32),
        rois=roi[None],
        masks=[crop],
        scores=score,
        match_scores=score,
        states=np.array([BRIDGED], np.uint8),
    )


def _lost(row: Instances, image_size: tuple[int, int]) -> Instances:
    """The track of `row` where it cannot be found: its last box, in an image of this size, and an empty mask."""
    scales = np.tile(np.divide(image_size, row.image_size)[::-1], 2)
    roi = np.rint(row.rois[0] * scales).astype(np.int32)
    zero = np.zeros(1, np.float32)
    return row.with_fields(
        image_size=image_size,
        boxes=row.boxes * scales,
        rois=roi[None],
        masks=[np.zeros((roi[3] - roi[1], roi[2] - roi[0]), np.uint8)],
        scores=zero,
        match_scores=zero,
        states=np.array([LOST], np.uint8),
    )


def _without_embeddings(instances: Instances) -> Instances:
    return instances.with_fields(embeddings=None, class_scores=None)
