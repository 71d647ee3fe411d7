"""Propagate: masks that are known once and carried along from image to image (approach (b) of the lecture)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine
from vis_ros.instances import CONFIRMED, LOST, Instances
from vis_ros.propagation.first_masks import working_size
from vis_ros.propagation.propagator import Propagator
from vis_ros.tracking.prompts import Prompt, PromptError, resolve_prompt

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

OBJECT = 'object'
"""Class of what was pointed at and no detector has a name for."""


@dataclass(frozen=True)
class PropagateConfig:
    """When objects begin, when they count as lost, and how much is kept.

    start_from_detections: objects begin with what the detector finds in the first image, and in one image of
        `detect_every` what is new; otherwise only with masks, boxes and points that are given.
    detect_every: images between two looks of the detector for what is new or was lost.
    new_track_score: a detection needs it to begin an object.
    free_share: share of a new detection's mask that must lie on no object.
    max_objects: at most so many are carried.
    smallest: pixels of a mask at the working size; below it has vanished.
    growth: an area this many times the mean of before has exploded.
    kept_score: mean probability on its mask below which an object has drifted to what it is not. Of one object alone
        each pixel has more; of several, one wins where all are unlikely.
    found_score: mean probability that a lost object's mask needs to count as found again.
    max_age_s: a lost object that a detection began is forgotten after so many seconds; one that a person began stays.
    history_s, history_frames: images that marks may refer to: of so many seconds, and at most so many.
    """

    start_from_detections: bool = True
    detect_every: int = 10
    new_track_score: float = 0.6
    free_share: float = 0.7
    max_objects: int = 8
    smallest: int = 20
    growth: float = 4.0
    kept_score: float = 0.5
    found_score: float = 0.6
    max_age_s: float = 10.0
    history_s: float = 2.0
    history_frames: int = 30


@dataclass(eq=False)
class _Object:
    """What is remembered of one object beside what the propagator keeps.

    area: slow mean of its pixels; box: the last one, x0 y0 x1 y1; both at the working size. embedding: of the detection
    that it began with, or None. by_hand: a person began it.
    """

    class_id: int
    first_seen: float
    last_seen: float
    area: float
    box: NDArray[np.float64]
    embedding: NDArray[np.float32] | None
    by_hand: bool
    hits: int = 1
    lost: bool = False


@dataclass(frozen=True, eq=False)
class _Kept:
    """An image that marks may refer to. image: at the working size; source_size: (height, width) of what came."""

    stamp: float
    image: Image
    source_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Carried:
    """An object in the newest image. margin: (h, w), how much more it has than the background and any other object, so
    that it is positive on its mask, and never on two; score: mean probability on the mask."""

    margin: NDArray[np.float32]
    score: float

    @property
    def mask(self) -> Mask:
        return np.asarray(self.margin > 0, bool)


_AREA_RATE = 0.1
"""Share of the newest area in the mean."""
_SAME_OBJECT = 0.5
"""Probability of eq. 2 at which a detection is a lost object."""
_STAMP_TOLERANCE_S = 1e-3


class Propagate:
    """A `Tracker` of one propagator. An engine, which cameras may share, finds objects and gives them names.

    Without an engine objects begin by `begin` and `track_object` only. Numbers count from 1 and are never used again
    within an epoch. All that is kept has a bound.

    The working size is decided by the first image; later ones are resized to the same, so objects outlast another size.
    A mask that vanishes, explodes or drifts is dropped and its object is LOST: it is found again by what the propagator
    remembers of its reference, or by a detection with its embedding.

    Raises ValueError where objects are to start from detections and there is no engine.
    """

    def __init__(self, propagator: Propagator, engine: Engine | None, config: PropagateConfig | None = None) -> None:
        self.config = config or PropagateConfig()
        if self.config.start_from_detections and engine is None:
            raise ValueError('objects are to start from detections, but there is no engine that detects')
        self.class_names: tuple[str, ...] = (*(engine.class_names if engine else ()), OBJECT)
        self.epoch = 0
        self._propagator = propagator
        self._engine = engine
        self._clear()

    def _clear(self) -> None:
        self._objects: dict[int, _Object] = {}
        self._next_id = 1
        self._size: tuple[int, int] | None = None
        self._kept: deque[_Kept] = deque(maxlen=self.config.history_frames)
        self._count = 0
        self._propagator.reset()

    @property
    def identities(self) -> int:
        return len(self._objects)

    @property
    def lost(self) -> int:
        """How many objects are lost at present."""
        return sum(each.lost for each in list(self._objects.values()))  # another thread may begin one meanwhile

    def reset(self) -> None:
        """Forget every object and raise the epoch."""
        self._clear()
        self.epoch += 1

    # --- images -----------------------------------------------------------------------------------------------------

    def begin(self, image: Image, stamp: float, masks: Mapping[int, NDArray[np.generic]]) -> Instances:
        """Take an image whose objects are known, as an annotated first frame: id, from 1, -> mask (H, W), 0 or not.

        Raises PromptError for an empty mask, one of another size, and too many; objects before it are then begun.
        """
        kept = self._keep(image, stamp)
        carried = {}
        for number, mask in masks.items():
            found = resolve_prompt(Prompt(mask=mask), kept.image, kept.source_size, self._nothing(kept))
            self._start(number, kept, found.mask, None, by_hand=True)
            carried[number] = _Carried((mask != 0) * np.float32(2) - 1, 1.0)
        return self._instances(carried, kept)

    def step(self, image: Image, stamp: float) -> Instances:
        """Carry every object into the next image, and look for new and lost ones. Lost objects have an empty mask."""
        kept = self._keep(image, stamp)
        carried = self._carry(kept)
        self._guard(carried, stamp)
        if self._engine is not None and self._count % self.config.detect_every == 0:
            self._look(self._engine, image, kept, carried)
        self._count += 1
        return self._instances(carried, kept)

    def _keep(self, image: Image, stamp: float) -> _Kept:
        size = (image.shape[0], image.shape[1])
        self._size = self._size or working_size(size, self._propagator.input_size)
        small = np.asarray(cv2.resize(image, self._size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        while self._kept and stamp - self._kept[0].stamp > self.config.history_s:
            self._kept.popleft()
        self._kept.append(_Kept(stamp, small, size))
        return self._kept[-1]

    def _carry(self, kept: _Kept) -> dict[int, _Carried]:
        if not self._objects:
            return {}
        planes = self._propagator.step(kept.image)
        carried = {}
        for number, plane, margin in zip(self._propagator.object_ids, planes[1:], margins(planes), strict=True):
            mask = margin > 0
            carried[number] = _Carried(margin, float(plane[mask].mean()) if mask.any() else 0.0)
        return carried

    # --- the drift guard --------------------------------------------------------------------------------------------

    def _guard(self, carried: dict[int, _Carried], stamp: float) -> None:
        """Drop masks that vanished, exploded or drifted, and objects that were lost for too long."""
        config = self.config
        for number, each in list(self._objects.items()):
            mask = carried[number].mask
            area = int(np.count_nonzero(mask))
            vanished = area < config.smallest
            exploded = area > config.growth * each.area + config.smallest
            doubtful = carried[number].score < (config.found_score if each.lost else config.kept_score)
            if not (vanished or exploded or doubtful):
                self._found(each, mask, stamp)
                continue
            each.lost = True
            if not each.by_hand and stamp - each.last_seen > config.max_age_s:
                self._drop(number)
                del carried[number]
            else:
                self._propagator.correct(number, np.zeros(mask.shape, bool))

    def _found(self, each: _Object, mask: Mask, stamp: float) -> None:
        each.lost = False
        each.area += _AREA_RATE * (int(np.count_nonzero(mask)) - each.area)
        each.box = tight_box(mask).astype(np.float64)
        each.last_seen = stamp
        each.hits += 1

    def _drop(self, number: int) -> None:
        del self._objects[number]
        self._propagator.forget(number)

    # --- the detector -----------------------------------------------------------------------------------------------

    def _look(self, engine: Engine, image: Image, kept: _Kept, carried: dict[int, _Carried]) -> None:
        """Find lost objects again, and begin what is new."""
        if not (self.lost or (self.config.start_from_detections and len(self._objects) < self.config.max_objects)):
            return
        assert self._size is not None
        (found,) = engine.infer([image])
        taken = np.zeros(self._size, bool)
        for number, each in carried.items():
            if not self._objects[number].lost:
                taken |= each.mask
        for index in np.argsort(-found.scores, kind='stable').tolist():
            mask = cv2.resize(found.full_mask(index), self._size[::-1], interpolation=cv2.INTER_NEAREST) > 0
            area = int(np.count_nonzero(mask))
            free = area - int(np.count_nonzero(mask & taken))
            if area < self.config.smallest or free < self.config.free_share * area:
                continue
            number = self._begin_again(found[[index]], mask, kept) or self._begin_new(found[[index]], mask, kept)
            if number:
                taken |= mask
                carried[number] = _Carried(mask * np.float32(2) - 1, float(found.scores[index]))

    def _begin_again(self, detection: Instances, mask: Mask, kept: _Kept) -> int:
        """The number of the lost object that a detection is, which goes on from it; 0 if it is none."""
        lost = [(n, each.embedding) for n, each in self._objects.items() if each.lost and each.embedding is not None]
        if not lost or detection.embeddings is None:
            return 0
        logits = np.array([0.0, *(float(detection.embeddings[0] @ embedding) for _, embedding in lost)])
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        best = int(chances.argmax())
        if best == 0 or chances[best] < _SAME_OBJECT:
            return 0
        number = lost[best - 1][0]
        self._propagator.correct(number, mask)
        each = self._objects[number]
        each.area = float(np.count_nonzero(mask))  # it may have come nearer meanwhile
        self._found(each, mask, kept.stamp)
        return number

    def _begin_new(self, detection: Instances, mask: Mask, kept: _Kept) -> int:
        """The number of the new object that a detection begins, 0 if it may not."""
        config = self.config
        may = config.start_from_detections and detection.association_scores[0] >= config.new_track_score
        if not may or len(self._objects) >= config.max_objects:
            return 0
        number = self._next_id
        self._start(number, kept, mask, detection, by_hand=False)
        return number

    def _start(self, number: int, kept: _Kept, mask: Mask, detection: Instances | None, by_hand: bool) -> None:
        if len(self._objects) >= self.config.max_objects:
            raise PromptError(
                f'{len(self._objects)} objects are tracked, which is the limit: forget one, or raise max_objects'
            )
        self._propagator.start(number, kept.image, mask)
        self._next_id = max(self._next_id, number + 1)
        embeddings = None if detection is None else detection.embeddings
        self._objects[number] = _Object(
            class_id=len(self.class_names) - 1 if detection is None else int(detection.class_ids[0]),
            first_seen=kept.stamp,
            last_seen=kept.stamp,
            area=float(np.count_nonzero(mask)),
            box=tight_box(mask).astype(np.float64),
            embedding=None if embeddings is None else embeddings[0],
            by_hand=by_hand,
        )

    # --- what a person says -----------------------------------------------------------------------------------------

    def track_object(self, mark: Prompt) -> int:
        """Track what a person marked in one of the latest images; returns its id. It is in the next image's instances.

        Raises:
            PromptError: says why the mark cannot be used; everything else is tracked on.
        """
        kept = self._kept_image(mark.stamp)
        if len(self._objects) >= self.config.max_objects:  # before the detector works for nothing
            raise PromptError(
                f'{len(self._objects)} objects are tracked, which is the limit: forget one, or raise max_objects'
            )
        found = self._engine.infer([kept.image])[0] if self._engine is not None else self._nothing(kept)
        marked = resolve_prompt(mark, kept.image, kept.source_size, found)
        pixels = int(np.count_nonzero(marked.mask))
        if pixels < self.config.smallest:  # it would be lost at once
            raise PromptError(
                f'the mask has {pixels} pixels at the size that the network works at; it takes {self.config.smallest}'
            )
        number = self._next_id
        detection = None if marked.detection is None else found[[marked.detection]]
        self._start(number, kept, marked.mask, detection, by_hand=True)
        return number

    def forget_object(self, track_id: int) -> None:
        """Track an object no longer. PromptError if it is not tracked."""
        if track_id not in self._objects:
            tracked = ', '.join(map(str, self._objects)) or 'none'
            raise PromptError(f'there is no object {track_id} to forget; tracked are: {tracked}')
        self._drop(track_id)

    def _kept_image(self, stamp: float | None) -> _Kept:
        if not self._kept:
            raise PromptError('no image has come yet in which an object could be marked')
        if stamp is None:
            return self._kept[-1]
        nearest = min(self._kept, key=lambda kept: abs(kept.stamp - stamp))
        if abs(nearest.stamp - stamp) <= _STAMP_TOLERANCE_S:
            return nearest
        oldest, newest = self._kept[0].stamp, self._kept[-1].stamp
        if stamp < oldest:
            raise PromptError(
                f'the stamp is {newest - stamp:.3f} s before the newest image, and images are kept for '
                f'{newest - oldest:.3f} s only'
            )
        where = 'after the newest image' if stamp > newest else 'between two images'
        raise PromptError(f'no image has this stamp, which is {abs(nearest.stamp - stamp):.3f} s {where}')

    # --- what comes out ---------------------------------------------------------------------------------------------

    @staticmethod
    def _nothing(kept: _Kept) -> Instances:
        return Instances.empty((kept.image.shape[0], kept.image.shape[1]))

    def _instances(self, carried: Mapping[int, _Carried], kept: _Kept) -> Instances:
        """Of every object in ascending order, in the pixels of the image that came."""
        height, width = kept.source_size
        assert self._size is not None
        to_source = np.array([width / self._size[1], height / self._size[0]] * 2)
        limits = np.array([width, height] * 2)
        rois, masks, states, scores = [], [], [], []
        numbers = sorted(self._objects)
        for number in numbers:
            each = self._objects[number]
            lost = each.lost or number not in carried
            mask = np.zeros((height, width), bool) if lost else _enlarge(carried[number].margin, (height, width)) > 0
            if mask.any():
                roi = tight_box(mask)
            else:  # the last known box
                lost = True
                roi = np.clip(np.rint(each.box * to_source), 0, limits).astype(np.int32)
            x0, y0, x1, y1 = roi.tolist()
            rois.append(roi)
            masks.append(np.ascontiguousarray(mask[y0:y1, x0:x1]).astype(np.uint8))
            states.append(LOST if lost else CONFIRMED)
            scores.append(0.0 if lost else carried[number].score)
        objects = [self._objects[number] for number in numbers]
        boxes = np.array(rois, np.int32).reshape(-1, 4)
        return Instances(
            image_size=kept.source_size,
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
        )


def margins(planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Of each plane (h, w) but the first, of (M + 1, h, w), how much larger it is than every other.

    It is positive where the object has the label. Enlarged bilinearly, too, no two of them are positive in one place.
    """
    ordered = np.partition(planes, len(planes) - 2, 0)
    best, second = ordered[-1], ordered[-2]
    return [np.where(plane == best, plane - second, plane - best) for plane in planes[1:]]


def _enlarge(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def tight_box(mask: Mask) -> NDArray[np.int32]:
    """x0 y0 x1 y1 around the pixels of a mask, x1 and y1 exclusive."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return np.array([x, y, x + width, y + height], np.int32)
