"""Image files: which files are images, and in which order their names come."""

from __future__ import annotations

import re

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
"""Suffixes of image files, in lower case; all of them can be read by OpenCV."""


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which digits compare as numbers: frame 2 comes before frame 10.

    >>> sorted(['frame10', 'frame2'], key=natural_order)
    ['frame2', 'frame10']
    """
    return [(int(part), '') if part.isdecimal() else (-1, part.lower()) for part in re.split(r'(\d+)', name)]
