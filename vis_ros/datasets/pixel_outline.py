"""The outline of a mask along the edges of its pixels, as one polygon that gives back the same mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]


def pixel_outline(mask: NDArray[np.uint8]) -> list[Point]:
    """The corners of one closed polygon around a mask (H, W), 0 or not; [] for an empty mask.

    Parts and holes are rings of it, joined by lines that go there and back the same way and so enclose nothing: formats
    with a single polygon for an object can hold every mask.
    """
    rings = _rings(mask)
    if not rings:
        return []
    first = rings[0]
    polygon = [*first]
    for ring in rings[1:]:
        polygon += [first[0], *ring, ring[0]]
    return polygon


def _rings(mask: NDArray[np.uint8]) -> list[list[Point]]:
    """The closed lines between the mask and the rest: the corners of each."""
    following = _edges(mask)
    rings = []
    while following:
        start = point = next(iter(following))
        ring: list[Point] = []
        while True:
            ends = following[point]
            end = ends.pop()
            if not ends:
                del following[point]
            if len(ring) > 1 and _is_straight(ring[-2], ring[-1], point):
                ring.pop()
            ring.append(point)
            point = end
            if point == start:
                break
        rings.append(_without_straight_ends(ring))
    return rings


def _edges(mask: NDArray[np.uint8]) -> dict[Point, list[Point]]:
    """Start -> ends of the edges of pixels along the mask, with the mask on the right."""
    inside = np.pad(mask != 0, 1)
    center = inside[1:-1, 1:-1]
    sides = (  # the neighbor without the object, and where the edge to it begins and ends
        (inside[:-2, 1:-1], (0, 0), (1, 0)),
        (inside[1:-1, 2:], (1, 0), (1, 1)),
        (inside[2:, 1:-1], (1, 1), (0, 1)),
        (inside[1:-1, :-2], (0, 1), (0, 0)),
    )
    following: dict[Point, list[Point]] = {}
    for neighbor, (x0, y0), (x1, y1) in sides:
        for y, x in np.argwhere(center & ~neighbor).tolist():
            following.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    return following


def _without_straight_ends(ring: list[Point]) -> list[Point]:
    """A ring whose first and last points are corners."""
    if _is_straight(ring[-2], ring[-1], ring[0]):
        ring = ring[:-1]
    return ring[1:] if _is_straight(ring[-1], ring[0], ring[1]) else ring


def _is_straight(a: Point, b: Point, c: Point) -> bool:
    return a[0] == b[0] == c[0] or a[1] == b[1] == c[1]
