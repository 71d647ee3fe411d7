"""Propagator: the protocol of everything that carries masks along. Needs no torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Propagator(Protocol):
    """The objects of one camera and all that is remembered of them: reference, previous mask, previous features.

    Images are (h, w, 3) uint8 BGR, resized to the working size of the camera: the same h and w in every call until
    `reset`, multiples of 32. Masks have that size too. What is remembered has a bound that does not grow with time.
    """

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) that the network was trained at; the working size is fitted into it."""
        ...

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that are carried, ascending."""
        ...

    def start(self, object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        """Carry an object from now on, whose mask (h, w) in `image` is known: that is its reference.

        `image` is any image of the last seconds, mostly that of the last `step`; the next `step` goes on from it. An
        object that is carried already gets a new reference. Raises ValueError for an empty mask or another size.
        """
        ...

    def step(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Carry every object into the next image.

        Returns (M + 1, h, w) float32 in [0, 1], by the multi-object rule of the system: the background first, then
        each of `object_ids`. The label of a pixel is the plane with the largest value.
        """
        ...

    def correct(self, object_id: int, mask: NDArray[np.bool_]) -> None:
        """Replace the mask of an object in the image of the last `step`; the reference stays. It may be empty: the
        object is lost, and is looked for by what the system knows beside the previous mask."""
        ...

    def forget(self, object_id: int) -> None:
        """Carry an object no longer. Raises KeyError if it is not carried."""
        ...

    def reset(self) -> None:
        """Forget every object and the working size."""
        ...
