"""The overlay: tracked instances on their image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import BRIDGED, CONFIRMED, LOST, TENTATIVE, Instances
from vis_ros.visualization.outlines import Image, box_contour, draw_contours, draw_cross, mask_contours, scale_of
from vis_ros.visualization.palette import WHITE, Color, identity_color
from vis_ros.visualization.tags import Tag, TagBoard
from vis_ros.visualization.truth_marks import TruthMarks

Labels = Literal['full', 'id', 'none']
"""What the tags have: track id, class and score; the track id alone; or there are none."""
LABELS: tuple[Labels, ...] = get_args(Labels)

_FILL = {CONFIRMED: 0.3, TENTATIVE: 0.15, BRIDGED: 0.15}
"""How much of the color a pixel of an object gets."""
_NOTHING = TruthMarks()


def draw_overlay(
    image: Image,
    instances: Instances,
    labels: Labels = 'full',
    *,
    colors: Sequence[Color] | None = None,
    marks: TruthMarks | None = None,
) -> Image:
    """Draw every object: lightly tinted, outlined, with its track id in large letters, class and score in small ones.

    A TENTATIVE track has a dashed outline and half the tint, a BRIDGED one a solid outline and half the tint. Of a LOST
    one, the last box is drawn, dashed.

    Args:
        image: (H, W, 3) uint8 BGR, not modified.
        instances: objects of that image. Without `track_ids` the color follows the class and the tag has no id.
        labels: what the tags have.
        colors: BGR, one for each object, in place of those of the track ids.
        marks: what the ground truth says: a switched track has the earlier id before its own, a false object is
            crossed out, and a lost true object has a dashed white outline.

    Returns:
        A new image of the same size.

    Raises:
        ValueError: the image and the instances differ in size.
    """
    if image.shape[:2] != tuple(instances.image_size):
        raise ValueError(
            f'the image has (height, width) {image.shape[:2]}, the instances have {tuple(instances.image_size)}'
        )
    canvas = np.ascontiguousarray(image).copy()
    marks = marks or _NOTHING
    if colors is None:
        numbers = instances.class_ids + 1 if instances.track_ids is None else instances.track_ids
        colors = [identity_color(int(number)) for number in numbers.tolist()]
    states = [CONFIRMED] * len(instances) if instances.states is None else instances.states.tolist()
    largest_first = np.argsort(-instances.areas(), kind='stable').tolist()
    for index in largest_first:
        _tint(canvas, instances.masks[index], instances.rois[index], colors[index], _FILL.get(states[index], 0.0))
    for index in largest_first:
        _outline(canvas, instances, index, colors[index], states[index])
    for index in sorted(marks.false):
        draw_cross(canvas, instances.boxes[index].tolist(), WHITE)
    if marks.lost is not None:
        for index in range(len(marks.lost)):
            draw_contours(canvas, _contours(canvas, marks.lost, index), WHITE, dashed=True)
    _draw_tags(canvas, instances, labels, colors, states, marks)
    return canvas


def _tint(canvas: Image, mask: NDArray[np.uint8], roi: NDArray[np.int32], color: Color, share: float) -> None:
    """Mix the color into the pixels of the mask."""
    x0, y0, x1, y1 = roi.tolist()
    if not share or x0 == x1 or y0 == y1:
        return
    window = canvas[y0:y1, x0:x1]
    added = (*(share * channel for channel in color), 0)  # four numbers: OpenCV before 4.6 takes no fewer
    tinted = cv2.add(cv2.convertScaleAbs(window, alpha=1 - share), added)
    cv2.copyTo(tinted, mask, window)


def _outline(canvas: Image, instances: Instances, index: int, color: Color, state: int) -> None:
    if state == LOST:
        draw_contours(canvas, [box_contour(instances.boxes[index].tolist())], color, dashed=True)
    else:
        draw_contours(canvas, _contours(canvas, instances, index), color, dashed=state == TENTATIVE)


def _contours(canvas: Image, instances: Instances, index: int) -> list[NDArray[np.int32]]:
    return mask_contours(instances.masks[index], instances.rois[index].tolist(), 0.6 * max(1.0, scale_of(canvas)))


def _draw_tags(
    canvas: Image,
    instances: Instances,
    labels: Labels,
    colors: Sequence[Color],
    states: Sequence[int],
    marks: TruthMarks,
) -> None:
    board = TagBoard(canvas)
    for index in range(len(instances)) if labels != 'none' else ():
        number = '' if instances.track_ids is None else str(instances.track_ids[index])
        if index in marks.switched:
            number = f'{marks.switched[index]}>{number}'
        details = _details(instances, index, states[index]) if labels == 'full' or not number else ''
        if index in marks.false:
            details = f'false {details}'.rstrip()
        board.draw(Tag(number, details, colors[index], states[index] == LOST), instances.boxes[index])
    for index in range(0 if marks.lost is None else len(marks.lost)):
        assert marks.lost is not None
        board.draw(Tag('', 'lost', WHITE, is_hollow=True), marks.lost.boxes[index])


def _details(instances: Instances, index: int, state: int) -> str:
    name = instances.names[index]
    return f'{name} lost' if state == LOST else f'{name} {instances.scores[index]:.2f}'
