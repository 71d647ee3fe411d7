"""Drawing: tracked instances on an image, and many images on a contact sheet. numpy and OpenCV only."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.evenly_spaced import EvenlySpaced
from vis_ros.instances import LOST, Instances

Image = NDArray[np.uint8]
Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
_SHADES = ((0.85, 1.0), (0.6, 1.0), (1.0, 0.85))  # (saturation, value), in turn, so that near hues differ in shade too
_REFERENCE_SIDE = 640  # lines and text are drawn for an image whose longer side is this, and scale with it
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FILL = 0.4


def identity_color(number: int) -> Color:
    """The BGR color of a track id: the same in every frame, and far from those of neighboring ids.

    Multiples of the golden ratio modulo one cover the hue circle evenly, however many there are.
    """
    saturation, value = _SHADES[number % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN_RATIO % 1.0, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def draw_overlay(image: Image, instances: Instances) -> Image:
    """Draw every object: tinted, outlined, and labeled with track id, class and score.

    Args:
        image: (H, W, 3) uint8 BGR, not modified.
        instances: objects of that image. Without `track_ids` the color follows the class and the label has no id.

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
    numbers = instances.class_ids + 1 if instances.track_ids is None else instances.track_ids
    colors = [identity_color(int(number)) for number in numbers]
    largest_first = np.argsort(-instances.areas(), kind='stable')
    for index in largest_first:
        _tint(canvas, instances.masks[index], instances.rois[index], colors[index])
    for index in largest_first:
        _outline(canvas, instances.masks[index], instances.rois[index], colors[index])
    taken: list[Rectangle] = []
    for index in range(len(instances)):
        taken.append(_tag(canvas, _label(instances, index), instances.boxes[index], colors[index], taken))
    return canvas


