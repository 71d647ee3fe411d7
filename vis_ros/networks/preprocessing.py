"""Preprocessing: resizes an image for the network, in the same way for all engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.networks.model_config import ModelConfig

_DIVISOR = 32


@dataclass(frozen=True)
class Fitted:
    """An image that is resized for the network.

    Attributes:
        image: (h, w, 3) BGR in 0 to 255: uint8, or float32 if `ModelConfig.resize` is 'float'.
        scale: (x, y) factors from source pixels to pixels of `image`.
    """

    image: NDArray[Any]
    scale: tuple[float, float]


def check_image(image: NDArray[Any]) -> None:
    """Raise ValueError unless `image` is (height, width, 3) uint8 and not empty."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f'an image must be (height, width, 3) uint8 BGR and not empty, got {image.shape} {image.dtype}'
        )


def fitted_size(
    image_size: tuple[int, int], config: ModelConfig, fixed_size: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(height, width) that `fit` resizes an image of `image_size` (height, width) to. It keeps the aspect ratio."""
    height, width = image_size
    scale = _scale(image_size, config, fixed_size)
    half = 0.5 if config.resize == 'uint8' else 0.0  # mmdetection rounds, torchvision truncates
    return max(int(height * scale + half), 1), max(int(width * scale + half), 1)


def fitted_scale(
    image_size: tuple[int, int], config: ModelConfig, fixed_size: tuple[int, int] | None = None
) -> tuple[float, float]:
    """(x, y) factors from the pixels of an image of `image_size` (height, width) to those of the image after `fit`."""
    if config.legacy_boxes:  # mmdetection 0.x uses one factor for both axes, from before rounding
        factor = _scale(image_size, config, fixed_size)
        return factor, factor
    size = fitted_size(image_size, config, fixed_size)
    return size[1] / image_size[1], size[0] / image_size[0]


def fit(
    image: NDArray[np.uint8],
    config: ModelConfig,
    fixed_size: tuple[int, int] | None = None,
    out: NDArray[Any] | None = None,
) -> Fitted:
    """Resize an image for the network.

    Args:
        image: (height, width, 3) uint8 BGR.
        config: the input size and the conventions for resizing and boxes.
        fixed_size: None limits the longer and the shorter side of the image to those of the config's input size, so a
            portrait image stays upright. (height, width) resizes the image to fit inside this size, for a network with
            a fixed input size.
        out: (H, W, 3) with the dtype of `Fitted.image`, at least as large. The resized image is written to its top left
            corner and zeros to the rest; `Fitted.image` is then a view of it.

    Raises:
        ValueError: `image` is not an image, see `check_image`.
    """
    check_image(image)
    size = fitted_size(image.shape[:2], config, fixed_size)
    resized = _resize(image, size, config, None if out is None else out[: size[0], : size[1]])
    if out is not None:
        out[size[0] :] = 0
        out[: size[0], size[1] :] = 0
    return Fitted(resized, fitted_scale(image.shape[:2], config, fixed_size))


def padded(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) rounded up to multiples of 32, the sizes that the network accepts."""
    return -(-size[0] // _DIVISOR) * _DIVISOR, -(-size[1] // _DIVISOR) * _DIVISOR


def _scale(image_size: tuple[int, int], config: ModelConfig, fixed_size: tuple[int, int] | None) -> float:
    height, width = image_size
    if fixed_size is not None:
        return min(fixed_size[0] / height, fixed_size[1] / width)
    long, short = max(config.input_height, config.input_width), min(config.input_height, config.input_width)
    return min(long / max(height, width), short / min(height, width))


def _resize(
    image: NDArray[np.uint8], size: tuple[int, int], config: ModelConfig, out: NDArray[Any] | None
) -> NDArray[Any]:
    pixels: NDArray[Any] = image if config.resize == 'uint8' else image.astype(np.float32)
    if size != image.shape[:2]:
        return cv2.resize(pixels, (size[1], size[0]), dst=out, interpolation=cv2.INTER_LINEAR)
    if out is None:
        return pixels
    out[:] = pixels
    return out
