"""DetectAndTrack: MaskTrack R-CNN (Yang et al. 2019): detect in every frame, then associate with the tracks in
memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vis_ros.engines.engine import Engine
from vis_ros.instances import Instances
from vis_ros.tracking.detection_filter import DetectionFilter
from vis_ros.tracking.identity_memory import IdentityMemory, Memory
from vis_ros.tracking.prompts import PromptError
from vis_ros.tracking.published_memory import PublishedMemory
from vis_ros.tracking.settings import Settings
from vis_ros.tracking.tracker import Box, Point


class DetectAndTrack:
    """A `Tracker` of one memory and one engine, which several cameras may share.

    wanted: which detections are tracked; None keeps all that the engine returns.
    """

    def __init__(self, engine: Engine, memory: Memory, wanted: DetectionFilter | None = None) -> None:
        self.class_names = engine.class_names
        self._engine = engine
        self._memory = memory
        self._filter = wanted or DetectionFilter(engine)

    @property
    def identities(self) -> int:
        return len(self._memory)

    @property
    def lost(self) -> int:
        return 0

    @property
    def state(self) -> Mapping[str, object]:
        return {}

    def step(
        self,
        image: NDArray[np.uint8],
        stamp: float,
        found: Instances | None = None,
        *,
        after: NDArray[np.uint8] | None = None,
    ) -> Instances:
        """Detect, associate, and return the detections that have a track, in ascending order of track id."""
        return self.track(self.detect(image) if found is None else self._filter.keep(found), stamp)

    def detect(self, image: NDArray[np.uint8]) -> Instances:
        """The wanted detections in an image, without tracks."""
        (detections,) = self._engine.infer([image])
        return self._filter.keep(detections)

    def track(self, detections: Instances, stamp: float) -> Instances:
        """Associate detections made elsewhere (a batch of several cameras, a stored run).

        The class of each object is that of its track, which single detections do not change.
        """
        assert detections.embeddings is not None, 'an engine gives an embedding for every detection'
        tracks = self._memory.update(
            detections.boxes, detections.association_scores, detections.class_ids, detections.embeddings, stamp
        )
        kept = np.flatnonzero(tracks.track_ids)
        kept = kept[np.argsort(tracks.track_ids[kept], kind='stable')]
        return detections[kept].with_fields(
            class_ids=tracks.class_ids[kept],
            track_ids=tracks.track_ids[kept],
            match_scores=tracks.match_scores[kept],
            hits=tracks.hits[kept],
            states=tracks.states[kept],
            first_seen=tracks.first_seen[kept],
            class_names=self.class_names,
        )

    def start(self, box: NDArray[np.float32], class_id: int, embedding: NDArray[np.float32]) -> int:
        """Start a track by other means than a detection; see `IdentityMemory.start`."""
        return self._own_memory().start(box, class_id, embedding)

    def keep(self, track_id: int, box: NDArray[np.float32] | None = None) -> None:
        """Do not let a track grow old; see `IdentityMemory.keep`."""
        self._own_memory().keep(track_id, box)

    def _own_memory(self) -> IdentityMemory:
        assert isinstance(self._memory, IdentityMemory), 'the published rules are not used with prompts'
        return self._memory

    def prompt(
        self,
        *,
        mask: NDArray[np.generic] | None = None,
        box: Box | None = None,
        point: Point | None = None,
        stamp: float | None = None,
    ) -> int:
        raise PromptError('this model only detects and cannot follow what a prompt shows: set bridge to feelvos')

    def forget(self, track_id: int) -> None:
        raise PromptError('this model only detects, and detects every object again: there is no prompt to forget')

    def reset(self) -> None:
        """Delete every track."""
        self._memory.reset()

    def configure(self, settings: Settings) -> None:
        self._filter.configure(settings.score_threshold, settings.classes)
        if isinstance(self._memory, IdentityMemory):
            self._memory.config = settings.association_config()
        elif isinstance(self._memory, PublishedMemory):
            self._memory.config = settings.published_config()
