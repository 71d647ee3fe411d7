"""Worker: the thread that runs the network, for all cameras in turn. StallWatch reports when it hangs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.impl.rcutils_logger import RcutilsLogger

from vis_ros.instances import Instances
from vis_ros.node.early_reader import EarlyReader
from vis_ros.node.publishing_thread import PublishingThread

STALLED_S = 5.0
"""A job in flight for longer than this is an error."""

_READ_AHEAD_S = 0.001
"""Images that take less time to read are not read ahead: that would gain nothing, and a newer one may still come."""


class ReadImage(Protocol):
    """An image on its way through the node, with whatever its stream needs to know of it. Pixels are BGR."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...


class ImageStream(Protocol):
    """A source of images and requests, such as one camera. An image is read, tracked and published. No method raises;
    all but `publish` run in the worker thread.
    """

    topic: str

    def wait_s(self) -> float | None:
        """Seconds until the next image should be processed, 0 or less if at once; None without an image."""
        ...

    def read(self) -> Any:
        """The next image, a `ReadImage`; None if there is none any more, or it cannot be read."""
        ...

    def track(self, image: Any, found: Instances | None) -> Any:
        """Track the objects of an image. Returns what is to be published, None for nothing.

        Args:
            image: as `read` returned it.
            found: its detections, if the network has seen it in a batch; otherwise the stream runs the network.
        """
        ...

    def publish(self, result: Any) -> None:
        """Publish what `track` returned. Runs in a thread of its own, in the order of the images."""
        ...

    def serve(self, request: Any) -> None:
        """Do what a request asks for."""
        ...


_Images = list[tuple[ImageStream, Any]]
"""Images that were read, each with its stream."""

Detect = Callable[[Sequence[NDArray[np.uint8]]], list[Instances]]
"""Detects objects in a batch of images, see `Engine.infer`."""


