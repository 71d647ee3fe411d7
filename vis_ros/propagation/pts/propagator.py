"""PtsPropagator: mask propagation with PTS. Imports torch only to fine-tune."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.crop import tight_box
from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.pts.background_tuning import BackgroundTuning
from vis_ros.propagation.pts.config import PtsConfig
from vis_ros.propagation.pts.gaussian_mask import gaussian_mask
from vis_ros.propagation.pts.object_tracking import PUBLISHED, ObjectTracker, OtnFrame, TrackingSettings
from vis_ros.propagation.pts.proposals import Proposals
from vis_ros.propagation.pts.region_crops import Floats, clipped_boxes, enlarged_boxes, mask_crop, pasted

_CONTEXT = 1.5
_WHOLE_FRAME = 0.6
"""An object whose box covers more than this share of the frame is segmented in the whole frame."""
_MIN_AREA = 50
"""Smallest mask in pixels for tracking; the box of a smaller object stays where it is."""
_BACKGROUND = 0.5
_CLASSIFIER = 'otn.classifier.'
"""Prefix of the weights that OTN starts with."""

Mask = NDArray[np.bool_]


@dataclass(eq=False)
class _PtsObject:
    """The state of one object.

    parts: of the network, fine-tuned for this object or shared by all.
    reference: features (1, C, s, s) of the reference crop.
    previous: mask (h, w) in the last image.
    box: (4,) in the last image.
    tracker: None if the object is too small to be tracked.
    tuning: the fine-tuning that may still run.
    """

    parts: NetworkParts
    reference: Floats
    previous: Mask
    box: Floats
    tracker: ObjectTracker | None
    tuning: BackgroundTuning | None = None

    def take_tuned(self) -> float | None:
        """Use the tuned network from now on if it became ready; returns the seconds that it took."""
        if self.tuning is None or self.tuning.parts is None:
            return None
        seconds = self.tuning.seconds
        self.parts, self.tuning = self.tuning.parts, None
        return seconds


class PtsPropagator:
    """A `Propagator` that uses PTS.

    Its state for each object: the features of its reference crop, its previous mask, the weights of OTN, and the box
    features of up to 100 frames that OTN trains on.

    OTN finds the box; RGSN segments the object in a crop of 1.5 times the box. A pixel belongs to the most probable
    object if its probability exceeds 0.5. Two details are not published: if mask and box agree, OTN continues from the
    box of the mask, because boxes set by OTN alone drift; and the previous mask is a heat map as in training, where the
    released code uses the mask itself. The features for OTN are computed once per frame for all objects.

    Args:
        parts: of the network.
        proposals: region proposals, such as `rpn_proposals`. With None, OTN tries random boxes around the last one.
        fine_tune_steps: steps of fine-tuning of RGSN for each object, once after `start` (published: 800). It needs
            parts in torch.
        in_background: fine-tune in a thread, while the object is tracked with the untuned weights. Otherwise `start`
            waits for it, and results are the same in every run.
    """

    def __init__(
        self,
        parts: NetworkParts,
        proposals: Proposals | None = None,
        fine_tune_steps: int = 0,
        in_background: bool = False,
    ) -> None:
        self._parts, self._config = parts, cast(PtsConfig, parts.config)
        self._proposals = proposals
        self._fine_tune_steps, self._in_background = fine_tune_steps, in_background
        self._tracking = PUBLISHED if self._config.otn_features == 'vgg_m' else TrackingSettings()
        self._start_weights = parts.weights(_CLASSIFIER)
        self._objects: dict[int, _PtsObject] = {}
        self._tuned_s: float | None = None
        self._size: tuple[int, int] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._objects))

    @property
    def state(self) -> Mapping[str, object]:
        """How many objects are being fine-tuned, and how long the last one took."""
        if not self._fine_tune_steps:
            return {}
        running = sum(each.tuning is not None and each.tuning.is_running for each in list(self._objects.values()))
        took = 'none yet' if self._tuned_s is None else f'{self._tuned_s:.1f}'
        return {'objects being fine-tuned': running, 'last fine-tuning [s]': took}

    def start(self, object_id: int, image: NDArray[np.uint8], mask: Mask) -> None:
        size = check_start(object_id, image, mask, self._size)
        if object_id in self._objects:
            self.forget(object_id)
        box, mask = tight_box(mask).astype(np.float32), mask.copy()
        parts, tuning = self._tuned(object_id, image.copy(), mask)
        region = _region(box, size)
        cropped = mask_crop(mask, region, self._config.crop_size).astype(np.float32)
        reference = parts.run('reference', image, region, cropped)[0]
        is_large = np.count_nonzero(mask) > _MIN_AREA
        tracker = ObjectTracker(self._start_weights, box, self._otn_frame(image), self._tracking) if is_large else None
        self._objects[object_id] = _PtsObject(parts, reference, mask, box, tracker, tuning)
        self._size = size

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> Floats:
        size = check_size(image.shape[:2], self._size)
        objects = [self._objects[number] for number in self.object_ids]
        if not objects:
            return np.ones((1, *size), np.float32)
        frame = self._otn_frame(image)
        for each in objects:
            self._tuned_s = each.take_tuned() or self._tuned_s
            if each.tracker and each.tracker.find(frame):
                each.box = each.tracker.box
        found = [self._segment(each, image, size) for each in objects]
        planes = np.stack([np.full(size, _BACKGROUND, np.float32), *found])
        winner = planes.argmax(0)
        for index, each in enumerate(objects):
            each.previous = winner == index + 1
            _learn(each, frame)
        return planes

    def correct(self, object_id: int, mask: Mask) -> None:
        check_size(mask.shape, self._size)
        each = self._objects[object_id]
        each.previous = mask.copy()
        if mask.any():
            each.box = tight_box(mask).astype(np.float32)
            if each.tracker:
                each.tracker.move(each.box)

    def forget(self, object_id: int) -> None:
        tuning = self._objects.pop(object_id).tuning
        if tuning is not None:
            tuning.cancel()

    def reset(self) -> None:
        for object_id in self.object_ids:
            self.forget(object_id)
        self._size = None

    # ------------------------------------------------------------------------------------------------------------

    def _tuned(
        self, object_id: int, image: NDArray[np.uint8], mask: Mask
    ) -> tuple[NetworkParts, BackgroundTuning | None]:
        """The parts to start an object with, and the fine-tuning that runs."""
        if not self._fine_tune_steps:
            return self._parts, None
        from vis_ros.propagation.pts.rgsn_fine_tuning import fine_tuned_parts

        arguments = self._parts, image, mask, self._fine_tune_steps
        if self._in_background:
            return self._parts, BackgroundTuning(
                object_id, lambda is_cancelled: fine_tuned_parts(*arguments, is_cancelled)
            )
        started = time.monotonic()
        parts = fine_tuned_parts(*arguments)
        self._tuned_s = time.monotonic() - started
        return parts, None

    def _segment(self, each: _PtsObject, image: NDArray[np.uint8], size: tuple[int, int]) -> Floats:
        """Probabilities (h, w) of an object, 0 outside its crop."""
        region = _region(each.box, size)
        heat_map = gaussian_mask(mask_crop(each.previous, region, self._config.crop_size))
        return pasted(each.parts.run('segment', image, region, heat_map, each.reference)[0], region, size)

    def _otn_frame(self, image: NDArray[np.uint8]) -> OtnFrame:
        maps = self._parts.run('frame', image)
        proposals = np.zeros((0, 4), np.float32) if self._proposals is None else self._proposals(image)
        size = (image.shape[0], image.shape[1])
        return OtnFrame(size, proposals, lambda boxes: self._parts.run('box_features', boxes, *maps, any_size=True)[0])


def _learn(each: _PtsObject, frame: OtnFrame) -> None:
    """Update the tracker of an object from its new mask."""
    if each.tracker is None:
        return
    if each.previous.any():
        each.tracker.refine(tight_box(each.previous).astype(np.float32))
    each.tracker.learn(frame)


def _region(box: Floats, size: tuple[int, int]) -> Floats:
    """The crop region (4,) of a box: 1.5 times the box, clipped to the frame; the whole frame for a large box."""
    height, width = size
    if (box[2:] - box[:2]).prod() / (height * width) > _WHOLE_FRAME:
        return np.array([0, 0, width, height], np.float32)
    return clipped_boxes(enlarged_boxes(box[None], _CONTEXT), size)[0]
