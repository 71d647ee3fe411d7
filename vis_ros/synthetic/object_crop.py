"""ObjectCrop: an object cropped from its image along its outline, to be pasted into other images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

_MARGIN = 3
"""Transparent pixels around a crop, so that warping and blurring do not reach its border."""


@dataclass(frozen=True, eq=False)
class ObjectCrop:
    """An object with a soft outline.

    pixels: (h, w, 4) uint8, BGR and alpha. Alpha is 0 along the border. The colors of the object extend beyond its
        outline, so that half-transparent pixels show nothing of the original background.
    class_id: index into the class names of its data set.
    source: description of its origin, for messages.
    """

    pixels: NDArray[np.uint8]
    class_id: int
    source: str = ''

    @property
    def image(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 BGR."""
        return self.pixels[..., :3]

    @property
    def alpha(self) -> NDArray[np.uint8]:
        """(h, w) uint8, 255 = opaque."""
        return self.pixels[..., 3]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def area(self) -> int:
        """Number of pixels of the object."""
        return int(np.count_nonzero(self.alpha >= 128))

    @cached_property
    def levels(self) -> list[NDArray[np.uint8]]:
        """Image pyramid of `pixels` at 1, 1/2, 1/4 ... of the size, to shrink without aliasing."""
        levels = [self.pixels]
        while min(levels[-1].shape[:2]) >= 16:
            height, width = levels[-1].shape[:2]
            levels.append(cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA))
        return levels


class ObjectSource(Protocol):
    """An object whose crop can be taken at any time of its own video.

    class_id: index into the class names.
    extent: typical longest side in pixels.
    """

    @property
    def class_id(self) -> int: ...

    @property
    def extent(self) -> float: ...

    def crop(self, phase: float) -> ObjectCrop:
        """The object at `phase` frames into its own video. A still image ignores the phase."""
        ...


def crop_object(
    image: NDArray[np.uint8],
    coverage: NDArray[np.uint8],
    corner: tuple[int, int],
    class_id: int,
    source: str = '',
    max_side: int = 480,
) -> ObjectCrop | None:
    """Crop the largest connected part of an object.

    Args:
        image: (H, W, 3) uint8 BGR.
        coverage: (h, w) uint8, how much of each pixel the object covers, 255 for all of it.
        corner: (x, y) of `coverage` in the image.
        class_id: of the object.
        source: description of its origin, for messages.
        max_side: longest side in pixels; larger crops are reduced.

    Returns:
        the crop, or None if the object covers no pixel.
    """
    coverage = largest_part(coverage)
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    if not len(rows):
        return None
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    coverage = coverage[window]
    y0, x0 = corner[1] + rows[0], corner[0] + columns[0]
    crop = image[y0 : y0 + coverage.shape[0], x0 : x0 + coverage.shape[1]]
    scale = min(1.0, max_side / max(coverage.shape))
    if scale < 1.0:
        size = max(1, round(coverage.shape[1] * scale)), max(1, round(coverage.shape[0] * scale))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        coverage = cv2.resize(coverage, size, interpolation=cv2.INTER_AREA)
    margins = (_MARGIN,) * 4
    crop = cv2.copyMakeBorder(crop, *margins, cv2.BORDER_REPLICATE)
    coverage = cv2.copyMakeBorder(coverage, *margins, cv2.BORDER_CONSTANT)
    alpha = _feather(coverage)
    return ObjectCrop(np.dstack([_spread_colors(crop, alpha), alpha]), class_id, source)


def largest_part(coverage: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The coverage of the largest connected part only. Thin bridges, as polygon seams have, do not connect."""
    solid = (coverage >= 128).astype(np.uint8)
    core = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    solid = core if core.any() else solid
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=4)
    if count < 2:
        return np.zeros_like(coverage)
    part = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    around = cv2.dilate(part, np.ones((3, 3), np.uint8))
    return coverage * around


def _feather(coverage: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Soft alpha. Its 50 % line lies slightly inside the outline, because annotated outlines tend to be too wide."""
    inward = 0.62 if min(coverage.shape) > 40 else 0.5
    blurred = cv2.GaussianBlur(coverage.astype(np.float32) / 255, (0, 0), 1.0)
    alpha = np.clip((blurred - inward) / 0.7 + 0.5, 0, 1)
    alpha[0] = alpha[-1] = 0
    alpha[:, 0] = alpha[:, -1] = 0
    return np.rint(alpha * 255).astype(np.uint8)


def _spread_colors(crop: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the colors at and beyond the outline by the nearest colors inside."""
    inside = cv2.erode((alpha >= 250).astype(np.uint8), np.ones((3, 3), np.uint8))
    if not inside.any():
        inside = (alpha >= alpha.max()).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(1 - inside, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    colors = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    chosen = inside.astype(bool)
    colors[labels[chosen]] = crop[chosen]
    nearest = colors[labels]
    soft = cv2.GaussianBlur(nearest, (0, 0), 1.0)
    return np.where(chosen[..., None], crop, soft)
