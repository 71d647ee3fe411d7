"""Propagator: the interface of all mask propagators. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Propagator(Protocol):
    """A mask propagator: follows the objects of one camera from frame to frame, given one mask of each.

    Its state is what the system needs of each object (reference features, previous mask, previous features); it has a
    fixed bound. Images are (h, w, 3) uint8 BGR at the working size of the camera: h and w are multiples of 32 and the
    same in every call until `reset`. Masks have the same size.
    """

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) the network was trained at. The working size is fitted into it."""
        ...

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the propagated objects, ascending."""
        ...

    @property
    def state(self) -> Mapping[str, object]:
        """What else diagnostics should report, by name. May be read from any thread."""
        ...

    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        """Propagate an object from now on, given its mask (h, w) in `image`, which becomes its reference frame.

        `image` may be any recent image, usually the one of the last `step`; the next `step` continues from it. An
        object that is propagated already gets a new reference frame. Raises ValueError for an empty mask or another
        size.
        """
        ...

    def step(self, image: NDArray[np.uint8], after: NDArray[np.uint8] | None = None) -> NDArray[np.float32]:
        """Propagate all objects to the next image.

        Args:
            image: the next image.
            after: the image that follows it, which only MaskRNN in its published form uses; None if there is none.

        Returns:
            planes (M + 1, h, w) float32 in [0, 1], merged by the multi-object rule of the system: the background
            first, then one for each of `object_ids`. The label of a pixel is the plane with the largest value.
        """
        ...

    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        """Replace the mask of an object in the image of the last `step`. Its reference frame stays.

        An empty mask means that the object is lost; the system then searches for it with its reference frame alone.
        Raises KeyError if the object is not propagated.
        """
        ...

    def forget(self, object_id: int) -> None:
        """Stop propagating an object. Raises KeyError if it is not propagated."""
        ...

    def reset(self) -> None:
        """Forget all objects and the working size."""
        ...
