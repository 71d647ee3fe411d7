"""The working size of a propagator: the one resize of every image before propagation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_DIVISOR = 32


def working_size(image_size: tuple[int, ...], limits: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a propagator works on images of (height, width).

    The image is scaled to fit into the limits (its shorter side into the shorter limit). Then each side is rounded to
    the nearest multiple of 32, so the aspect ratio is nearly kept.
    """
    scale = min(max(limits) / max(image_size), min(limits) / min(image_size))
    height, width = (max(round(side * scale / _DIVISOR), 1) * _DIVISOR for side in image_size)
    return height, width


def resize_to_working_size(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image (H, W, 3) at working size (height, width), averaged over areas."""
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
