"""Detections: what the identity memory needs to know of one frame, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LARGEST_COORDINATE, _LARGEST_EMBEDDING = 1e9, 1e15  # of more, areas and dot products would overflow float32


@dataclass(frozen=True, eq=False)
class Detections:
    """N detections: boxes (N, 4) float32, scores (N,) float32, class_ids (N,) int32, embeddings (N, D) float32."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    embeddings: NDArray[np.float32]

    @classmethod
    def validated(cls, boxes: ArrayLike, scores: ArrayLike, class_ids: ArrayLike, embeddings: ArrayLike) -> Detections:
        """Arrays of the right type, or ValueError that names the field and the first detection that is wrong."""
        if not any(np.size(values) for values in (boxes, scores, class_ids, embeddings)):
            boxes, scores, class_ids, embeddings = np.empty((0, 4)), [], [], np.empty((0, 0))
        detections = cls(
            np.asarray(boxes, np.float32),
            np.asarray(scores, np.float32),
            np.asarray(class_ids, np.int32),
            np.asarray(embeddings, np.float32),
        )
        detections._check_shapes()
        detections._check_values('boxes', np.abs(detections.boxes).max(axis=1, initial=0) <= _LARGEST_COORDINATE)
        detections._check_values('scores', (detections.scores >= 0) & (detections.scores <= 1))
        detections._check_values(
            'embeddings', np.abs(detections.embeddings).max(axis=1, initial=0) <= _LARGEST_EMBEDDING
        )
        return detections

    def _check_shapes(self) -> None:
        count = len(self.scores)
        for name, shape in (('boxes', (count, 4)), ('scores', (count,)), ('class_ids', (count,))):
            array: NDArray[Any] = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f'{name} have shape {array.shape}, expected {shape} for {count} scores')
        if self.embeddings.ndim != 2 or len(self.embeddings) != count:
            raise ValueError(f'embeddings have shape {self.embeddings.shape}, expected ({count}, D) for {count} scores')

    def _check_values(self, name: str, good: NDArray[np.bool_]) -> None:
        if not good.all():
            index = int(np.argmin(good))
            value = getattr(self, name)[index]
            shown = 'not finite, or far too large' if name == 'embeddings' else f'{value.tolist()}'
            raise ValueError(f'{name}[{index}] is {shown}: the frame is refused')

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> Detections:
        return Detections(self.boxes[rows], self.scores[rows], self.class_ids[rows], self.embeddings[rows])

    def order_by_content(self) -> NDArray[np.intp]:
        """Indices that sort by falling score, then box, category and embedding.

        What is computed in this order is the same, to the last bit, in whatever order the detections came.
        """
        keys = np.column_stack([-self.scores, self.boxes, self.class_ids])
        order = np.lexsort(keys.T[::-1])
        if (keys[order[1:]] == keys[order[:-1]]).all(axis=1).any():
            order = np.lexsort(np.column_stack([keys, self.embeddings]).T[::-1])
        return order
