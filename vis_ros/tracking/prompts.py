"""Prompts: a mask, box or point that shows an object in an image, and the mask of that object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.masks.iou import box_iou, mask_iou

OBJECT = 'object'
"""Class of an object that came from a prompt and that no detector names."""

_SAME_BOX = 0.5
"""A detection with at least this IoU is the object that a box or mask prompt shows."""
_GRAB_CUT_ROUNDS = 5


class PromptError(ValueError):
    """A prompt or track id that cannot be used; says why. Nothing has changed."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One object in the image taken at `stamp` seconds, shown by exactly one of three, in pixels of that image.

    mask: (H, W), zero or not; box: x0, y0, x1, y1; point: x, y. A stamp of None refers to the newest image.
    """

    stamp: float | None = None
    mask: NDArray[np.generic] | None = None
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.mask, self.box, self.point)) != 1:
            raise PromptError('a prompt is exactly one of a mask, a box and a point')
        for name, value, shape in (('box', self.box, (4,)), ('point', self.point, (2,))):
            if value is not None and np.shape(value) != shape:
                raise PromptError(f'the {name} is {value!r}, expected {shape[0]} numbers')
        if self.mask is not None and np.ndim(self.mask) != 2:
            raise PromptError(f'the mask has shape {np.shape(self.mask)}, expected (height, width)')


@dataclass(frozen=True, eq=False)
class PromptedObject:
    """mask: (h, w) bool at the working size; detection: index of the detection that it is, or None."""

    mask: NDArray[np.bool_]
    detection: int | None


def resolve_prompt(
    prompt: Prompt, image: NDArray[np.uint8], source_size: tuple[int, int], detections: Instances
) -> PromptedObject:
    """The object that a prompt shows.

    A box selects the detection that fits it best; without one, GrabCut (Rother et al. 2004) segments the inside of the
    box. A point selects the smallest detection that contains it.

    Args:
        prompt: in pixels of the source image.
        image: (h, w, 3) uint8 BGR at the working size.
        source_size: (height, width) of the source image.
        detections: in `image`; empty where there is no detector.

    Raises:
        PromptError: an empty mask or one of another size, a box or point outside the image, no object at the point.
    """
    scale = image.shape[1] / source_size[1], image.shape[0] / source_size[0]
    if prompt.mask is not None:
        found = PromptedObject(_reduced(prompt.mask, source_size, image.shape[:2]), None)
    elif prompt.box is not None:
        found = _in_box(np.array(prompt.box, np.float64), image, source_size, scale, detections)
    else:
        assert prompt.point is not None
        return _at_point(prompt.point, source_size, scale, detections)
    if found.detection is None:
        whole = (0, 0, image.shape[1], image.shape[0])
        crops = zip(detections.masks, detections.rois, strict=True)
        overlaps = [mask_iou(mask, roi, found.mask, whole) for mask, roi in crops]
        if overlaps and max(overlaps) >= _SAME_BOX:
            return PromptedObject(found.mask, int(np.argmax(overlaps)))
    return found


def _reduced(mask: NDArray[np.generic], source_size: tuple[int, int], size: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape != source_size:
        height, width = source_size
        raise PromptError(f'the mask has {_text(mask.shape)} pixels, but its image has {width}x{height}')
    if not np.count_nonzero(mask):
        raise PromptError('the mask is empty: none of its pixels is set')
    share = cv2.resize((mask != 0).astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    reduced = np.asarray(share >= min(0.5, float(share.max())), bool)  # keep the fullest cells of a thin object
    return reduced


def _in_box(
    box: NDArray[np.float64],
    image: NDArray[np.uint8],
    source_size: tuple[int, int],
    scale: tuple[float, float],
    detections: Instances,
) -> PromptedObject:
    height, width = source_size
    x0, y0, x1, y1 = box.tolist()
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PromptError(f'the box {box.tolist()} is not inside the image of {width}x{height} pixels, or has no area')
    inner = box * (*scale, *scale)
    overlaps = box_iou(detections.boxes.astype(np.float64), inner[None])[:, 0]
    if len(overlaps) and overlaps.max() >= _SAME_BOX:
        best = int(overlaps.argmax())
        if detections.masks[best].any():
            return PromptedObject(detections.full_mask(best) > 0, best)
    left, top = int(inner[0]), int(inner[1])
    rectangle = (left, top, max(int(inner[2]) - left, 1), max(int(inner[3]) - top, 1))
    if rectangle[2:] == image.shape[1::-1]:
        raise PromptError(
            'the box covers the whole image, so the object cannot be separated from its surroundings: give a mask'
        )
    labels = np.zeros(image.shape[:2], np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # the same box gives the same mask
    cv2.grabCut(image, labels, rectangle, *models, _GRAB_CUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
    mask = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not mask.any():
        raise PromptError(f'nothing stands out from its surroundings in the box {box.tolist()}: give a mask')
    return PromptedObject(mask, None)


def _at_point(
    point: tuple[float, float], source_size: tuple[int, int], scale: tuple[float, float], detections: Instances
) -> PromptedObject:
    height, width = source_size
    x, y = point
    if not (0 <= x < width and 0 <= y < height):
        raise PromptError(f'the point ({x:g}, {y:g}) is not inside the image of {width}x{height} pixels')
    column, row = int(x * scale[0]), int(y * scale[1])
    areas = detections.areas()
    there = [index for index in range(len(detections)) if detections.full_mask(index)[row, column]]
    if not there:
        raise PromptError(f'the detector finds no object at the point ({x:g}, {y:g}): give a box or a mask')
    smallest = min(there, key=lambda index: int(areas[index]))
    return PromptedObject(detections.full_mask(smallest) > 0, smallest)


def _text(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape[1::-1])) if len(shape) == 2 else f'the shape {shape}, not (height, width),'
