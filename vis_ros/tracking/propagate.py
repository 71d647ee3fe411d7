"""Propagate: segment first, then propagate. Masks known once are followed from frame to frame by a propagation
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine
from vis_ros.instances import CONFIRMED, LOST, Instances
from vis_ros.masks.crop import tight_box
from vis_ros.masks.window_resize import enlarged, reduced
from vis_ros.propagation.margins import margins
from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.working_size import resize_to_working_size, working_size
from vis_ros.tracking.detection_filter import DetectionFilter
from vis_ros.tracking.frame_history import BufferedFrame, FrameHistory
from vis_ros.tracking.prompts import OBJECT, Prompt, PromptError, resolve_prompt
from vis_ros.tracking.propagate_config import PropagateConfig
from vis_ros.tracking.settings import Settings
from vis_ros.tracking.tracker import Box, Point

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(eq=False)
class _Object:
    """What is stored of one track beside what the propagator stores.

    area: running mean of its mask pixels; mask, box: the last ones, x0 y0 x1 y1; all at working size. embedding: of
    the detection that it started with, or None. prompted: whether it started from a prompt.
    """

    class_id: int
    first_seen: float
    last_seen: float
    area: float
    mask: Mask
    box: NDArray[np.float64]
    embedding: NDArray[np.float32] | None
    prompted: bool
    hits: int = 1
    lost: bool = False

    def see(self, mask: Mask, stamp: float) -> None:
        """The object is visible with this mask."""
        self.lost = False
        self.area += _AREA_RATE * (int(np.count_nonzero(mask)) - self.area)
        self.mask = mask
        self.box = tight_box(mask).astype(np.float64)
        self.last_seen = stamp
        self.hits += 1


@dataclass(frozen=True, eq=False)
class _Propagated:
    """A track in the newest frame. margin: (h, w), see `margins`; score: mean probability on its mask."""

    margin: NDArray[np.float32]
    score: float

    @property
    def mask(self) -> Mask:
        return np.asarray(self.margin > 0, bool)

    @classmethod
    def detected(cls, mask: Mask, score: float) -> _Propagated:
        """A track whose mask comes from a detection."""
        return cls(mask * np.float32(2) - 1, score)


_AREA_RATE = 0.1
"""Weight of the newest area in the running mean."""
_SAME_OBJECT = 0.5
"""Minimum association probability for a detection to recover a lost track."""
_KNOWN_IOU = 0.5
"""Least mask IoU of a prompt and a track that are one object."""
_NOTHING = np.full((1, 1), -1, np.float32)
"""The margin of a lost track."""


class Propagate:
    """A `Tracker` of one propagator and, to find and name objects, an engine that several cameras may share.

    Without an engine tracks start from prompts only. Track ids count from 1 and are never reused before `reset`. Memory
    is bounded.

    The first image decides the working size; later images of another size are resized to the same, so tracks survive.
    A track is LOST while its mask vanishes, explodes or drifts. It recovers by what the propagator stores of its
    reference frame, or by a detection with a similar embedding.

    wanted: which detections of the engine are used; None uses all.

    Raises ValueError where tracks are to start from detections and there is no engine.
    """

    def __init__(
        self,
        propagator: Propagator,
        engine: Engine | None,
        config: PropagateConfig | None = None,
        wanted: DetectionFilter | None = None,
    ) -> None:
        self.config = config or PropagateConfig()
        if self.config.start_from_detections and engine is None:
            raise ValueError('tracks are to start from detections, but there is no detector')
        self.class_names: tuple[str, ...] = (*(engine.class_names if engine else ()), OBJECT)
        self._propagator = propagator
        self._engine = engine
        self._filter = wanted if wanted or engine is None else DetectionFilter(engine)
        self._clear()

    def _clear(self) -> None:
        self._objects: dict[int, _Object] = {}
        self._next_id = 1
        self._size: tuple[int, int] | None = None
        self._history = FrameHistory(self.config.history_s, self.config.history_frames)
        self._count = 0
        self._propagator.reset()

    @property
    def identities(self) -> int:
        return len(self._objects)

    @property
    def lost(self) -> int:
        return sum(each.lost for each in list(self._objects.values()))  # another thread may start one meanwhile

    @property
    def state(self) -> Mapping[str, object]:
        return self._propagator.state

    def reset(self) -> None:
        """Delete every track, and count track ids from 1 again."""
        self._clear()

    def configure(self, settings: Settings) -> None:
        if self._filter is not None:
            self._filter.configure(settings.score_threshold, settings.classes)
        self.config = settings.propagate_config()

    # --- frames -----------------------------------------------------------------------------------------------------

    def step(
        self, image: Image, stamp: float, found: Instances | None = None, *, after: Image | None = None
    ) -> Instances:
        """Propagate every track into the next image, and detect new and lost objects. LOST tracks have an empty
        mask.
        """
        frame = self._buffer(image, stamp)
        propagated = self._propagate(frame, after)
        self._check_drift(propagated, stamp)
        if self._engine is not None and self._count % self.config.detect_every == 0:
            self._detect(image, frame, propagated, found)
        self._count += 1
        return self._instances(propagated, frame)

    def _buffer(self, image: Image, stamp: float) -> BufferedFrame:
        size = (image.shape[0], image.shape[1])
        self._size = self._size or working_size(size, self._propagator.input_size)
        frame = BufferedFrame(stamp, resize_to_working_size(image, self._size), size)
        self._history.add(frame)
        return frame

    def _propagate(self, frame: BufferedFrame, after: Image | None) -> dict[int, _Propagated]:
        if not self._objects:
            return {}
        assert self._size is not None
        next_image = None if after is None else resize_to_working_size(after, self._size)
        planes = self._propagator.step(frame.image, next_image)
        propagated = {}
        for number, plane, margin in zip(self._propagator.object_ids, planes[1:], margins(planes), strict=True):
            mask = margin > 0
            propagated[number] = _Propagated(margin, float(plane[mask].mean()) if mask.any() else 0.0)
        return propagated

    # --- drift ------------------------------------------------------------------------------------------------------

    def _check_drift(self, propagated: dict[int, _Propagated], stamp: float) -> None:
        """Mark tracks with an implausible mask as lost, and delete those that have been lost for too long."""
        for number, each in list(self._objects.items()):
            mask = propagated[number].mask
            if self._is_plausible(each, mask, propagated[number].score):
                each.see(mask, stamp)
            elif not each.prompted and stamp - each.last_seen > self.config.max_age_s:
                self._drop(number)
                del propagated[number]
            else:
                each.lost = True
                self._propagator.correct(number, np.zeros(mask.shape, bool))

    def _is_plausible(self, each: _Object, mask: Mask, score: float) -> bool:
        config, area = self.config, int(np.count_nonzero(mask))
        vanished = area < config.min_area
        exploded = area > config.max_growth * each.area + config.min_area
        drifted = score < (config.recover_score if each.lost else config.keep_score)
        return not (vanished or exploded or drifted)

    def _drop(self, number: int) -> None:
        del self._objects[number]
        self._propagator.forget(number)

    # --- the detector -----------------------------------------------------------------------------------------------

    def _detect(
        self, image: Image, frame: BufferedFrame, propagated: dict[int, _Propagated], found: Instances | None
    ) -> None:
        """Recover lost tracks, and start new ones; adds their masks to `propagated`."""
        if not (self.lost or self._may_start()):
            return
        assert self._size is not None
        found = self._detections(image, found)
        taken = np.zeros(self._size, bool)
        for number, each in propagated.items():
            if not self._objects[number].lost:
                taken |= each.mask
        for index in np.argsort(-found.scores, kind='stable').tolist():
            mask = reduced(found.masks[index], found.rois[index], found.image_size, self._size)
            area = int(np.count_nonzero(mask))
            free = area - int(np.count_nonzero(mask & taken))
            if area < self.config.min_area or free < self.config.free_share * area:
                continue
            track = self._track_of(found[index], mask, frame)
            if track is not None:
                taken |= mask
                propagated[track] = _Propagated.detected(mask, float(found.scores[index]))

    def _detections(self, image: Image, found: Instances | None = None) -> Instances:
        """The detections above the threshold, of those `found` if they are given; none without a detector."""
        if self._engine is None or self._filter is None:
            return Instances.empty((image.shape[0], image.shape[1]))
        return self._filter.keep(self._engine.infer([image])[0] if found is None else found)

    def _track_of(self, detection: Instances, mask: Mask, frame: BufferedFrame) -> int | None:
        """The track that a detection recovers or starts, None if it does neither."""
        number = self._lost_track(detection)
        if number is not None:
            self._propagator.correct(number, mask)
            self._objects[number].area = float(np.count_nonzero(mask))  # it may have come closer meanwhile
            self._objects[number].see(mask, frame.stamp)
        elif self._may_start() and detection.association_scores[0] >= self.config.new_track_score:
            number = self._next_id
            self._start(number, frame, mask, detection, prompted=False)
        return number

    def _lost_track(self, detection: Instances) -> int | None:
        """The lost track that a detection most probably is, by eq. 2 of MaskTrack R-CNN; None if a new object is
        likelier.
        """
        lost = [(n, each.embedding) for n, each in self._objects.items() if each.lost and each.embedding is not None]
        if not lost or detection.embeddings is None:
            return None
        logits = np.array([0.0, *(float(detection.embeddings[0] @ embedding) for _, embedding in lost)])
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = int(probabilities.argmax())
        return None if best == 0 or probabilities[best] < _SAME_OBJECT else lost[best - 1][0]

    def _may_start(self) -> bool:
        return self.config.start_from_detections and len(self._objects) < self.config.max_objects

    def _start(
        self, number: int, frame: BufferedFrame, mask: Mask, detection: Instances | None, prompted: bool
    ) -> None:
        self._propagator.start(number, frame.image, mask)
        self._next_id = max(self._next_id, number + 1)
        embeddings = None if detection is None else detection.embeddings
        self._objects[number] = _Object(
            class_id=len(self.class_names) - 1 if detection is None else int(detection.class_ids[0]),
            first_seen=frame.stamp,
            last_seen=frame.stamp,
            area=float(np.count_nonzero(mask)),
            mask=mask,
            box=tight_box(mask).astype(np.float64),
            embedding=None if embeddings is None else embeddings[0],
            prompted=prompted,
        )

    # --- prompts ----------------------------------------------------------------------------------------------------

    def prompt(
        self,
        *,
        mask: NDArray[np.generic] | None = None,
        box: Box | None = None,
        point: Point | None = None,
        stamp: float | None = None,
    ) -> int:
        """Start tracking the object that a prompt shows in one of the latest frames; see `Tracker.prompt`."""
        prompt = Prompt(stamp, None if mask is None else np.asarray(mask), box, point)
        frame = self._history.at(stamp)
        if len(self._objects) >= self.config.max_objects:  # before the detector runs for nothing
            raise PromptError(
                f'{len(self._objects)} objects are tracked, which is the limit: forget one, or raise max_objects'
            )
        found = self._detections(frame.image)
        prompted = resolve_prompt(prompt, frame.image, frame.source_size, found)
        pixels = int(np.count_nonzero(prompted.mask))
        if pixels < self.config.min_area:  # it would be lost at once
            raise PromptError(
                f'the mask is too small: {pixels} pixels at network resolution, minimum {self.config.min_area}'
            )
        self._check_unknown(frame, prompted.mask)
        number = self._next_id
        detection = None if prompted.detection is None else found[prompted.detection]
        self._start(number, frame, prompted.mask, detection, prompted=True)
        return number

    def _check_unknown(self, frame: BufferedFrame, mask: Mask) -> None:
        """PromptError if a track is on the object already: two tracks of one object would take it from each other."""
        for number, each in self._objects.items():
            if each.lost or each.last_seen != frame.stamp:
                continue
            iou = np.count_nonzero(mask & each.mask) / np.count_nonzero(mask | each.mask)
            if iou >= _KNOWN_IOU:
                raise PromptError(
                    f'track {number} is on this object already (mask IoU {iou:.2f}): forget it first to start again'
                )

    def forget(self, track_id: int) -> None:
        """Stop tracking an object. Raises PromptError if it is not tracked."""
        if track_id not in self._objects:
            tracked = ', '.join(map(str, self._objects)) or 'none'
            raise PromptError(f'there is no track {track_id} to forget; tracks are: {tracked}')
        self._drop(track_id)

    # --- output -----------------------------------------------------------------------------------------------------

    def _instances(self, propagated: Mapping[int, _Propagated], frame: BufferedFrame) -> Instances:
        """All tracks in ascending order, in pixels of the original image."""
        height, width = frame.source_size
        assert self._size is not None
        to_source = np.array([width / self._size[1], height / self._size[0]] * 2)
        limits = np.array([width, height] * 2)
        rois, masks, states, scores = [], [], [], []
        numbers = sorted(self._objects)
        for number in numbers:
            each = self._objects[number]
            lost = each.lost or number not in propagated
            crop, roi = enlarged(_NOTHING if lost else propagated[number].margin, (height, width))
            if not crop.size:  # the last known box
                lost = True
                roi = np.clip(np.rint(each.box * to_source), 0, limits).astype(np.int32)
                crop = np.zeros((roi[3] - roi[1], roi[2] - roi[0]), np.uint8)
            rois.append(roi)
            masks.append(crop)
            states.append(LOST if lost else CONFIRMED)
            scores.append(0.0 if lost else propagated[number].score)
        objects = [self._objects[number] for number in numbers]
        boxes = np.array(rois, np.int32).reshape(-1, 4)
        return Instances(
            image_size=frame.source_size,
            boxes=boxes.astype(np.float32),
            scores=np.array(scores, np.float32),
            class_ids=np.array([each.class_id for each in objects], np.int32),
            rois=boxes,
            masks=masks,
            track_ids=np.array(numbers, np.uint32),
            match_scores=np.array(scores, np.float32),
            hits=np.array([each.hits for each in objects], np.uint32),
            states=np.array(states, np.uint8),
            first_seen=np.array([each.first_seen for each in objects], np.float64),
            class_names=self.class_names,
        )
