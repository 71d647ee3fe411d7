"""Positions: where objects are in front of a camera, from depth that is registered to its images."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances

DEPTH_TOLERANCE_NS = 50_000_000
"""Depth that was taken so much before or after an image still counts as its own."""

_MOST_PIXELS = 1000
"""So many pixels of a mask stand for all."""

_LEAST_SHARE = 0.1
"""Where fewer of them have a depth, it may be that of something else, seen through glass or beside the object."""

_FRACTIONS = np.arange(1, _MOST_PIXELS + 1) * (np.sqrt(5) - 1) / 2 % 1
"""Evenly spread over [0, 1), and in step with no width of a mask (the additive recurrence of the golden ratio)."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """Which way each pixel of a camera looks.

    size: (height, width) of its images.
    matrix: (3, 3) float64: focal lengths and principal point in pixels; the centre of the first pixel is (0, 0).
    distortion: float64 coefficients in OpenCV's order; none for rectified images.
    fisheye: whether they are those of the equidistant model.
    """

    size: tuple[int, int]
    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    fisheye: bool = False

    def rays(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P, 2) x / z and y / z of what is seen at pixels (P, 2), each column and row."""
        if not len(pixels) or not self.distortion.any():
            return (pixels - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
        rays: NDArray[np.float64] = undistort(pixels[:, None], self.matrix, self.distortion).reshape(-1, 2)
        return rays


def positions(instances: Instances, depth: NDArray[np.generic], camera: CameraModel) -> NDArray[np.float32]:
    """Where objects are: the median, along each axis, of the points that are seen on their masks.

    Args:
        instances: N objects in an image of `camera`.
        depth: (H, W) of the same pixels, along the optical axis: integers in millimetres or floats in metres; not
            finite or not above 0 where it is unknown (REP-118).

    Returns:
        (N, 3) float32 metres in the optical frame: x right, y down, z forward (REP-103); NaN where too little of the
        mask has a depth.

    Raises:
        ValueError: image, depth and camera are of different sizes.
    """
    sizes = {instances.image_size, depth.shape, camera.size}
    if len(sizes) > 1:
        names = ('image', 'depth', 'camera_info')
        told = (
            f'{name} {width}x{height}'
            for name, (height, width) in zip(names, (instances.image_size, depth.shape, camera.size), strict=True)
        )
        raise ValueError(f'the sizes differ ({", ".join(told)}): depth must be registered to the image')
    found = np.full((len(instances), 3), np.nan, np.float32)
    for index, (roi, mask) in enumerate(zip(instances.rois.tolist(), instances.masks, strict=True)):
        points = _points(mask, roi[:2], depth, camera)
        if len(points):
            found[index] = np.median(points, axis=0)
    return found


def _points(
    mask: NDArray[np.uint8], corner: list[int], depth: NDArray[np.generic], camera: CameraModel
) -> NDArray[np.float64]:
    """(P, 3) metres of pixels on a mask whose upper left corner is at (column, row); none where few have a depth."""
    chosen = np.flatnonzero(mask != 0)  # of bytes it takes three times as long
    if len(chosen) > _MOST_PIXELS:
        chosen = chosen[(_FRACTIONS * len(chosen)).astype(np.intp)]
    rows, columns = np.divmod(chosen, mask.shape[1])
    rows, columns = rows + corner[1], columns + corner[0]
    z = depth[rows, columns].astype(np.float64)
    if np.issubdtype(depth.dtype, np.integer):
        z /= 1000
    known = np.isfinite(z) & (z > 0)
    if np.count_nonzero(known) < _LEAST_SHARE * len(chosen):
        return np.zeros((0, 3))
    z = z[known, None]
    pixels = np.stack([columns[known], rows[known]], 1).astype(np.float64)
    return np.concatenate([camera.rays(pixels) * z, z], axis=1)
