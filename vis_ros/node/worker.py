"""Worker: the one thread that runs the network, for all cameras in turn. StallWatch reports when it hangs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from rclpy.impl.rcutils_logger import RcutilsLogger

STALLED_S = 5.0
"""A job in flight for longer than this is an error."""


class ImageStream(Protocol):
    """A source of images and requests, such as one camera. Its methods run in the worker thread and must not raise."""

    topic: str

    def wait_s(self) -> float | None:
        """Seconds until the next image should be processed, 0 or less if at once; None without an image."""
        ...

    def process(self) -> None:
        """Track the objects of the next image, if there still is one."""
        ...

    def serve(self, request: Any) -> None:
        """Do what a request asks for."""
        ...


class Worker:
    """Processes the next image of each stream in turn, and requests before all images, in a thread of its own.

    Streams are served round-robin, so that a fast one cannot starve the others. The executor of rclpy stays free
    meanwhile. All methods may be called from any thread.
    """

    def __init__(self, streams: Sequence[ImageStream]) -> None:
        self._streams = tuple(streams)
        self._requests: deque[tuple[ImageStream, Any]] = deque()
        self._next = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._in_flight: tuple[ImageStream, float] | None = None
        # A daemon thread, because a network that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name='vis_worker', daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """A stream has a new image, or need not wait with one any longer."""
        with self._changed:
            self._changed.notify()

    def submit(self, stream: ImageStream, request: Any) -> bool:
        """Serve a request before any image. Returns False, and does nothing, once the worker is being stopped."""
        with self._changed:
            if not self._stopped:
                self._requests.append((stream, request))
                self._changed.notify()
            return not self._stopped

    @property
    def in_flight(self) -> tuple[ImageStream, float] | None:
        """The stream of the current job, and the seconds since the job started; None while the worker is idle."""
        started = self._in_flight
        return None if started is None else (started[0], time.monotonic() - started[1])

    @property
    def is_running(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Finish the current job, drop all others and end the thread.

        A job that takes longer than `timeout_s` is left behind; `is_running` is true then.
        """
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (job := self._wait_for_job()) is not None:
            stream, run = job
            self._in_flight = stream, time.monotonic()
            run()
            self._in_flight = None

    def _wait_for_job(self) -> tuple[ImageStream, Callable[[], None]] | None:
        """The next job and its stream; None once the worker is being stopped."""
        with self._changed:
            while not self._stopped:
                if self._requests:
                    stream, request = self._requests.popleft()
                    return stream, partial(stream.serve, request)
                soonest: float | None = None
                for offset in range(len(self._streams)):
                    index = (self._next + offset) % len(self._streams)
                    stream = self._streams[index]
                    wait_s = stream.wait_s()
                    if wait_s is None:
                        continue
                    if wait_s <= 0:
                        self._next = index + 1
                        return stream, stream.process
                    soonest = wait_s if soonest is None else min(soonest, wait_s)
                self._changed.wait(soonest)
            return None


class StallWatch:
    """Checks a worker periodically, and logs when a job has been in flight for too long and when it has finished."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._stalled = False

    def check(self, worker: Worker | None) -> str:
        """What to report about a job that does not finish; '' if there is none."""
        in_flight = None if worker is None else worker.in_flight
        if in_flight is None or in_flight[1] < STALLED_S:
            if self._stalled and worker is not None:
                self._logger.warning('inference has finished; images are processed again')
            self._stalled = False
            return ''
        stream, seconds = in_flight
        text = (
            f'inference on {stream.topic} has been running for {seconds:.0f} s; all cameras are blocked. The network '
            'may be compiling for a new image size; otherwise the device hangs and the node must be restarted'
        )
        if not self._stalled:
            self._stalled = True
            self._logger.error(text)
        return text
