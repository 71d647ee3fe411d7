"""What every propagator refuses: images and masks of a size that it cannot go on with, and masks without a pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_size(size: tuple[int, ...], working_size: tuple[int, ...] | None) -> tuple[int, int]:
    """(height, width) of an image or mask. ValueError unless it is the working size and in multiples of 32.

    working_size: None before the first object.
    """
    if len(size) != 2 or size[0] % 32 or size[1] % 32:
        raise ValueError(f'images and masks are (h, w) in multiples of 32, not {tuple(size)}')
    if working_size is not None and tuple(size) != tuple(working_size):
        raise ValueError(f'the working size is {working_size}, not {tuple(size)}: call reset() for another size')
    return size[0], size[1]


def check_start(
    object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_], working_size: tuple[int, ...] | None
) -> tuple[int, int]:
    """(height, width) of the image that an object starts in. ValueError where it, or its mask, cannot be carried."""
    size = check_size(image.shape[:2], working_size)
    if mask.shape != size:
        raise ValueError(f'the mask of object {object_id} is {mask.shape}, not the size of the image, {size}')
    if not mask.any():
        raise ValueError(f'the mask of object {object_id} is empty: there is nothing to carry')
    return size
