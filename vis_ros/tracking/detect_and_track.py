"""DetectAndTrack: every frame detected, then associated with the identity memory (approach (a) of the lecture)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine
from vis_ros.instances import Instances
from vis_ros.tracking.identity_memory import IdentityMemory


class DetectAndTrack:
    """A `Tracker` of one engine, which cameras may share, and one memory, which they may not."""

    def __init__(self, engine: Engine, memory: IdentityMemory) -> None:
        self._engine = engine
        self._memory = memory

    @property
    def epoch(self) -> int:
        return self._memory.epoch

    @property
    def identities(self) -> int:
        return len(self._memory)

    def step(self, image: NDArray[np.uint8], stamp: float) -> Instances:
        """Detect, associate, and return the detections that have an identity, in ascending order of it."""
        (detections,) = self._engine.infer([image])
        return self.track(detections, stamp)

    def track(self, detections: Instances, stamp: float) -> Instances:
        """Associate detections made elsewhere (a batch of several cameras, a stored run).

        The class of each is that of its identity, which single detections do not change.
        """
        assert detections.embeddings is not None, 'an engine gives an embedding for every detection'
        track_ids = self._memory.update(
            detections.boxes, detections.association_scores, detections.class_ids, detections.embeddings, stamp
        )
        kept = np.flatnonzero(track_ids)
        kept = kept[np.argsort(track_ids[kept], kind='stable')]
        identities = self._memory.lookup(track_ids[kept])
        return detections[kept].with_fields(
            class_ids=self._memory.class_ids[kept],
            track_ids=track_ids[kept],
            match_scores=self._memory.match_scores[kept],
            hits=identities.hits,
            states=identities.states,
            first_seen=identities.first_seen,
        )

    def reset(self) -> None:
        """Forget every identity and raise the epoch."""
        self._memory.reset()
