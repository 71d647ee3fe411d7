"""PhotoMemory: in place of a memory where images have nothing to do with each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vis_ros.instances import CONFIRMED
from vis_ros.tracking.tracks import Tracks


class PhotoMemory:
    """Numbers the detections of every image from 1, in the given order, and remembers nothing."""

    def update(
        self, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike, embeddings: ArrayLike, stamp: float
    ) -> Tracks:
        """As `IdentityMemory.update`; every detection is kept, with its own class."""
        count = len(np.asarray(scores))
        return Tracks(
            track_ids=np.arange(1, count + 1, dtype=np.uint32),
            class_ids=np.asarray(class_ids, np.int32).copy(),
            match_scores=np.ones(count, np.float32),
            hits=np.ones(count, np.uint32),
            states=np.full(count, CONFIRMED, np.uint8),
            first_seen=np.full(count, stamp),
        )

    def reset(self) -> None:
        """Nothing to forget."""

    def __len__(self) -> int:
        return 0
