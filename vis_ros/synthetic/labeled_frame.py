"""LabeledFrame: one image of a video with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LabeledFrame:
    """An image and its N visible objects.

    image: (H, W, 3) uint8 BGR.
    object_ids: (N,) int32; an object has the same id in every frame of its video.
    class_ids: (N,) int32, index into the class names of the data set.
    masks: (N, H, W) bool, the visible pixels of each object, never empty. Disjoint in synthetic videos.
    pasted: (N,) bool, True for pasted objects, False for objects of the background image.
    ignored: (H, W) bool or None, pixels that are neither labeled objects nor background (crowds, unlabeled objects).
    """

    image: NDArray[np.uint8]
    object_ids: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    masks: NDArray[np.bool_]
    pasted: NDArray[np.bool_]
    ignored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count, size = len(self.object_ids), self.image.shape[:2]
        for name in ('class_ids', 'masks', 'pasted'):
            if len(getattr(self, name)) != count:
                raise ValueError(f'LabeledFrame.{name} has length {len(getattr(self, name))}, object_ids has {count}')
        if self.masks.shape[1:] != size:
            raise ValueError(f'LabeledFrame.masks has shape {self.masks.shape}, the image has size {size}')

    def __len__(self) -> int:
        return len(self.object_ids)

    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) float32: the tight box x0 y0 x1 y1 of each mask, x1 and y1 exclusive."""
        boxes = np.zeros((len(self), 4), np.float32)
        for index, mask in enumerate(self.masks):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return boxes
