"""FrameHistory: the latest frames of a camera, which prompts can refer to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vis_ros.instances import Instances
from vis_ros.tracking.prompts import PromptError

_STAMP_TOLERANCE_S = 1e-3


@dataclass(frozen=True, eq=False)
class BufferedFrame:
    """A frame that prompts can refer to.

    image: at working size. source_size: (height, width) of the original image. tracks: what was found in it, where the
    tracker needs it.
    """

    stamp: float
    image: NDArray[np.uint8]
    source_size: tuple[int, int]
    tracks: Instances | None = None


class FrameHistory:
    """The frames of the last `seconds` seconds, at most `frames` of them."""

    def __init__(self, seconds: float, frames: int) -> None:
        self._seconds, self._most = seconds, frames
        self._frames: deque[BufferedFrame] = deque(maxlen=frames)

    def add(self, frame: BufferedFrame) -> None:
        """Add the next frame."""
        while self._frames and frame.stamp - self._frames[0].stamp > self._seconds:
            self._frames.popleft()
        self._frames.append(frame)

    def clear(self) -> None:
        """Forget all frames."""
        self._frames.clear()

    def at(self, stamp: float | None) -> BufferedFrame:
        """The frame with a stamp in seconds; None is the newest. PromptError says why there is none."""
        if not self._frames:
            raise PromptError('no image has arrived yet that a prompt could refer to')
        if stamp is None:
            return self._frames[-1]
        nearest = min(self._frames, key=lambda frame: abs(frame.stamp - stamp))
        if abs(nearest.stamp - stamp) <= _STAMP_TOLERANCE_S:
            return nearest
        oldest, newest = self._frames[0].stamp, self._frames[-1].stamp
        if stamp < oldest:
            raise PromptError(
                f'the stamp is {newest - stamp:.3f} s before the newest image, but only the last '
                f'{newest - oldest:.3f} s are buffered (at most {self._seconds:g} s and {self._most} images)'
            )
        where = 'after the newest image' if stamp > newest else 'from the nearest image'
        raise PromptError(f'no image has this stamp; it is {abs(nearest.stamp - stamp):.3f} s {where}')
