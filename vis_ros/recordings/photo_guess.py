"""Whether a folder of images holds photos rather than the frames of a video, by their sizes and names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vis_ros.images import ImageError, read_image_file

_FEWEST = 8
"""Of fewer images nothing is guessed."""
_LOOKED_AT = 16
"""Images that are read for their size."""
_SAME_SIZE = 0.75
_REGULAR = 0.6
"""Smallest shares of a video: of frames that have the most common size, and of steps between two numbers that are from
half to twice the usual step. Of numbers drawn at random 46 % of the steps are."""


def looks_like_photos(files: Sequence[Path]) -> str:
    """Why image files, in natural order, look like photos; '' if they look like a video or are too few to tell."""
    if len(files) < _FEWEST:
        return ''
    patterns = Counter(re.sub(r'\d+', '#', file.stem) for file in files)
    pattern, count = patterns.most_common(1)[0]
    if 2 * count < len(files):
        return 'their names do not follow one pattern'
    if '#' in pattern and _regularity([file for file in files if re.sub(r'\d+', '#', file.stem) == pattern]) < _REGULAR:
        return 'the numbers in their names do not follow each other'
    sizes = Counter(_size(file) for file in files[:: -(-len(files) // _LOOKED_AT)])
    sizes.pop(None, None)
    if sizes and sizes.most_common(1)[0][1] < _SAME_SIZE * sizes.total():
        return 'they differ in size'
    return ''


def _regularity(files: Sequence[Path]) -> float:
    """Share of the steps of the last number in the names that are like the usual step."""
    numbers = [int(re.findall(r'\d+', file.stem)[-1]) for file in files]
    steps = np.diff(np.array(numbers, object)).astype(float)
    if not len(steps):
        return 1.0
    usual = float(np.median(steps))
    return float(((steps >= usual / 2) & (steps <= 2 * usual)).mean())


def _size(file: Path) -> tuple[int, ...] | None:
    try:
        return read_image_file(file).shape[:2]
    except ImageError:
        return None  # reported when it is replayed
