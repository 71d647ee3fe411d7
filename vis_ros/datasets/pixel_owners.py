"""Overlapping masks, which DAVIS pictures and MOTS text cannot hold: each pixel goes to one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vis_ros.datasets.rle import Rle, areas, decode, encode
from vis_ros.datasets.segmentation import union
from vis_ros.datasets.video import AnnotatedFrame


@dataclass(frozen=True)
class Disjoint:
    """The masks of a frame without overlaps, in its order; the ignored region without the objects.

    taken: pixels that an object lost to another one. hidden: objects without a pixel.
    """

    masks: Sequence[Rle]
    ignored: Rle | None
    taken: int

    @property
    def hidden(self) -> int:
        return int((areas(self.masks) == 0).sum()) if self.masks else 0


def overlapping(masks: Sequence[Rle]) -> int:
    """How many pixels more the masks have one by one than together."""
    return int(areas(masks).sum() - areas([union(masks)])[0]) if masks else 0


def disjoint(frame: AnnotatedFrame) -> Disjoint:
    """Give each pixel to the object with the highest score; of equal ones the smaller, then the one with the lower id.

    Objects are worth more than an ignored region.
    """
    every = [*frame.masks, *([] if frame.ignored is None else [frame.ignored])]
    if not overlapping(every):
        return Disjoint(frame.masks, frame.ignored, 0)
    sizes = areas(frame.masks) if frame.masks else np.zeros(0, np.int64)
    ranking = np.lexsort((frame.track_ids, sizes, -frame.scores))
    owner = np.full(frame.size, -1, np.int32, order='F')  # as run lengths go
    if frame.ignored is not None:
        owner[decode(frame.ignored) > 0] = len(frame)
    for position in reversed(ranking.tolist()):
        owner[decode(frame.masks[position]) > 0] = position
    masks = [encode(owner == position) for position in range(len(frame))]
    ignored = None if frame.ignored is None else encode(owner == len(frame))
    taken = int(sizes.sum() - areas(masks).sum()) if masks else 0
    return Disjoint(masks, ignored, taken)
