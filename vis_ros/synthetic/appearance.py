"""Appearance: lighting, exposure, sharpness, noise and compression of a synthetic video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.synthetic.motion import Wave


@dataclass(frozen=True, eq=False)
class Appearance:
    """How the images of a video are lit and recorded.

    shutter: exposure time in frames.
    light: amplitude of the changes of gain, gamma and color over time.
    light_waves: five waves: of gain, gamma and the three color channels.
    shadow: darkness of the shadows of objects, 0 to 1.
    shadow_offset: (x, y) in side lengths of the object.
    noise: standard deviation in gray levels.
    blur: standard deviation of the defocus in pixels.
    quality: JPEG quality; None for no compression.
    feather: whether outlines are soft.
    """

    shutter: float = 0.0
    light: float = 0.0
    light_waves: Sequence[Wave] = field(default_factory=lambda: [Wave()] * 5)
    shadow: float = 0.0
    shadow_offset: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    blur: float = 0.0
    quality: int | None = None
    feather: bool = True

    def record(self, image: NDArray[np.uint8], time: int, seed: int) -> NDArray[np.uint8]:
        """Apply light, defocus, noise and compression to an image. The noise depends on time and seed."""
        if self.light:
            image = cv2.LUT(image, _light_table(self, time))
        if self.blur >= 0.3:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.noise >= 0.3:
            image = _add_noise(image, self.noise, np.random.default_rng((seed, time + 2**20)))
        if self.quality is not None:
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return np.ascontiguousarray(image)


def _light_table(appearance: Appearance, time: int) -> NDArray[np.uint8]:
    """(1, 256, 3) uint8 lookup table for gain, gamma and color at a time."""
    gain, gamma, *tints = (appearance.light * wave(time) for wave in appearance.light_waves)
    gray = np.linspace(0, 1, 256) ** float(np.exp(gamma))
    gains = np.exp(gain + 0.4 * np.array(tints))
    return np.clip(np.rint(255 * gray[:, None] * gains), 0, 255).astype(np.uint8)[None]


@lru_cache(maxsize=2)
def _noise_tile(side: int) -> NDArray[np.int16]:
    """(side, side, 3) Gaussian noise with a standard deviation of 24."""
    return np.rint(np.random.default_rng(0).normal(0, 24, (side, side, 3))).astype(np.int16)


def _add_noise(image: NDArray[np.uint8], deviation: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Add Gaussian noise. It is a random window of a fixed tile: new noise would take longer than the whole frame."""
    height, width = image.shape[:2]
    side = 1024 * ((max(height, width) + 64 + 1023) // 1024)
    y, x = random.integers(side - height + 1), random.integers(side - width + 1)
    noise = _noise_tile(side)[y : y + height, x : x + width].astype(np.int32) * round(deviation * 256 / 24) >> 8
    return cv2.add(image, noise.astype(np.int16), dtype=cv2.CV_8U)
