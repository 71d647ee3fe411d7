"""Positions of objects in the camera frame, from depth images registered to the color images."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances

DEPTH_TOLERANCE_NS = 50_000_000
"""A depth image belongs to an image if their stamps differ by at most this."""

_MAX_PIXELS = 1000
"""Of a larger mask, this many pixels are sampled."""

_MIN_SHARE = 0.1
"""Minimum share of the sampled pixels with valid depth. With fewer, the depth may be that of something seen through the
object or beside it."""

_FRACTIONS = np.arange(1, _MAX_PIXELS + 1) * (np.sqrt(5) - 1) / 2 % 1
"""Evenly distributed over [0, 1), without aliasing with any mask width (additive recurrence of the golden ratio)."""


_CRITERIA = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-9)
"""When to stop inverting a distortion. OpenCV's default of 5 iterations is off by decimeters at the edge of a wide
lens."""

_MAX_ERROR = 0.5
"""A ray is valid if it projects to within this many pixels of the pixel it came from."""


@dataclass(frozen=True, eq=False)
class CameraModel:
    """Intrinsic calibration of a camera.

    size: (height, width) of its images.
    matrix: (3, 3) float64: focal lengths and principal point in pixels; the center of the first pixel is (0, 0).
    distortion: float64 coefficients in OpenCV's order; empty for rectified images.
    fisheye: True if the coefficients are those of the equidistant model.
    offset: (3,) float64 meters: the optical center in the frame of the positions; not 0 for the second camera of a
        stereo pair, whose positions are in the frame of the first one.
    """

    size: tuple[int, int]
    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    fisheye: bool = False
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def rays(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """The viewing rays (P, 2), x / z and y / z, of pixels (P, 2), column and row; NaN where the lens has none.

        OpenCV inverts the distortion iteratively and does not say where that fails, so each ray is projected again.
        """
        if not len(pixels) or not self.distortion.any():
            return (pixels - self.matrix[:2, 2]) / self.matrix[[0, 1], [0, 1]]
        rays = self._undistorted(pixels[:, None])
        project = cv2.fisheye.projectPoints if self.fisheye else cv2.projectPoints
        points = cv2.convertPointsToHomogeneous(rays.reshape(-1, 2)).astype(np.float64)
        projected = project(points, np.zeros(3), np.zeros(3), self.matrix, self.distortion)[0].reshape(-1, 2)
        error = np.abs(projected - pixels).max(1)
        rays = rays.reshape(-1, 2)
        rays[~(error <= _MAX_ERROR)] = np.nan
        return rays

    def _undistorted(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """What OpenCV makes of pixels (P, 1, 2): rays of the same shape. Its versions take the criteria elsewhere."""
        lens = self.matrix, self.distortion
        if not self.fisheye and hasattr(cv2, 'undistortPointsIter'):  # until OpenCV 4
            return np.asarray(cv2.undistortPointsIter(pixels, *lens, None, None, _CRITERIA))
        undistort = cv2.fisheye.undistortPoints if self.fisheye else cv2.undistortPoints
        if 'criteria' in (undistort.__doc__ or ''):
            return np.asarray(undistort(pixels, *lens, None, None, None, _CRITERIA))
        return np.asarray(undistort(pixels, *lens))  # the fisheye before OpenCV 4.6, whose Newton steps converge


def positions(instances: Instances, depth: NDArray[np.generic], camera: CameraModel) -> NDArray[np.float32]:
    """The position of each object: the median, along each axis, of the 3D points on its mask.

    Args:
        instances: N objects in an image of `camera`.
        depth: (H, W) along the optical axis, registered to the image: integers in millimeters or floats in meters; not
            finite or not above 0 where unknown (REP-118).
        camera: calibration.

    Returns:
        (N, 3) float32 meters in the optical frame: x right, y down, z forward (REP-103); NaN if too few pixels of the
        mask have valid depth.

    Raises:
        ValueError: image, depth and camera have different sizes.
    """
    sizes = {instances.image_size, depth.shape, camera.size}
    if len(sizes) > 1:
        names = ('image', 'depth', 'camera_info')
        listed = (
            f'{name} {width}x{height}'
            for name, (height, width) in zip(names, (instances.image_size, depth.shape, camera.size), strict=True)
        )
        raise ValueError(f'the sizes differ ({", ".join(listed)}): depth must be registered to the image')
    found = np.full((len(instances), 3), np.nan, np.float32)
    for index, (roi, mask) in enumerate(zip(instances.rois.tolist(), instances.masks, strict=True)):
        points = _points(mask, roi[:2], depth, camera)
        low, high = (points.shape[1] - 1) // 2, points.shape[1] // 2
        if points.size:  # np.median does the same in more steps
            points.partition((low, high), axis=1)
            found[index] = (points[:, low] + points[:, high]) / 2
    return found


def _points(
    mask: NDArray[np.uint8], corner: list[int], depth: NDArray[np.generic], camera: CameraModel
) -> NDArray[np.float64]:
    """(3, P) meters of pixels on a mask whose top left corner is at (column, row); empty if too few have depth."""
    chosen = np.flatnonzero(mask != 0)  # on bytes, flatnonzero takes three times as long
    if len(chosen) > _MAX_PIXELS:
        chosen = chosen[(_FRACTIONS * len(chosen)).astype(np.intp)]
    rows, columns = np.divmod(chosen, mask.shape[1])
    rows, columns = rows + corner[1], columns + corner[0]
    z = depth[rows, columns].astype(np.float64)
    if np.issubdtype(depth.dtype, np.integer):
        z /= 1000
    known = np.isfinite(z) & (z > 0)
    if np.count_nonzero(known) < _MIN_SHARE * len(chosen):
        return np.zeros((3, 0))
    pixels, z = np.stack([columns[known], rows[known]]).astype(np.float64), z[known]
    rays = camera.rays(pixels.T).T
    seen = np.isfinite(rays).all(0)
    if np.count_nonzero(seen) < _MIN_SHARE * len(chosen):
        return np.zeros((3, 0))
    return np.concatenate([rays * z, z[None]])[:, seen] + camera.offset[:, None]
