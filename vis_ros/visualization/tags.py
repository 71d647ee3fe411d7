"""Tags: plates with the id of an object and what it is, placed where they hide no other plate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.visualization.drawable import drawable
from vis_ros.visualization.outlines import Image, scale_of
from vis_ros.visualization.palette import Color, ink_on

_FONT = cv2.FONT_HERSHEY_DUPLEX
_NUMBER_SIZE, _DETAILS_SIZE = 0.62, 0.4
_LEAST_SIZE = 0.35
"""Of text: below it OpenCV's letters run together."""
_WIDEST = 0.35
"""A plate with details takes no more than this share of the width."""
_DARK = (24, 24, 24)
_CELL = 8
"""Side of a cell of the grid of used places, in pixels."""

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tag:
    """A plate.

    number: in large letters; details: in small ones after it, left out where there is no room.
    color: of the plate. is_hollow: only its border and text have the color.
    """

    number: str
    details: str
    color: Color
    is_hollow: bool = False


@dataclass(frozen=True)
class _Text:
    """A line of text with its size in pixels; height is that above the base line."""

    text: str
    size: float
    thickness: int
    width: int
    height: int
    descent: int


@lru_cache(1000)  # measuring takes longer than drawing
def _measured(text: str, size: float, thickness: int) -> _Text:
    text = drawable(text)
    (width, height), descent = cv2.getTextSize(text, _FONT, size, thickness)
    return _Text(text, size, thickness, width, height, descent)


class TagBoard:
    """Draws tags on a canvas, and remembers the used places in a coarse grid: the cost of a tag is that of its area."""

    def __init__(self, canvas: Image) -> None:
        self._canvas = canvas
        self._scale = scale_of(canvas)
        height, width = canvas.shape[:2]
        self._used: NDArray[np.bool_] = np.zeros((height // _CELL + 1, width // _CELL + 1), np.bool_)

    def draw(self, tag: Tag, box: NDArray[np.float32]) -> None:
        """Draw a tag near the box x0 y0 x1 y1: with details where they fit, else its number alone."""
        texts = [self._text(tag.number, _NUMBER_SIZE, 1.0)] if tag.number else []
        details = [self._text(tag.details, _DETAILS_SIZE, 0.5)] if tag.details else []
        plate, cost = self._place([*texts, *details], box)
        is_wide = plate[2] - plate[0] > _WIDEST * self._canvas.shape[1]
        if (cost or is_wide) and texts and details:
            plate, details = self._place(texts, box)[0], []
        if not (texts or details):
            return
        x0, y0, x1, y1 = plate
        self._used[y0 // _CELL : -(-y1 // _CELL), x0 // _CELL : -(-x1 // _CELL)] = True
        self._draw([*texts, *details], plate, tag)

    def _text(self, text: str, size: float, weight: float) -> _Text:
        return _measured(text, max(_LEAST_SIZE, size * self._scale), max(1, round(weight * self._scale)))

    @property
    def _pad(self) -> int:
        return max(2, round(3 * self._scale))

    def _place(self, texts: list[_Text], box: NDArray[np.float32]) -> tuple[Rectangle, int]:
        """Above the box, in its upper or lower end, or below it: the first place where the plate is free, and how many
        cells of it are used at the best one.
        """
        height, width = self._canvas.shape[:2]
        wide = sum(each.width for each in texts) + self._pad * (len(texts) + 1)
        high = max((each.height + min(each.descent, self._pad) for each in texts), default=0) + 2 * self._pad
        x0, y0, _, y1 = (int(value) for value in box)
        x = max(0, min(x0, width - wide))
        best: tuple[Rectangle, int] | None = None
        for top in (y0 - high, y0, y1 - high, y1):
            y = max(0, min(top, height - high))
            right, bottom = min(width, x + wide), min(height, y + high)
            cells = self._used[y // _CELL : -(-bottom // _CELL), x // _CELL : -(-right // _CELL)]
            cost = int(np.count_nonzero(cells))
            if best is None or cost < best[1]:
                best = (x, y, right, bottom), cost
            if not cost:
                break
        assert best is not None
        return best

    def _draw(self, texts: list[_Text], plate: Rectangle, tag: Tag) -> None:
        x0, y0, x1, y1 = plate
        ink, plate_color = (tag.color, _DARK) if tag.is_hollow else (ink_on(tag.color), tag.color)
        cv2.rectangle(self._canvas, (x0, y0), (x1 - 1, y1 - 1), plate_color, cv2.FILLED)
        if tag.is_hollow:
            cv2.rectangle(self._canvas, (x0, y0), (x1 - 1, y1 - 1), tag.color, max(1, round(self._scale)))
        baseline = y0 + self._pad + max(each.height for each in texts)
        x = x0 + self._pad
        for each in texts:
            cv2.putText(self._canvas, each.text, (x, baseline), _FONT, each.size, ink, each.thickness, cv2.LINE_AA)
            x += each.width + self._pad
