"""EvenlySpaced: a contact sheet of a stream."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vis_ros.visualization import contact_sheet


class EvenlySpaced:
    """Keeps a few evenly spaced images of a stream whose length is not known, in bounded memory."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._stride = 1
        self._seen = 0
        self._kept: list[tuple[NDArray[np.uint8], str]] = []

    def add(self, image: NDArray[np.uint8], caption: str) -> None:
        """Show the next image, (H, W, 3) uint8 BGR; whether it is kept, later ones decide."""
        if self._seen % self._stride == 0:
            self._kept.append((image, caption))
            if len(self._kept) == 2 * self._count:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    def write(self, path: Path, columns: int = 4, width: int = 1600) -> None:
        """Write them as a contact sheet.

        Raises:
            OSError: the file cannot be written.
        """
        last = len(self._kept) - 1
        chosen = [self._kept[round(i)] for i in np.linspace(0, last, min(self._count, last + 1))]
        images, captions = [image for image, _ in chosen], [caption for _, caption in chosen]
        if not cv2.imwrite(str(path), contact_sheet(images, columns, width, captions)):
            raise OSError(f'cannot write {path}')