def contact_sheet(
    images: Sequence[Image], columns: int = 4, width: int = 1600, captions: Sequence[str] | None = None
) -> Image:
    """Arrange images in rows, each scaled to the width of a column, with a caption below.

    Args:
        images: one or more (H, W, 3) uint8 BGR; sizes may differ.
        columns: images per row, at most.
        width: of the sheet in pixels.
        captions: one per image, or None.

    Returns:
        (height, width, 3) uint8 BGR on black.

    Raises:
        ValueError: there are no images, or the number of captions differs.
    """
    if not images:
        raise ValueError('a contact sheet needs at least one image')
    if captions is not None and len(captions) != len(images):
        raise ValueError(f'{len(images)} images, but {len(captions)} captions')
    columns = max(1, min(columns, len(images)))
    gap = max(2, width // 200)
    cell = max(1, (width - gap * (columns + 1)) // columns)
    scale = cell / 500
    line = 0 if captions is None else cv2.getTextSize('Ag', _FONT, scale, 1)[0][1] + 3 * gap
    thumbnails = [
        cv2.resize(i, (cell, max(1, i.shape[0] * cell // i.shape[1])), interpolation=cv2.INTER_AREA) for i in images
    ]
    rows = [thumbnails[first : first + columns] for first in range(0, len(thumbnails), columns)]
    heights = [max(len(thumbnail) for thumbnail in row) + line + gap for row in rows]
    sheet = np.zeros((sum(heights) + gap, width, 3), np.uint8)
    for row_index, row in enumerate(rows):
        y = gap + sum(heights[:row_index])
        for column, thumbnail in enumerate(row):
            x = gap + column * (cell + gap)
            sheet[y : y + len(thumbnail), x : x + cell] = thumbnail
            if captions is not None:
                baseline = (x, y + len(thumbnail) + line - 2 * gap)
                caption = captions[row_index * columns + column]
                cv2.putText(sheet, caption, baseline, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return sheet


class VideoSheet:
    """A contact sheet of evenly spaced images of a video of unknown length, in bounded memory."""

    def __init__(self, count: int) -> None:
        """Show `count` images, or all of a shorter video."""
        self._images: EvenlySpaced[tuple[Image, str]] = EvenlySpaced(count)

    def __len__(self) -> int:
        """Number of images in memory, fewer than twice as many as are shown."""
        return len(self._images.kept)

    def add(self, image: Image, caption: str) -> None:
        """Take the next image of the video, (H, W, 3) uint8 BGR, which must not change any more."""
        self._images.add((image, caption))

    def write(self, path: Path, columns: int = 4, width: int = 1600) -> None:
        """Write the sheet; `columns` and `width` as for `contact_sheet`.

        Raises:
            ValueError: the video has no images.
            OSError: the file cannot be written.
        """
        chosen = self._images.chosen()
        images, captions = [image for image, _ in chosen], [caption for _, caption in chosen]
        if not cv2.imwrite(str(path), contact_sheet(images, columns, width, captions)):
            raise OSError(f'cannot write {path}')


def _scale(canvas: Image) -> float:
    return max(canvas.shape[:2]) / _REFERENCE_SIDE


def _tint(canvas: Image, mask: NDArray[np.uint8], roi: NDArray[np.int32], color: Color) -> None:
    x0, y0, x1, y1 = roi.tolist()
    window, inside = canvas[y0:y1, x0:x1], mask.astype(bool)
    tinted = window[inside] * (1 - _FILL) + np.array(color) * _FILL
    window[inside] = tinted.round().astype(np.uint8)


def _outline(canvas: Image, mask: NDArray[np.uint8], roi: NDArray[np.int32], color: Color) -> None:
    if not mask.any():
        return
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(int(roi[0]), int(roi[1])))
    cv2.drawContours(canvas, contours, -1, color, max(1, round(2 * _scale(canvas))), cv2.LINE_8)


def _label(instances: Instances, index: int) -> str:
    name = instances.names[index]
    lost = instances.states is not None and instances.states[index] == LOST
    label = f'{name} lost' if lost else f'{name} {instances.scores[index]:.2f}'
    return label if instances.track_ids is None else f'{instances.track_ids[index]} {label}'


def _tag(canvas: Image, label: str, box: NDArray[np.float32], color: Color, taken: Sequence[Rectangle]) -> Rectangle:
    """Write the label on a plate of the object's color where it hides no other plate; returns the plate."""
    scale = max(0.35, 0.5 * _scale(canvas))
    thickness = max(1, round(_scale(canvas)))
    pad = max(2, round(3 * _scale(canvas)))
    (text_width, text_height), descent = cv2.getTextSize(label, _FONT, scale, thickness)
    size = text_width + 2 * pad, text_height + descent + 2 * pad
    x, y, right, bottom = _place(size, box, canvas.shape[:2], taken)
    cv2.rectangle(canvas, (x, y), (right - 1, bottom - 1), color, cv2.FILLED)
    blue, green, red = color
    ink = (0, 0, 0) if 0.114 * blue + 0.587 * green + 0.299 * red > 128 else (255, 255, 255)  # Rec. 601 luma
    cv2.putText(canvas, label, (x + pad, y + pad + text_height), _FONT, scale, ink, thickness, cv2.LINE_AA)
    return x, y, right, bottom


def _place(
    size: tuple[int, int], box: NDArray[np.float32], image_size: tuple[int, ...], taken: Sequence[Rectangle]
) -> Rectangle:
    """Above the box, in its upper or lower end, or below it: the first where the plate fits and is free."""
    width, height = size
    x0, y0, _, y1 = (int(value) for value in box)
    x = max(0, min(x0, image_size[1] - width))
    plates = []
    for top in (y0 - height, y0, y1 - height, y1):
        y = max(0, min(top, image_size[0] - height))
        plates.append((x, y, x + width, y + height))
    return min(plates, key=lambda plate: sum(_shared(plate, other) for other in taken))


def _shared(a: Rectangle, b: Rectangle) -> int:
    """Pixels that two rectangles have in common."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
