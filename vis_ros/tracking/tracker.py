"""Tracker: the protocol of everything that turns a stream of images into tracked instances."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances


class Tracker(Protocol):
    """All state of one camera that lives across frames."""

    @property
    def epoch(self) -> int:
        """Raised by one at each `reset`; identities compare only inside one epoch."""
        ...

    @property
    def identities(self) -> int:
        """How many identities are held in memory."""
        ...

    def step(self, image: NDArray[np.uint8], stamp: float) -> Instances:
        """Track the objects of the next image, (height, width, 3) uint8 BGR, taken at `stamp` seconds."""
        ...

    def reset(self) -> None:
        """Forget every identity and raise the epoch."""
        ...
