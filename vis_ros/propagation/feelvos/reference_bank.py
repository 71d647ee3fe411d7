"""ReferenceBank: the reference embeddings of several objects in the fixed form that global matching takes. Does not
import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAR = 1e9
"""Squared distance that stands for no match: it becomes a distance of 1."""
CHUNK = 128
"""Embeddings in a chunk; all of a chunk belong to one object."""


@dataclass(frozen=True, eq=False)
class ReferenceBank:
    """The embeddings of K objects in chunks, so that one matrix product compares a frame with all of them.

    chunks: (C, CHUNK, E + 1): -2 e and |e|^2 of each embedding e. Unused rows are 0 and FAR.
    owners: (K, C): 0 where the chunk belongs to the object, otherwise FAR.
    """

    chunks: NDArray[np.float32]
    owners: NDArray[np.float32]

    @classmethod
    def of(cls, references: Sequence[NDArray[np.float32]]) -> ReferenceBank:
        """The bank of the embeddings (N, E) of each object; N may be 0."""
        counts = [-(-len(each) // CHUNK) for each in references]
        total, size = max(sum(counts), 1), references[0].shape[1]
        rows = np.zeros((total * CHUNK, size + 1), np.float32)
        rows[:, -1] = FAR
        owners = np.full((len(references), total), FAR, np.float32)
        first = 0
        for number, (each, count) in enumerate(zip(references, counts, strict=True)):
            placed = rows[first * CHUNK : first * CHUNK + len(each)]
            placed[:, :-1] = -2 * each
            placed[:, -1] = (each * each).sum(1)
            owners[number, first : first + count] = 0
            first += count
        return cls(rows.reshape(total, CHUNK, size + 1), owners)
