"""Images of identity switches: the object in the last frame on its old track, and in the first frame on the new one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import Rle, decode
from vis_ros.datasets.video import EPOCH, AnnotatedFrame
from vis_ros.evaluation.alignment import FramePair
from vis_ros.visualization import identity_color

WIDTH, HEIGHT = 240, 180
"""Maximum size of an image in pixels."""

_CONTEXT = 0.6
"""Margin around the object relative to its size, half of it on each side."""
_MIN_WIDTH = 64
"""Minimum width of the part of the frame that is shown, in pixels."""
_JPEG_QUALITY = 80

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Moment:
    """What to show: a true object and the predicted track on it, in one frame of a video."""

    frame: int
    object_id: int
    result_id: int


def draw_moments(frames: Iterable[FramePair], moments: Collection[Moment]) -> dict[Moment, bytes | str]:
    """Draw the moments of one video in one pass over its frames.

    Args:
        frames: the compared frames in order; the image may come from the ground truth or from the results.
        moments: of this video.

    Returns:
        For each moment a JPEG of at most HEIGHT x WIDTH pixels, or the reason why there is none.
    """
    wanted: dict[int, list[Moment]] = {}
    for moment in moments:
        wanted.setdefault(moment.frame, []).append(moment)
    drawn: dict[Moment, bytes | str] = dict.fromkeys(moments, 'the frame is missing')
    for index, (truth, result) in enumerate(frames):
        if not wanted:
            break
        if here := wanted.pop(index, []):
            drawn |= _draw_frame(truth, result, here)
    return drawn


def _draw_frame(
    truth: AnnotatedFrame, result: AnnotatedFrame | None, moments: Sequence[Moment]
) -> dict[Moment, bytes | str]:
    read_image = truth.read_image or (result.read_image if result else None)
    if read_image is None:
        return dict.fromkeys(moments, 'the annotations have no images')
    try:
        image = read_image()
    except (OSError, ValueError) as error:
        return dict.fromkeys(moments, str(error))
    if image.shape[:2] != tuple(truth.size):
        reason = f'the image has (height, width) {image.shape[:2]}, its masks {tuple(truth.size)}'
        return dict.fromkeys(moments, reason)
    drawn: dict[Moment, bytes | str] = {}
    for moment in moments:
        masks = _mask(truth, moment.object_id), _mask(result, moment.result_id)
        crop = draw_outlines(image, masks, moment.result_id)
        written, jpeg = cv2.imencode('.jpg', crop, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
        assert written, 'OpenCV writes JPEG'
        drawn[moment] = jpeg.tobytes()
    return drawn


def draw_outlines(image: Image, masks: tuple[Rle | None, Rle | None], result_id: int) -> Image:
    """Crop an object with some context, and draw its true outline in white and the predicted one in the track's color.

    Args:
        image: (H, W, 3) uint8 BGR.
        masks: of ground truth and results, None if they do not show the object.
        result_id: id of the predicted track.

    Returns:
        (h, w, 3) uint8 BGR, h <= HEIGHT, w <= WIDTH.
    """
    decoded = [None if mask is None else decode(mask) for mask in masks]
    x0, y0, x1, y1 = _window([mask for mask in decoded if mask is not None], image.shape[:2])
    scale = min(WIDTH / (x1 - x0), HEIGHT / (y1 - y0))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    crop = cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    contours = [None if mask is None else _contours(mask[y0:y1, x0:x1], size) for mask in decoded]
    # The white line gets a dark edge, or one in the track's color where both outlines agree.
    lines = ((0, (0, 0, 0), 3), (1, identity_color(result_id % EPOCH), 3), (0, (255, 255, 255), 1))
    for side, color, thickness in lines:
        if (outline := contours[side]) is not None:
            cv2.drawContours(crop, outline, -1, color, thickness, cv2.LINE_AA)
    return crop


def _contours(mask: NDArray[np.uint8], size: tuple[int, int]) -> Sequence[NDArray[np.int32]]:
    resized = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(resized, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return contours


def _mask(frame: AnnotatedFrame | None, track_id: int) -> Rle | None:
    if frame is None:
        return None
    places = np.flatnonzero(frame.track_ids == track_id)
    return frame.masks[places[0]] if len(places) else None


def _window(masks: Sequence[NDArray[np.uint8]], size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the frame to show, x0 y0 x1 y1: all masks with context, in the aspect ratio WIDTH : HEIGHT."""
    height, width = size[:2]
    rows = [np.flatnonzero(mask.any(1)) for mask in masks if mask.any()]
    columns = [np.flatnonzero(mask.any(0)) for mask in masks if mask.any()]
    if not rows:
        return 0, 0, width, height
    y0, y1 = min(int(row[0]) for row in rows), max(int(row[-1]) + 1 for row in rows)
    x0, x1 = min(int(column[0]) for column in columns), max(int(column[-1]) + 1 for column in columns)
    across = max(_MIN_WIDTH, (1 + _CONTEXT) * max(x1 - x0, (y1 - y0) * WIDTH / HEIGHT))
    left, right = _interval((x0 + x1) / 2, across, width)
    top, bottom = _interval((y0 + y1) / 2, across * HEIGHT / WIDTH, height)
    return left, top, right, bottom


def _interval(center: float, length: float, end: int) -> tuple[int, int]:
    """An interval of whole pixels in 0..end of about `length`, centerd if possible."""
    size = min(end, max(1, round(length)))
    first = min(max(0, round(center - size / 2)), end - size)
    return first, first + size
