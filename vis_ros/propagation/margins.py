"""Margins: one signed map for each object, made from a propagator's planes, that can be enlarged without overlaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def margins(planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """For each plane (h, w) but the first of (M + 1, h, w): by how much it exceeds the largest of the other planes.

    A margin is positive where the object has the label. Bilinear enlargement keeps this exclusive: no two margins are
    positive at the same pixel.
    """
    ordered = np.partition(planes, len(planes) - 2, 0)
    best, second = ordered[-1], ordered[-2]
    return [np.where(plane == best, plane - second, plane - best) for plane in planes[1:]]
