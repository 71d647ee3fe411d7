"""PastedMasks: the masks of detections, each pasted into its box when it is first read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from vis_ros.masks.crop import Mask, Roi
from vis_ros.masks.paste import Placement, SmallMasks, paste, prepare


class PastedMasks(Sequence[Mask]):
    """N masks, each a (height, width) uint8 crop, 0 or 1.

    Each is pasted when it is first read. So a tracker that first selects the detections that it keeps pays for no
    others, and who reads one mask after another finds each in the cache of the processor. Safe from any thread.

    Args:
        probabilities: (N, S, S) float32, the small masks of the network.
        placement: of these.
        threshold: probability from which a pixel belongs to the object.
    """

    def __init__(self, probabilities: NDArray[np.float32], placement: Placement, threshold: float = 0.5) -> None:
        self._probabilities = probabilities
        self._placement = placement
        self._threshold = threshold
        self._small: SmallMasks | None = None
        self._masks: dict[int, Mask] = {}

    @property
    def rois(self) -> Roi:
        """(N, 4) int32, the window of each mask in the image."""
        return self._placement.rois

    def chosen(self, indices: NDArray[np.intp]) -> Sequence[Mask]:
        """The masks at these indices, not pasted yet if these are not."""
        if self._masks:
            return [self[index] for index in indices.tolist()]
        return PastedMasks(self._probabilities[indices], self._placement[indices], self._threshold)

    def __len__(self) -> int:
        return len(self.rois)

    @overload
    def __getitem__(self, index: int) -> Mask: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mask]: ...
    def __getitem__(self, index: int | slice) -> Mask | Sequence[Mask]:
        places = range(len(self))[index]
        return self._mask(places) if isinstance(places, int) else [self._mask(place) for place in places]

    def _mask(self, index: int) -> Mask:
        if index not in self._masks:
            if self._small is None:
                self._small = prepare(self._probabilities, self._placement, self._threshold)
            self._masks[index] = paste(self._small, index)
        return self._masks[index]
