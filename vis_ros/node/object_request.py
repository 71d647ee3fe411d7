"""ObjectRequest: what ~/track_object and ~/forget_object ask of the tracker of a camera, in the worker thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from rclpy.task import Future

from vis_ros.images import ImageError, decode_image
from vis_ros.ros.stamps import nanoseconds
from vis_ros.srv import ForgetObject, TrackObject
from vis_ros.tracking.prompts import Prompt, PromptError
from vis_ros.tracking.tracker import Tracker

Seconds = Callable[[int], float]
"""Nanoseconds of a stamp to the seconds that a tracker counts in."""


@dataclass(frozen=True)
class RequestResult:
    """success, and track_id where something is tracked now; message: why not, or what; epoch: of the camera."""

    success: bool
    message: str
    track_id: int = 0
    epoch: int = 0


@dataclass(frozen=True, eq=False)
class ObjectRequest:
    """act: done with the tracker in the worker thread, returns the track id; PromptError refuses.

    future: gets the RequestResult, exactly one.
    """

    act: Callable[[Tracker, Seconds], int]
    future: Future[RequestResult]
    _unclaimed: threading.Lock = field(default_factory=threading.Lock, init=False)
    _unanswered: threading.Lock = field(default_factory=threading.Lock, init=False)

    def claim(self) -> bool:
        """Whether the caller is the first, and so the one who acts: the worker, or who waited for too long."""
        return self._unclaimed.acquire(blocking=False)

    def answer(self, answer: RequestResult) -> None:
        """The first answer counts."""
        if self._unanswered.acquire(blocking=False):
            self.future.set_result(answer)

    def refuse(self, reason: str) -> None:
        self.answer(RequestResult(False, reason))


def tracking(request: TrackObject.Request) -> Callable[[Tracker, Seconds], int]:
    """What a TrackObject asks for. PromptError where its mark cannot be read."""
    mask = _mask(request) if request.mask.width else None
    roi = request.roi
    box = (roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height) if roi.width else None
    point = (request.point.x, request.point.y) if request.use_point else None
    Prompt(mask=mask, box=box, point=point)  # says what is wrong with them
    stamp = nanoseconds(request.stamp)

    def act(tracker: Tracker, seconds: Seconds) -> int:
        at = None if stamp is None else seconds(stamp)
        return tracker.prompt(stamp=at, mask=mask, box=box, point=point)

    return act


def forgetting(request: ForgetObject.Request) -> Callable[[Tracker, Seconds], int]:
    """What a ForgetObject asks for."""

    def act(tracker: Tracker, _seconds: Seconds) -> int:
        tracker.forget(request.track_id)
        return int(request.track_id)

    return act


def _mask(request: TrackObject.Request) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    image = request.mask
    if image.encoding not in ('mono8', '8UC1'):
        raise PromptError(f'the mask has the encoding {image.encoding!r}, expected mono8 or 8UC1')
    try:
        pixels = decode_image(image)
    except ImageError as error:
        raise PromptError(f'the mask cannot be read: {error}') from error
    return pixels[..., 0]
