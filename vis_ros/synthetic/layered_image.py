"""LayeredImage: an image composed of layers, with the object id that owns each pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.synthetic.motion import Matrix
from vis_ros.synthetic.object_crop import ObjectCrop

IGNORED = -1
"""Owner of pixels that are neither a labeled object nor background."""


class LayeredImage:
    """An image of (height, width) = `size`. Layers are drawn from back to front.

    image: (H, W, 3) uint8 BGR.
    owner: (H, W) int16: id of the visible object, 0 for background, or IGNORED.
    areas: object id -> area of its whole outline in pixels, including what is hidden or outside the frame.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.image: NDArray[np.uint8] = np.zeros((*size, 3), np.uint8)
        self.owner: NDArray[np.int16] = np.zeros(size, np.int16)
        self.areas: dict[int, float] = {}

    def draw_background(
        self,
        image: NDArray[np.uint8],
        owner: NDArray[np.int16],
        matrix: Matrix,
        motion: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Draw the background and its own objects.

        Args:
            image: (h, w, 3) uint8 BGR.
            owner: (h, w) int16, as in the class.
            matrix: (3, 3) affine, from pixels of the background to pixels of this image.
            motion: (x, y) in pixels during the exposure.
        """
        height, width = self.size
        shift = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
        affine = (shift @ matrix @ np.linalg.inv(shift))[:2]
        cv2.warpAffine(
            image, affine, (width, height), dst=self.image, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        if owner.any():
            cv2.warpAffine(owner, affine, (width, height), dst=self.owner, flags=cv2.INTER_NEAREST)
        self.image = blur_along(self.image, *motion)

    def draw(
        self,
        crop: ObjectCrop,
        object_id: int,
        matrix: Matrix,
        motion: tuple[float, float] = (0.0, 0.0),
        gain: tuple[float, float, float] = (1.0, 1.0, 1.0),
        hard_edge: bool = False,
    ) -> None:
        """Draw an object crop in front of everything drawn so far.

        Args:
            crop: the object.
            object_id: its id.
            matrix: (3, 3) projective, from pixels of the crop to pixels of this image.
            motion: (x, y) in pixels during the exposure.
            gain: of the channels B, G, R.
            hard_edge: draw no half-transparent pixels.
        """
        self.areas[object_id] = outline_area(crop, matrix)
        patch_at = self._patch(crop, matrix, motion)
        if patch_at is None:
            return
        patch, x, y = patch_at
        if gain != (1.0, 1.0, 1.0):
            steps = np.arange(256)[:, None] * np.array([*gain, 1.0])
            patch = cv2.LUT(patch, np.clip(np.rint(steps), 0, 255).astype(np.uint8)[None])
        window = slice(y, y + patch.shape[0]), slice(x, x + patch.shape[1])
        alpha = patch[..., 3]
        solid = alpha >= 128
        weight = solid.astype(np.float32) if hard_edge else alpha.astype(np.float32) / 255
        here = np.ascontiguousarray(self.image[window])
        self.image[window] = cv2.blendLinear(np.ascontiguousarray(patch[..., :3]), here, weight, 1 - weight)
        self.owner[window][solid] = object_id

    def shade(self, crop: ObjectCrop, matrix: Matrix, softness: float, darkness: float) -> None:
        """Draw the shadow of an object crop: darken the image under its blurred outline. The owners stay."""
        reach = int(np.ceil(2 * softness))
        patch_at = self._patch(crop, matrix, (0.0, 0.0), reach)
        if patch_at is None or darkness <= 0:
            return
        patch, x, y = patch_at
        quarter = (patch.shape[1] + 3) // 4, (patch.shape[0] + 3) // 4
        small = cv2.resize(patch[..., 3], quarter, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), max(softness / 4, 0.3))
        shadow = cv2.resize(small, (patch.shape[1], patch.shape[0]), interpolation=cv2.INTER_LINEAR)
        window = slice(y, y + patch.shape[0]), slice(x, x + patch.shape[1])
        light = 1 - shadow.astype(np.float32) * (darkness / 255)
        here = np.ascontiguousarray(self.image[window])
        self.image[window] = cv2.blendLinear(here, np.zeros_like(here), light, 1 - light)

    def _patch(
        self, crop: ObjectCrop, matrix: Matrix, motion: tuple[float, float], reach: int = 0
    ) -> tuple[NDArray[np.uint8], int, int] | None:
        """The part of the warped crop that is inside the image, and the corner (x, y) of it; None if there is none."""
        height, width = crop.size
        corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64) @ matrix.T
        if (corners[:, 2] <= 0.05).any():
            return None
        corners = corners[:, :2] / corners[:, 2:]
        margin = reach + int(np.ceil(max(abs(motion[0]), abs(motion[1])) / 2))
        low = np.floor(corners.min(0)).astype(int) - margin
        high = np.ceil(corners.max(0)).astype(int) + margin
        low_x, low_y = max(low[0], -margin), max(low[1], -margin)
        high_x, high_y = min(high[0], self.size[1] + margin), min(high[1], self.size[0] + margin)
        if high_x - low_x < 1 or high_y - low_y < 1:
            return None
        source, to_full = _level(crop, matrix)
        to_patch = np.array([[1, 0, -low_x - 0.5], [0, 1, -low_y - 0.5], [0, 0, 1]], np.float64)
        pixel_center = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        full = to_patch @ matrix @ to_full @ pixel_center
        patch = cv2.warpPerspective(
            source, full, (high_x - low_x, high_y - low_y), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        patch = blur_along(patch, *motion)
        x, y = max(low_x, 0), max(low_y, 0)
        patch = patch[y - low_y : max(self.size[0] - low_y, 0), x - low_x : max(self.size[1] - low_x, 0)]
        return (patch, x, y) if patch.size else None


def _level(crop: ObjectCrop, matrix: Matrix) -> tuple[NDArray[np.uint8], Matrix]:
    """The smallest pyramid level the matrix does not enlarge, and the matrix from its pixels to the full crop."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2] / matrix[2, 2])) + 1e-12))
    level = int(min(max(np.floor(-np.log2(scale) + 0.2), 0), len(crop.levels) - 1))
    source = crop.levels[level]
    ratio = crop.size[1] / source.shape[1], crop.size[0] / source.shape[0]
    return source, np.diag([ratio[0], ratio[1], 1.0])


def outline_area(crop: ObjectCrop, matrix: Matrix) -> float:
    """Area in pixels of a crop in an image without borders, with the perspective at the center of the crop."""
    center = matrix @ np.array([crop.size[1] / 2, crop.size[0] / 2, 1.0])
    derivative = (matrix[:2, :2] - np.outer(center[:2] / center[2], matrix[2, :2])) / center[2]
    return float(crop.area * abs(np.linalg.det(derivative)))


def blur_along(image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.uint8]:
    """Motion blur: average an image along the line (x, y) in pixels, centerd. Below 1.5 pixels it has no effect.

    k averages of two shifted copies, each with half the shift of the previous one, cover 2^k positions.
    """
    length = float(np.hypot(x, y))
    if length < 1.5:
        return image
    steps = min(int(np.ceil(np.log2(length))), 5)
    height, width = image.shape[:2]
    for step in range(steps):
        share = 0.25 / 2**step
        copies = [
            cv2.warpAffine(
                image,
                np.array([[1, 0, sign * x * share], [0, 1, sign * y * share]]),
                (width, height),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            for sign in (-1, 1)
        ]
        image = cv2.addWeighted(copies[0], 0.5, copies[1], 0.5, 0)
    return image