class Worker:
    """Processes the next image of each stream in turn, and requests before all images, in a thread of its own. Results
    are published in another thread, while the network runs on the next images.

    Streams are served round-robin, so that a fast one cannot starve the others. The executor of rclpy stays free
    meanwhile. All methods may be called from any thread.

    Args:
        streams: which it serves.
        detect: runs the network on a batch.
        batch: number of streams whose images the network takes together, as far as they have images: it waits for none.
    """

    def __init__(self, streams: Sequence[ImageStream], detect: Detect | None = None, batch: int = 1) -> None:
        self._streams = tuple(streams)
        self._detect = detect
        self._batch = 1 if detect is None else batch
        self._requests: deque[tuple[ImageStream, Any]] = deque()
        self._next = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._in_flight: tuple[ImageStream, float] | None = None
        self._read_s = self._process_s = 0.0
        self._images: _Images = []  # read ahead
        self._early_reader = EarlyReader(self._read_next)
        self._publishing = PublishingThread()
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
    def publishing_s(self) -> float:
        """Seconds since publishing the current result started; 0 while nothing is being published."""
        return self._publishing.busy_s

    @property
    def running(self) -> str:
        """What `stop` has left behind, in a word; '' if all has ended."""
        if self._publishing.busy_s:  # the worker may be waiting for it
            return 'publishing'
        return 'inference' if self._thread.is_alive() else ''

    @property
    def is_running(self) -> bool:
        """Whether a thread has not ended yet."""
        return self._thread.is_alive() or self._publishing.is_running

    def stop(self, timeout_s: float) -> None:
        """Finish the current job, drop all others and end the threads.

        A job that takes longer than `timeout_s` is left behind; `is_running` is true then.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        for thread in (self._early_reader, self._publishing):
            thread.stop(max(end - time.monotonic(), 0.0))

    def _run(self) -> None:
        while (job := self._wait_for_job()) is not None:
            stream, run = job
            self._in_flight = stream, time.monotonic()
            run()
            self._in_flight = None

    def _wait_for_job(self) -> tuple[ImageStream, Callable[[], None]] | None:
        """The next job and its first stream; None once the worker is being stopped."""
        self._images = self._images or self._early_reader.take() or []
        with self._changed:
            while not self._stopped:
                if self._requests:
                    stream, request = self._requests.popleft()
                    return stream, partial(self._serve, stream, request)
                if self._images:
                    images, self._images = self._images, []
                    return images[0][0], partial(self._process, images)
                ready, soonest_s = self._ready_streams()
                if ready:
                    return ready[0], partial(self._read_and_process, ready)
                self._changed.wait(soonest_s)
            return None

    def _ready_streams(self) -> tuple[list[ImageStream], float | None]:
        """The streams whose turn it is, as many as fit into a batch; without any, the seconds until one is ready."""
        ready: list[ImageStream] = []
        soonest_s: float | None = None
        first = self._next
        for offset in range(len(self._streams)):
            index = (first + offset) % len(self._streams)
            wait_s = self._streams[index].wait_s()
            if wait_s is None:
                continue
            if wait_s > 0:
                soonest_s = wait_s if soonest_s is None else min(soonest_s, wait_s)
                continue
            ready.append(self._streams[index])
            self._next = index + 1
            if len(ready) == self._batch:
                break
        return ready, soonest_s

    def _serve(self, stream: ImageStream, request: Any) -> None:
        self._publishing.finish()  # what a request changes is in the next message that anyone receives
        stream.serve(request)

    def _read_next(self) -> _Images:
        """Read the images whose turn it is."""
        with self._changed:
            ready, _ = self._ready_streams()
        return self._read(ready)

    def _read(self, streams: Sequence[ImageStream]) -> _Images:
        started = time.monotonic()
        images = [(stream, image) for stream in streams if (image := stream.read()) is not None]
        if images:
            self._read_s = time.monotonic() - started
        return images

    def _read_and_process(self, streams: Sequence[ImageStream]) -> None:
        self._process(self._read(streams))

    def _process(self, images: _Images) -> None:
        """Track the objects in images and have the results published. Meanwhile, read the next images."""
        started = time.monotonic()
        if self._read_s >= _READ_AHEAD_S and self._process_s:
            self._early_reader.start_at(started + self._process_s - self._read_s)
        found = self._detect_in_batch([image for _, image in images])
        for (stream, image), detections in zip(images, found, strict=True):
            result = stream.track(image, detections)
            if result is not None:
                self._publishing.put(partial(stream.publish, result))
        self._process_s = time.monotonic() - started

    def _detect_in_batch(self, images: Sequence[ReadImage]) -> Sequence[Instances | None]:
        """The detections of each image; None if it is to be run alone: one that fails must not cost the others."""
        if len(images) < 2 or self._detect is None:
            return [None] * len(images)
        try:
            return self._detect([image.pixels for image in images])
        except Exception:
            return [None] * len(images)


class StallWatch:
    """Checks a worker periodically, and logs when a job has been in flight for too long and when it has finished."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._stalled = False

    def check(self, worker: Worker | None) -> str:
        """What to report about a job that does not finish; '' if there is none."""
        text = '' if worker is None else self._stall(worker)
        if self._stalled and worker is not None and not text:
            self._logger.warning('nothing hangs any more; images are processed again')
        if text and not self._stalled:
            self._logger.error(text)
        self._stalled = bool(text)
        return text

    @staticmethod
    def _stall(worker: Worker) -> str:
        if worker.publishing_s >= STALLED_S:  # then the network soon waits for it
            return (
                f'publishing a result has been running for {worker.publishing_s:.0f} s; all cameras are blocked. The '
                'middleware hangs and the node must be restarted'
            )
        in_flight = worker.in_flight
        if in_flight is None or in_flight[1] < STALLED_S:
            return ''
        return (
            f'inference on {in_flight[0].topic} has been running for {in_flight[1]:.0f} s; all cameras are blocked. '
            'The network may be compiling for a new image size; otherwise the device hangs and the node must be '
            'restarted'
        )
