"""Checks that all propagators share: the size of images and masks, and empty masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_size(size: tuple[int, ...], working_size: tuple[int, ...] | None) -> tuple[int, int]:
    """(height, width) of an image or mask, after checking that both are multiples of 32 and match the working size.

    working_size: None before the first object.

    Raises:
        ValueError: the size cannot be used.
    """
    if len(size) != 2 or size[0] % 32 or size[1] % 32:
        raise ValueError(f'images and masks are (h, w) in multiples of 32, not {tuple(size)}')
    if working_size is not None and tuple(size) != tuple(working_size):
        raise ValueError(f'the working size is {working_size}, not {tuple(size)}: call reset() before another size')
    return size[0], size[1]


def check_start(
    object_id: int, image: NDArray[np.uint8], mask: NDArray[np.bool_], working_size: tuple[int, ...] | None
) -> tuple[int, int]:
    """(height, width) of the image an object starts in, after checking the image and the mask.

    Raises:
        ValueError: the size cannot be used, or the mask is empty or of another size.
    """
    size = check_size(image.shape[:2], working_size)
    if mask.shape != size:
        raise ValueError(f'the mask of object {object_id} has shape {mask.shape}, the image has {size}')
    if not mask.any():
        raise ValueError(f'the mask of object {object_id} is empty: there is nothing to propagate')
    return size
