"""Propagating the first mask of every object through a video: the semi-supervised protocol of DAVIS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.propagator import Propagator
from vis_ros.propagation.working_size import resize_to_working_size, working_size
from vis_ros.with_next import with_next

Masks = Mapping[int, NDArray[np.bool_]]


def propagate_first_masks(
    propagator: Propagator, frames: Iterable[tuple[NDArray[np.uint8], Masks]]
) -> Iterator[NDArray[np.int64]]:
    """Propagate the first mask of each object; all later masks of it are ignored.

    Args:
        propagator: is reset first.
        frames: images (H, W, 3) uint8 BGR, all of one size, each with the masks (H, W) of its objects by id, from 1.

    Yields:
        one label map (H, W) for each frame: 0 background, else object ids. In the frame where an object starts, its
        label is the given mask.
    """
    propagator.reset()
    for (image, masks), following in with_next(frames):
        size = working_size(image.shape[:2], propagator.input_size)
        small = resize_to_working_size(image, size)
        labels = np.zeros(image.shape[:2], np.int64)
        known = propagator.object_ids
        if known:
            after = None if following is None else resize_to_working_size(following[0], size)
            labels = _labels(propagator.step(small, after), known, image.shape[:2])
        for object_id, mask in masks.items():
            if object_id in known or not mask.any():
                continue
            reduced = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) >= 0.5
            if reduced.any():
                propagator.start(object_id, small, reduced)
                labels[mask] = object_id
        yield labels


def _labels(planes: NDArray[np.float32], object_ids: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.int64]:
    """The id of the largest of the planes (M + 1, h, w) after enlarging them to (height, width)."""
    large = [cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for plane in planes]
    return np.array([0, *object_ids], np.int64)[np.argmax(large, 0)]
