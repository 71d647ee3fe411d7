"""The masks of first frames carried through a video, which is how semi-supervised propagation is tested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.propagator import Propagator

_DIVISOR = 32

Masks = Mapping[int, NDArray[np.bool_]]


def working_size(image_size: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of what a propagator gets of images of (height, width).

    The image is fitted into the limits (shorter side into the shorter), then each side goes to the nearest multiple of
    32, so the ratio is nearly kept.
    """
    scale = min(max(limits) / max(image_size), min(limits) / min(image_size))
    height, width = (max(round(side * scale / _DIVISOR), 1) * _DIVISOR for side in image_size)
    return height, width


def propagate_first_masks(
    propagator: Propagator, frames: Iterable[tuple[NDArray[np.uint8], Masks]]
) -> Iterator[NDArray[np.int64]]:
    """Label maps (H, W) of a video, 0 background and else object ids, one for each frame.

    The first mask of each object is given, and is the answer in its frame; all later masks of it are not looked at.

    Args:
        propagator: is reset first.
        frames: images (H, W, 3) uint8 BGR, all of one size, with the masks (H, W) of objects by their id, from 1.
    """
    propagator.reset()
    for image, masks in frames:
        height, width = working_size(image.shape[:2], propagator.input_size)
        small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        labels = np.zeros(image.shape[:2], np.int64)
        carried = propagator.object_ids
        if carried:
            labels = _labels(propagator.step(small), carried, image.shape[:2])
        for number, mask in masks.items():
            if number in carried or not mask.any():
                continue
            reduced = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) >= 0.5
            if reduced.any():
                propagator.start(number, small, reduced)
                labels[mask] = number
        yield labels


def _labels(planes: NDArray[np.float32], object_ids: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.int64]:
    """The object of the largest of the planes (M + 1, h, w), enlarged to (height, width) first."""
    large = [cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for plane in planes]
    return np.array([0, *object_ids], np.int64)[np.argmax(large, 0)]
