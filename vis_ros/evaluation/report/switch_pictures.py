"""Pictures of identity switches: the object in the last frame on its old identity, and in the first on the new one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.rle import Rle, decode
from vis_ros.datasets.video import AnnotatedFrame
from vis_ros.visualization import identity_colour

WIDTH, HEIGHT = 240, 180
"""Size of a picture in pixels."""

_CONTEXT = 0.6  # of the object's size is shown around it, a half on each side
_LEAST = 64  # pixels of the image that are shown across at least
_QUALITY = 80

Image = NDArray[np.uint8]
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Moment:
    """What to show: a true object and the identity on it, in one frame of a video."""

    frame: int
    object_id: int
    result_id: int


def take_pictures(
    frames: Iterable[tuple[AnnotatedFrame, AnnotatedFrame | None]], moments: Collection[Moment]
) -> dict[Moment, bytes | str]:
    """Take the pictures of one video in one pass over its frames.

    Args:
        frames: truth and result of each compared frame in order; either may lead to the image.
        moments: of this video.

    Returns:
        For each moment a JPEG of at most HEIGHT x WIDTH pixels, or in words why there is none.
    """
    wanted: dict[int, list[Moment]] = {}
    for moment in moments:
        wanted.setdefault(moment.frame, []).append(moment)
    taken: dict[Moment, bytes | str] = dict.fromkeys(moments, 'the frame is missing')
    for index, (truth, result) in enumerate(frames):
        if not wanted:
            break
        if here := wanted.pop(index, []):
            taken |= _take(truth, result, here)
    return taken


def _take(truth: AnnotatedFrame, result: AnnotatedFrame | None, moments: Sequence[Moment]) -> dict[Moment, bytes | str]:
    read_image = truth.read_image or (result.read_image if result else None)
    if read_image is None:
        return dict.fromkeys(moments, 'the annotations lead to no image')
    try:
        image = read_image()
    except (OSError, ValueError) as error:
        return dict.fromkeys(moments, str(error))
    if image.shape[:2] != tuple(truth.size):
        return dict.fromkeys(moments, f'the image has (height, width) {image.shape[:2]}, its masks {tuple(truth.size)}')
    taken: dict[Moment, bytes | str] = {}
    for moment in moments:
        masks = _mask(truth, moment.object_id), _mask(result, moment.result_id)
        written, jpeg = cv2.imencode(
            '.jpg', picture(image, masks, moment.result_id), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY)
        )
        assert written, 'OpenCV writes JPEG'
        taken[moment] = jpeg.tobytes()
    return taken


def picture(image: Image, masks: tuple[Rle | None, Rle | None], result_id: int) -> Image:
    """The surroundings of an object with its true outline in white and that of the result in the identity's colour.

    Args:
        image: (H, W, 3) uint8 BGR.
        masks: of truth and result, where they have the object.
        result_id: the identity of the result.

    Returns:
        (h, w, 3) uint8 BGR, h <= HEIGHT, w <= WIDTH.
    """
    decoded = [None if mask is None else decode(mask) for mask in masks]
    x0, y0, x1, y1 = _window([mask for mask in decoded if mask is not None], image.shape[:2])
    scale = min(WIDTH / (x1 - x0), HEIGHT / (y1 - y0))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    shown = cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    contours = [None if mask is None else _contours(mask[y0:y1, x0:x1], size) for mask in decoded]
    lines = ((0, (0, 0, 0), 3), (1, identity_colour(result_id % 2**32), 3), (0, (255, 255, 255), 1))
    for side, colour, thickness in lines:  # the white line has a dark rim, or that of the identity where they agree
        if (drawn := contours[side]) is not None:
            cv2.drawContours(shown, drawn, -1, colour, thickness, cv2.LINE_AA)
    return shown


def _contours(mask: NDArray[np.uint8], size: tuple[int, int]) -> Sequence[NDArray[np.int32]]:
    resized = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(resized, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return contours


def _mask(frame: AnnotatedFrame | None, track_id: int) -> Rle | None:
    if frame is None:
        return None
    places = np.flatnonzero(frame.track_ids == track_id)
    return frame.masks[places[0]] if len(places) else None


def _window(masks: Sequence[NDArray[np.uint8]], size: tuple[int, ...]) -> Window:
    """The part of the image to show, x0 y0 x1 y1: all masks and some context, in the shape of a picture."""
    height, width = size[:2]
    rows = [np.flatnonzero(mask.any(1)) for mask in masks if mask.any()]
    columns = [np.flatnonzero(mask.any(0)) for mask in masks if mask.any()]
    if not rows:
        return 0, 0, width, height
    y0, y1 = min(int(row[0]) for row in rows), max(int(row[-1]) + 1 for row in rows)
    x0, x1 = min(int(column[0]) for column in columns), max(int(column[-1]) + 1 for column in columns)
    across = max(_LEAST, (1 + _CONTEXT) * max(x1 - x0, (y1 - y0) * WIDTH / HEIGHT))
    left, right = _interval((x0 + x1) / 2, across, width)
    top, bottom = _interval((y0 + y1) / 2, across * HEIGHT / WIDTH, height)
    return left, top, right, bottom


def _interval(centre: float, length: float, end: int) -> tuple[int, int]:
    """Whole pixels of 0..end, about `length` of them, around the centre where that is possible."""
    size = min(end, max(1, round(length)))
    first = min(max(0, round(centre - size / 2)), end - size)
    return first, first + size
