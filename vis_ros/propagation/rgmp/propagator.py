"""RgmpPropagator: mask propagation with RGMP. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.crop import tight_box
from vis_ros.propagation.blocks.object_window import ObjectWindow, Size
from vis_ros.propagation.checks import check_size, check_start
from vis_ros.propagation.network_parts import NetworkParts
from vis_ros.propagation.rgmp.soft_aggregation import soft_aggregation

Floats = NDArray[np.float32]

_LIKELY = 0.5
"""An object is where its probability exceeds this."""


@dataclass
class _ReferenceFrame:
    """An image in which objects started.

    image: (h, w, 3) uint8 BGR.
    masks: object id -> mask (h, w).
    union: their union, made when needed.
    """

    image: NDArray[np.uint8]
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    union: _Reference | None = None


@dataclass
class _Reference:
    """A mask (h, w) in its reference frame.

    features: (1, C, s, t) of the window of each size (height, width) around the mask, computed when needed.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    features: dict[Size, Floats] = field(default_factory=dict)


@dataclass
class _RgmpObject:
    """The state of one object.

    frame: its reference frame.
    reference: its mask there.
    previous: soft mask (h, w) in the last image.
    """

    frame: _ReferenceFrame
    reference: _Reference
    previous: Floats


class RgmpPropagator:
    """A `Propagator` that uses RGMP.

    Its state: the reference frame of each object with its mask and features, and the previous mask of each object.

    One object costs one pass of the network. M objects with the same reference frame cost M + 1 passes: the last one
    segments the union of their masks, whose complement is the background (section 3.3). With several reference frames
    there is one union for each, and the background is the complement of all of them. Several objects are segmented in
    their `ObjectWindow`s, of the image and of the reference frame.
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
        reference = _Reference(frame.image, frame.masks[object_id])
        self._objects[object_id] = _RgmpObject(frame, reference, mask.astype(np.float32))
        self._size = size

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        check_size(image.shape[:2], self._size)
        objects = [self._objects[number] for number in self.object_ids]
        if not objects:
            return np.ones((1, *image.shape[:2]), np.float32)
        frames = {id(each.frame): each.frame for each in objects}
        shared = [frame for frame in frames.values() if len(frame.masks) > 1]
        found = np.stack(
            [self._segmented(image, each.previous, each.reference) for each in objects]
            + [self._segmented(image, self._previous_of_union(frame), _union(frame)) for frame in shared]
        )
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

    def _segmented(self, image: NDArray[np.uint8], previous: Floats, reference: _Reference) -> Floats:
        """The probability (h, w) of each pixel, from the soft mask (h, w) in the last image."""
        size, box = (image.shape[0], image.shape[1]), tight_box(previous > _LIKELY)
        is_alone = len(self._objects) == 1 or not box.any()
        window = ObjectWindow.whole(size) if is_alone else ObjectWindow.around(box, size, tight=True)
        features = self._features(reference, window.size)
        inputs = window.of_image(image), window.of_planes(previous), features
        return window.placed(self._parts.run('segment', *inputs, any_size=window.size != size)[0], size)

    def _features(self, reference: _Reference, size: Size) -> Floats:
        if size not in reference.features:
            image, mask = reference.image, reference.mask
            window = ObjectWindow.of_size(size, tight_box(mask), (mask.shape[0], mask.shape[1]))
            inputs = window.of_image(image), window.of_planes(mask).astype(np.float32)
            found = self._parts.run('reference', *inputs, any_size=size != mask.shape)
            reference.features[size] = found[0]
        return reference.features[size]

    def _previous_of_union(self, frame: _ReferenceFrame) -> Floats:
        previous = np.sum([self._objects[number].previous for number in frame.masks], axis=0)
        return np.asarray(np.minimum(previous, 1), np.float32)


def _union(frame: _ReferenceFrame) -> _Reference:
    if frame.union is None:
        frame.union = _Reference(frame.image, np.any(list(frame.masks.values()), axis=0))
    return frame.union
