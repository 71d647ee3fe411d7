"""RgmpPropagator: mask propagation with RGMP. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.rgmp.soft_aggregation import soft_aggregation

Floats = NDArray[np.float32]


@dataclass
class _ReferenceFrame:
    """An image in which objects started.

    image: (h, w, 3) uint8 BGR.
    masks: object id -> mask (h, w).
    union: reference features of the union of the masks, computed when needed.
    """

    image: NDArray[np.uint8]
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    union: Floats | None = None


@dataclass
class _RgmpObject:
    """The state of one object.

    frame: its reference frame.
    reference: features (1, C, h / 32, w / 32) of its reference frame.
    previous: soft mask (h, w) in the last image.
    """

    frame: _ReferenceFrame
    reference: Floats
    previous: Floats


class RgmpPropagator:
    """A `Propagator` that uses RGMP.

    Its state: the reference frame of each object with its mask and features, and the previous mask of each object.

    One object costs one pass of the network. M objects with the same reference frame cost M + 1 passes: the last one
    segments the union of their masks, whose complement is the background (section 3.3). With several reference frames
    there is one union for each, and the background is the complement of all of them.
    """

    def __init__(self, parts: NetworkParts) -> None:
        self._parts = parts
        self._objects: dict[int, _RgmpObject] = {}
        self._size: tuple[int, ...] | None = None

    @property
    def input_size(self) -> tuple[int, int]:
        return self._parts.config.input_size

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(self._objects))

    @property
    def state(self) -> Mapping[str, object]:
        return {}

    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        size = check_start(object_id, image, mask, self._size)
        if object_id in self._objects:
            self.forget(object_id)
        frame = self._reference_frame(image)
        frame.masks[object_id] = mask.copy()
        frame.union = None
        self._objects[object_id] = _RgmpObject(frame, self._reference(image, mask), mask.astype(np.float32))
        self._size = size

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        check_size(image.shape[:2], self._size)
        objects = [self._objects[number] for number in self.object_ids]
        if not objects:
            return np.ones((1, *image.shape[:2]), np.float32)
        frames = {id(each.frame): each.frame for each in objects}
        shared = [frame for frame in frames.values() if len(frame.masks) > 1]
        previous = [each.previous for each in objects] + [self._previous_of_union(frame) for frame in shared]
        references = [each.reference for each in objects] + [self._reference_of_union(frame) for frame in shared]
        passes = zip(previous, references, strict=True)
        found = np.stack([self._parts.run('segment', image, *each)[0] for each in passes])
        alone = [found[i] for i, each in enumerate(objects) if len(each.frame.masks) == 1]
        background = np.prod([1 - each for each in (*alone, *found[len(objects) :])], axis=0)
        if len(objects) == 1:
            planes = np.concatenate((background[None], found))
        else:
            planes = soft_aggregation(background, found[: len(objects)])
        for each, plane in zip(objects, planes[1:], strict=True):
            each.previous = plane.copy()  # the caller owns the planes
        return planes

    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        check_size(mask.shape, self._size)
        self._objects[object_id].previous = mask.astype(np.float32)

    def forget(self, object_id: int) -> None:
        frame = self._objects.pop(object_id).frame
        del frame.masks[object_id]
        frame.union = None

    def reset(self) -> None:
        self._objects.clear()
        self._size = None

    # ------------------------------------------------------------------------------------------------------------

    def _reference_frame(self, image: NDArray[np.uint8]) -> _ReferenceFrame:
        """The reference frame of an image: the existing one if other objects started in it, otherwise a new one."""
        for each in self._objects.values():
            if np.array_equal(each.frame.image, image):
                return each.frame
        return _ReferenceFrame(image.copy())

    def _reference(self, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Floats:
        return self._parts.run('reference', image, mask.astype(np.float32))[0]

    def _reference_of_union(self, frame: _ReferenceFrame) -> Floats:
        if frame.union is None:
            frame.union = self._reference(frame.image, np.any(list(frame.masks.values()), axis=0))
        return frame.union

    def _previous_of_union(self, frame: _ReferenceFrame) -> Floats:
        previous = np.sum([self._objects[number].previous for number in frame.masks], axis=0)
        return np.asarray(np.minimum(previous, 1), np.float32)
