"""ObjectRequest: a change to the tracker of a camera that a service call asks for and the worker thread makes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rclpy.task import Future

from vis_ros.images import ImageError, decode_image
from vis_ros.ros.stamps import nanoseconds
from vis_ros.srv import ForgetObject, TrackObject
from vis_ros.tracking.prompts import Prompt, PromptError
from vis_ros.tracking.tracker import Tracker

Seconds = Callable[[int], float]
"""Stamp in nanoseconds -> the seconds that the tracker counts in."""
Change = Callable[[Tracker, Seconds], int]
"""Changes a tracker and returns the track id; PromptError says why it cannot."""


@dataclass(frozen=True)
class RequestResult:
    """What the service responds. message: the object, or why the request was rejected; epoch: of the track id."""

    success: bool
    message: str
    track_id: int = 0
    epoch: int = 0


@dataclass(frozen=True, eq=False)
class ObjectRequest:
    """A change that is applied at most once and gets exactly one result.

    apply: makes the change, in the worker thread.
    future: gets the result.
    wake: makes the executor look at the future: it does not notice a result that another thread sets.
    """

    apply: Change
    future: Future[RequestResult]
    wake: Callable[[], None]
    _not_started: threading.Lock = field(default_factory=threading.Lock, init=False)
    _not_finished: threading.Lock = field(default_factory=threading.Lock, init=False)

    def try_start(self) -> bool:
        """True for the first caller only: the worker that will apply it, or whoever rejects it after a timeout."""
        return self._not_started.acquire(blocking=False)

    def accept(self, track_id: int, epoch: int) -> None:
        self._finish(RequestResult(True, f'track {track_id}', track_id, epoch))

    def reject(self, reason: str) -> None:
        self._finish(RequestResult(False, reason))

    def _finish(self, result: RequestResult) -> None:
        """Only the first result counts."""
        if self._not_finished.acquire(blocking=False):
            self.future.set_result(result)
            self.wake()


def track_change(request: TrackObject.Request) -> Change:
    """What a TrackObject asks for. Raises PromptError if its prompt is invalid."""
    mask = _mask(request) if request.mask.width else None
    roi = request.roi
    box = (roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height) if roi.width else None
    point = (request.point.x, request.point.y) if request.use_point else None
    Prompt(mask=mask, box=box, point=point)  # raises if it is not exactly one of them
    stamp = nanoseconds(request.stamp)

    def apply(tracker: Tracker, seconds: Seconds) -> int:
        return tracker.prompt(mask=mask, box=box, point=point, stamp=None if stamp is None else seconds(stamp))

    return apply


def forget_change(request: ForgetObject.Request) -> Change:
    """What a ForgetObject asks for."""
    track_id = int(request.track_id)

    def apply(tracker: Tracker, _seconds: Seconds) -> int:
        tracker.forget(track_id)
        return track_id

    return apply


def _mask(request: TrackObject.Request) -> NDArray[np.uint8]:
    image = request.mask
    if image.encoding not in ('mono8', '8UC1'):
        raise PromptError(f'the mask has the encoding {image.encoding!r}, expected mono8 or 8UC1')
    try:
        pixels = decode_image(image)
    except ImageError as error:
        raise PromptError(f'the mask cannot be decoded: {error}') from error
    return pixels[..., 0]
