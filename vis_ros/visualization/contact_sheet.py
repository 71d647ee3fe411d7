"""Contact sheets: images in rows with captions, of a video of any length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vis_ros.evenly_spaced import EvenlySpaced
from vis_ros.images import write_image_file
from vis_ros.visualization.drawable import drawable
from vis_ros.visualization.outlines import Image
from vis_ros.whole_file import whole_file

_FONT = cv2.FONT_HERSHEY_SIMPLEX


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
                caption = drawable(captions[row_index * columns + column])
                cv2.putText(sheet, caption, baseline, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return sheet


class VideoSheet:
    """A contact sheet of evenly spaced images of a video of unknown length, in bounded memory."""

    def __init__(self, count: int) -> None:
        """Show `count` images, or all of a shorter video, and as many more of those that are wanted."""
        self._images: EvenlySpaced[tuple[int, Image, str]] = EvenlySpaced(count)
        self._wanted: EvenlySpaced[tuple[int, Image, str]] = EvenlySpaced(count)
        self._seen = 0

    def __len__(self) -> int:
        """Number of images in memory, fewer than twice as many as are shown."""
        return len(self._images.kept) + len(self._wanted.kept)

    def add(self, image: Image, caption: str, *, is_wanted: bool = False) -> None:
        """Take the next image of the video, (H, W, 3) uint8 BGR, which must not change any more.

        Args:
            image: to show.
            caption: below it.
            is_wanted: show it beside the evenly spaced ones.
        """
        (self._wanted if is_wanted else self._images).add((self._seen, image, caption))
        self._seen += 1

    def write(self, path: Path, columns: int = 4, width: int = 1600) -> None:
        """Write the sheet; `columns` and `width` as for `contact_sheet`.

        Raises:
            ValueError: the video has no images.
            OSError: the file cannot be written.
        """
        chosen = sorted([*self._images.chosen(), *self._wanted.chosen()], key=lambda each: each[0])
        images, captions = [image for _, image, _ in chosen], [caption for _, _, caption in chosen]
        with whole_file(path) as partial:
            write_image_file(partial, contact_sheet(images, columns, width, captions))
