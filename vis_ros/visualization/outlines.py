"""Outlines of masks, solid or dashed, with an edge in black or white that sets them off from any background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.visualization.palette import Color, ink_on

Image = NDArray[np.uint8]
Points = NDArray[np.int32]

REFERENCE_SIDE = 640
"""Lines and text are drawn for an image whose longer side is this, and scale with it."""

_THICKNESS = 1.5
_DASH, _GAP = 7.0, 5.0
"""Pixels in an image of REFERENCE_SIDE."""
_CROSS = 60.0
"""Largest side of a cross, in pixels of the same image."""
_TOLERANCE = 0.6
"""How far the drawn line may lie from the edge of the mask, in pixels of the same image: it takes out the stairs."""
_SMALLEST_WITH_EDGE = 0.5
"""In smaller images an edge would cover what it sets off."""
_SHIFT = 3
"""Bits of the fraction of a pixel that OpenCV draws with."""


def scale_of(canvas: Image) -> float:
    """Size of the image relative to REFERENCE_SIDE."""
    return max(canvas.shape[:2]) / REFERENCE_SIDE


def mask_contours(mask: NDArray[np.uint8], roi: Sequence[int], tolerance: float = _TOLERANCE) -> list[Points]:
    """The closed outlines of a mask and of its holes, in pixels of the image.

    Args:
        mask: (h, w) zero or not, the crop of `roi`.
        roi: x0 y0 x1 y1.
        tolerance: how far they may lie from the edge, in pixels.
    """
    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(int(roi[0]), int(roi[1])))
    return [np.asarray(cv2.approxPolyDP(each, tolerance, closed=True), np.int32) for each in found]


def box_contour(box: Sequence[float]) -> Points:
    """The outline of a box x0 y0 x1 y1 (x1, y1 exclusive)."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    return np.array([(x0, y0), (x1 - 1, y0), (x1 - 1, y1 - 1), (x0, y1 - 1)], np.int32).reshape(-1, 1, 2)


def draw_contours(canvas: Image, contours: Sequence[Points], color: Color, *, dashed: bool = False) -> None:
    """Draw closed outlines on the canvas."""
    if not contours:
        return
    if not dashed:
        _stroke(canvas, contours, color, closed=True)
        return
    scale = scale_of(canvas)
    dashes = [dash for contour in contours for dash in _dashes(contour, _DASH * scale, _GAP * scale)]
    _stroke(canvas, dashes, color, closed=False, shift=_SHIFT)


def draw_cross(canvas: Image, box: Sequence[float], color: Color) -> None:
    """Cross out a box; in the middle of a large one."""
    x0, y0, x1, y1 = (float(value) for value in box)
    across, down = (min(side, _CROSS * scale_of(canvas)) / 2 for side in (x1 - x0, y1 - y0))
    left, right = round((x0 + x1) / 2 - across), round((x0 + x1) / 2 + across)
    top, bottom = round((y0 + y1) / 2 - down), round((y0 + y1) / 2 + down)
    strokes = [np.array(ends, np.int32) for ends in (((left, top), (right, bottom)), ((left, bottom), (right, top)))]
    _stroke(canvas, strokes, color, closed=False)


def _stroke(canvas: Image, lines: Sequence[Points], color: Color, *, closed: bool, shift: int = 0) -> None:
    thickness = max(1, round(_THICKNESS * scale_of(canvas)))
    if scale_of(canvas) >= _SMALLEST_WITH_EDGE:
        cv2.polylines(canvas, lines, closed, ink_on(color), thickness + 2, cv2.LINE_AA, shift)
    cv2.polylines(canvas, lines, closed, color, thickness, cv2.LINE_AA, shift)


def _dashes(contour: Points, dash: float, gap: float) -> Iterator[Points]:
    """The dashes of a closed outline, as lines in fractions of 2 ** -_SHIFT pixels."""
    corners = np.vstack([contour[:, 0], contour[:1, 0]]).astype(np.float64)
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    count = max(1, round(at[-1] / (dash + gap)))
    period = at[-1] / count
    for first in np.arange(count) * period:
        last = first + period * dash / (dash + gap)
        inside = at[(at > first) & (at < last)]
        places = np.concatenate([[first], inside, [last]])
        line = np.stack([np.interp(places, at, corners[:, axis]) for axis in (0, 1)], 1)
        yield (line * (1 << _SHIFT)).round().astype(np.int32)
