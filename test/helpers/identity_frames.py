"""Detections of one frame for an identity memory, as plain lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vis_ros.tracking.association_config import AssociationConfig
from vis_ros.tracking.identity_memory import IdentityMemory, Memory
from vis_ros.tracking.published_memory import PublishedConfig, PublishedMemory
from vis_ros.tracking.tracks import Tracks

LEFT, RIGHT, FAR = [0, 0, 10, 10], [30, 0, 40, 10], [300, 0, 310, 10]
RED, BLUE, GREEN = [4, -4, -4], [-4, 4, -4], [-4, -4, 4]  # dot product 48 with itself, -16 with another


@dataclass
class Frame:
    """Detections as plain lists."""

    boxes: list[Sequence[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    embeddings: list[Sequence[float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)

    def add(self, box: Sequence[float], embedding: Sequence[float], score: float = 0.9, class_id: int = 0) -> Frame:
        self.boxes.append(box)
        self.scores.append(score)
        self.class_ids.append(class_id)
        self.embeddings.append(embedding)
        return self

    def permuted(self, order: list[int]) -> Frame:
        return Frame(*([values[i] for i in order] for values in vars(self).values()))

    def contents(self) -> list[tuple[Any, ...]]:
        rows = zip(self.scores, self.boxes, self.class_ids, self.embeddings, strict=True)
        return [(score, *box, class_id, *embedding) for score, box, class_id, embedding in rows]


def memory_with(rule: Any = 'one_to_one', **settings: Any) -> Memory:
    if rule != 'one_to_one':
        return PublishedMemory(PublishedConfig(rule, **settings))
    return IdentityMemory(AssociationConfig(**({'new_track_score': 0.4} | settings)))


def tracks_of(memory: Memory, frame: Frame, stamp: float) -> Tracks:
    return memory.update(frame.boxes, frame.scores, frame.class_ids, frame.embeddings, stamp)


def update(memory: Memory, frame: Frame, stamp: float) -> list[int]:
    return tracks_of(memory, frame, stamp).track_ids.tolist()


def shifted(x: float) -> list[float]:
    return [x, 0, x + 10, 10]
