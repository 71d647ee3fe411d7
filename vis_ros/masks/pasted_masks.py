"""PastedMasks: the masks of detections, pasted into their boxes when one is first read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.crop import Mask, Roi
from vis_ros.masks.paste import Placement, paste


class PastedMasks(Sequence[Mask]):
    """N masks, each a (height, width) uint8 crop, 0 or 1.

    Nothing is pasted before a mask is read; then all of them are. So a tracker that first selects the detections that
    it keeps pays for no others.

    Args:
        probabilities: (N, S, S) float32, the small masks of the network.
        placement: of these.
        threshold: probability from which a pixel belongs to the object.
    """

    def __init__(self, probabilities: NDArray[np.float32], placement: Placement, threshold: float = 0.5) -> None:
        self._probabilities = probabilities
        self._placement = placement
        self._threshold = threshold
        self._masks: list[Mask] | None = None

    @property
    def rois(self) -> Roi:
        """(N, 4) int32, the window of each mask in the image."""
        return self._placement.rois

    def chosen(self, indices: NDArray[np.intp]) -> Sequence[Mask]:
        """The masks at these indices, not pasted yet if these are not."""
        if self._masks is None:
            return PastedMasks(self._probabilities[indices], self._placement[indices], self._threshold)
        return [self._masks[index] for index in indices]

    def __len__(self) -> int:
        return len(self.rois)

    @overload
    def __getitem__(self, index: int) -> Mask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mask]: ...
    def __getitem__(self, index: int | slice) -> Mask | Sequence[Mask]:
        if self._masks is None:
            self._masks = paste(self._probabilities, self._placement, self._threshold)
        return self._masks[index]

    def __iter__(self) -> Iterator[Mask]:
        return iter(self[:])
