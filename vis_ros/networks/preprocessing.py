"""Preprocessing: the one resize of an image for the network, the same for every engine."""

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
    """An image at the size of the network.

    image: (h, w, 3) BGR, grey levels of 0 to 255: uint8, or float32 where `ModelConfig.resize` is 'float'.
    scale: (x, y) factors from source pixels to pixels of `image`.
    """

    image: NDArray[Any]
    scale: tuple[float, float]


def check_image(image: NDArray[Any]) -> None:
    """Raise ValueError for what is not a (height, width, 3) uint8 image with pixels."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f'an image is (height, width, 3) uint8 BGR with pixels, not {image.shape} {image.dtype}')


def fitted_size(
    image_size: tuple[int, int], config: ModelConfig, canvas: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(height, width) of an image of (height, width) pixels after `fit`, the aspect ratio kept."""
    height, width = image_size
    scale = _scale(image_size, config, canvas)
    half = 0.5 if config.resize == 'uint8' else 0.0  # mmdet rounds, torchvision cuts
    return max(int(height * scale + half), 1), max(int(width * scale + half), 1)


def fitted_scale(
    image_size: tuple[int, int], config: ModelConfig, canvas: tuple[int, int] | None = None
) -> tuple[float, float]:
    """(x, y) factors from pixels of an image of (height, width) to those that `fit` makes of them."""
    if config.legacy_boxes:  # one factor for both axes, as if the resized sides were not rounded
        factor = _scale(image_size, config, canvas)
        return factor, factor
    size = fitted_size(image_size, config, canvas)
    return size[1] / image_size[1], size[0] / image_size[0]


def fit(
    image: NDArray[np.uint8],
    config: ModelConfig,
    canvas: tuple[int, int] | None = None,
    out: NDArray[Any] | None = None,
) -> Fitted:
    """Resize an image for the network.

    Args:
        image: (height, width, 3) uint8 BGR.
        config: its input size, its rule of resizing and its rule of boxes.
        canvas: None: the longer and the shorter side of the image are at most those of the input size, so a portrait
            stands upright. (height, width): the image fits inside as it is, for a network of one shape.
        out: (H, W, 3) of the dtype of `Fitted.image`, at least as large as it: the pixels are written to its top left,
            zeros to the rest. `Fitted.image` is then a view of it.

    Raises:
        ValueError: not an image.
    """
    check_image(image)
    size = fitted_size(image.shape[:2], config, canvas)
    resized = _resize(image, size, config, None if out is None else out[: size[0], : size[1]])
    if out is not None:
        out[size[0] :] = 0
        out[: size[0], size[1] :] = 0
    return Fitted(resized, fitted_scale(image.shape[:2], config, canvas))


def padded(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) rounded up to what the network takes, multiples of 32."""
    return -(-size[0] // _DIVISOR) * _DIVISOR, -(-size[1] // _DIVISOR) * _DIVISOR


def _scale(image_size: tuple[int, int], config: ModelConfig, canvas: tuple[int, int] | None) -> float:
    height, width = image_size
    if canvas is not None:
        return min(canvas[0] / height, canvas[1] / width)
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
