"""Margins: one signed map for each object, made from a propagator's planes, that can be enlarged without overlaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def margins(planes: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """For each plane (h, w) but the first of (M + 1, h, w): by how much it exceeds the largest of the other planes.

    A margin is positive where the object has the label. Bilinear enlargement keeps this exclusive: no two margins are
    positive at the same pixel.
    """
    best, second = planes[0], np.full_like(planes[0], -np.inf)
    for plane in planes[1:]:  # np.partition takes several times as long
        second = np.maximum(second, np.minimum(best, plane))
        best = np.maximum(best, plane)
    return [np.where(plane == best, plane - second, plane - best) for plane in planes[1:]]
