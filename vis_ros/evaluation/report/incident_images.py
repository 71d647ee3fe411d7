"""Images and clips of incidents: the object before and after a switch, or before and while it is lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.datasets.coco_rle import Rle, decode
from vis_ros.datasets.video import EPOCH, AnnotatedFrame
from vis_ros.evaluation.alignment import FramePair
from vis_ros.evaluation.report.clip import EncodedClip, make_clip
from vis_ros.evaluation.report.incidents import Incident
from vis_ros.visualization import identity_color

WIDTH, HEIGHT = 240, 180
"""Maximum size of an image in pixels."""

_CONTEXT = 0.6
"""Margin around the object relative to its size, half of it on each side."""
_MIN_WIDTH = 64
"""Minimum width of the part of the frame that is shown, in pixels."""
_JPEG_QUALITY = 80

Image = NDArray[np.uint8]
Window = tuple[int, int, int, int]
"""Part of an image: x0 y0 x1 y1."""


@dataclass(frozen=True)
class DrawnIncident:
    """For each of `Incident.moments` a JPEG or the reason why there is none, and the clip if there is one."""

    images: tuple[bytes | str, ...]
    clip: EncodedClip | None


def draw_incidents(frames: Iterable[FramePair], incidents: Collection[Incident]) -> dict[Incident, DrawnIncident]:
    """Draw the incidents of one video in one pass over its frames.

    Only the frames of incidents that have begun are kept in memory, and those without their images.

    Args:
        frames: the compared frames in order; the image may come from the ground truth or from the results.
        incidents: of this video.
    """
    waiting = {each: {*each.clip_frames(), *(frame for frame, _ in each.moments())} for each in incidents}
    kept: dict[int, FramePair] = {}
    drawn = {}
    for index, pair in enumerate(frames):
        if any(index in wanted for wanted in waiting.values()):
            kept[index] = pair
        for incident in [each for each, wanted in waiting.items() if max(wanted) <= index]:
            drawn[incident] = _draw(incident, kept)
            del waiting[incident]
            needed = set().union(*waiting.values())
            kept = {number: each for number, each in kept.items() if number in needed}
        if not waiting:
            break
    return drawn | {each: _draw(each, kept) for each in waiting}


def _draw(incident: Incident, frames: Mapping[int, FramePair]) -> DrawnIncident:
    shown = [_moment(frames.get(frame), incident.object_id, track) for frame, track in incident.moments()]
    return DrawnIncident(tuple(shown), make_clip(list(_clip_images(incident, frames))))


def _moment(pair: FramePair | None, object_id: int, track_id: int | None) -> bytes | str:
    """A JPEG of the object and one track, or of all tracks; or the reason why there is none."""
    if pair is None:
        return 'the frame is missing'
    image = _image(pair)
    if isinstance(image, str):
        return image
    true, tracks = _mask(pair[0], object_id), _tracks(pair[1])
    if track_id is not None:
        tracks = {number: mask for number, mask in tracks.items() if number == track_id}
    window = window_of([*([] if true is None else [true]), *(() if track_id is None else tracks.values())], image.shape)
    crop = draw_outlines(image, window, true, tracks)
    written, jpeg = cv2.imencode('.jpg', crop, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    assert written, 'OpenCV writes JPEG'
    return jpeg.tobytes()


def _clip_images(incident: Incident, frames: Mapping[int, FramePair]) -> Iterator[Image]:
    """The frames of the clip that have an image, all of the same part of the image, with all tracks."""
    pairs = [frames[number] for number in incident.clip_frames() if number in frames]
    if not pairs:
        return
    size = pairs[0][0].size
    masks = [mask for truth, _ in pairs if (mask := _mask(truth, incident.object_id)) is not None]
    window = window_of(masks, size)
    for pair in pairs:
        image = _image(pair)
        if not isinstance(image, str) and image.shape[:2] == tuple(size):
            yield draw_outlines(image, window, _mask(pair[0], incident.object_id), _tracks(pair[1]))


def _image(pair: FramePair) -> Image | str:
    """The image of a frame, or why there is none."""
    truth, result = pair
    read_image = truth.read_image or (result.read_image if result else None)
    if read_image is None:
        return 'neither the labels nor the results have images: give their folder with --images'
    try:
        image = read_image()
    except (OSError, ValueError) as error:
        return str(error)
    if image.shape[:2] != tuple(truth.size):
        return f'the image has (height, width) {image.shape[:2]}, its masks {tuple(truth.size)}'
    return image


def _mask(frame: AnnotatedFrame, object_id: int) -> Rle | None:
    places = np.flatnonzero(frame.track_ids == object_id)
    return frame.masks[places[0]] if len(places) else None


def _tracks(frame: AnnotatedFrame | None) -> dict[int, Rle]:
    return {} if frame is None else dict(zip(frame.track_ids.tolist(), frame.masks, strict=True))


def draw_outlines(image: Image, window: Window, true: Rle | None, tracks: Mapping[int, Rle]) -> Image:
    """Crop an image, and draw the outline of a true object in white and those of tracks in their colors.

    Args:
        image: (H, W, 3) uint8 BGR.
        window: the part to show.
        true: mask of the object, None if the image does not show it.
        tracks: track id -> mask.

    Returns:
        (h, w, 3) uint8 BGR, h <= HEIGHT, w <= WIDTH.
    """
    x0, y0, x1, y1 = window
    scale = min(WIDTH / (x1 - x0), HEIGHT / (y1 - y0))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    crop = cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    outline = None if true is None else _contours(true, window, size)
    # The white line gets a dark edge, or one in the track's color where both outlines agree.
    if outline is not None:
        cv2.drawContours(crop, outline, -1, (0, 0, 0), 3, cv2.LINE_AA)
    for track_id, mask in tracks.items():
        color = identity_color(track_id % EPOCH)
        cv2.drawContours(crop, _contours(mask, window, size), -1, color, 3, cv2.LINE_AA)
    if outline is not None:
        cv2.drawContours(crop, outline, -1, (255, 255, 255), 1, cv2.LINE_AA)
    return crop


def _contours(mask: Rle, window: Window, size: tuple[int, int]) -> Sequence[NDArray[np.int32]]:
    x0, y0, x1, y1 = window
    resized = cv2.resize(decode(mask)[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(resized, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return contours


def window_of(masks: Collection[Rle], size: tuple[int, ...]) -> Window:
    """The part of the image to show: all masks with context, in the aspect ratio WIDTH : HEIGHT."""
    height, width = size[:2]
    decoded = [mask for mask in map(decode, masks) if mask.any()]
    rows, columns = ([np.flatnonzero(mask.any(axis)) for mask in decoded] for axis in (1, 0))
    if not decoded:
        return 0, 0, width, height
    y0, y1 = min(int(row[0]) for row in rows), max(int(row[-1]) + 1 for row in rows)
    x0, x1 = min(int(column[0]) for column in columns), max(int(column[-1]) + 1 for column in columns)
    across = max(_MIN_WIDTH, (1 + _CONTEXT) * max(x1 - x0, (y1 - y0) * WIDTH / HEIGHT))
    left, right = _interval((x0 + x1) / 2, across, width)
    top, bottom = _interval((y0 + y1) / 2, across * HEIGHT / WIDTH, height)
    return left, top, right, bottom


def _interval(center: float, length: float, end: int) -> tuple[int, int]:
    """An interval of whole pixels in 0..end of about `length`, centered if possible."""
    size = min(end, max(1, round(length)))
    first = min(max(0, round(center - size / 2)), end - size)
    return first, first + size
