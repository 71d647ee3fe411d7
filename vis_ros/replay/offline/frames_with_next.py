"""frames_with_next: pairs each frame of a recording with the image that follows it in its stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vis_ros.recordings.recording import Frame

Pair = tuple[Frame, NDArray[np.uint8] | None]


def frames_with_next(frames: Iterable[Frame]) -> Iterator[Pair]:
    """Each frame with the next image of its stream; None at the end and before the clock is set back.

    A frame comes when the next one of its stream has been read. Where reading fails, those that wait come before the
    error.
    """
    waiting: dict[str, Frame] = {}
    try:
        for frame in frames:
            before = waiting.get(frame.stream)
            waiting[frame.stream] = frame
            if before is not None:
                yield before, frame.image if frame.epoch == before.epoch else None
    except GeneratorExit:
        raise
    except Exception:
        yield from _last(waiting)
        raise
    yield from _last(waiting)


def _last(waiting: dict[str, Frame]) -> Iterator[Pair]:
    return ((frame, None) for frame in waiting.values())
