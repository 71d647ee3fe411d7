"""NetworkParts: the interface between a propagator and the engine that runs its network. Does not import torch."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vis_ros.propagation.propagation_config import PropagationConfig


class NetworkParts(Protocol):
    """A propagation network as stateless parts with fixed shapes, run by torch or by an engine with exported graphs.

    The parts of each system are in its parts.py. Propagators keep all state, as arrays, so one propagator serves every
    engine. Several propagators may share the parts, also in several threads.
    """

    @property
    def config(self) -> PropagationConfig:
        """Config of the network."""
        ...

    def run(self, part: str, *inputs: NDArray[Any], any_size: bool = False) -> tuple[NDArray[Any], ...]:
        """The outputs of a part, which the caller owns.

        any_size: the sizes of the inputs change with the objects. An engine that compiles a part for each size then
            compiles it once for all, which is about a tenth slower.
        """
        ...

    def weights(self, prefix: str) -> dict[str, NDArray[np.float32]]:
        """Stored weights whose name starts with a prefix, by the rest of their name. The caller owns them."""
        ...


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax over the first axis."""
    shifted = np.exp(logits - logits.max(0))
    shifted /= shifted.sum(0)
    return np.asarray(shifted, np.float32)
