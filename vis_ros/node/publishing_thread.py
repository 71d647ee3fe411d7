"""PublishingThread: does the work that follows the network, while the network runs on the next images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class PublishingThread:
    """Runs jobs one after another, in the order in which they were put. It takes a job when it has finished the one
    before, so that results never queue up behind a slow one. Methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._job: Callable[[], None] | None = None
        self._put_at = 0.0
        self._stopped = False
        self._changed = threading.Condition()
        # A daemon thread, because a middleware that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name='vis_publishing', daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Wait until the thread is free, and leave this job to it, unless it is stopped. A job must not raise."""
        with self._changed:
            self._changed.wait_for(lambda: self._job is None or self._stopped)
            if not self._stopped:
                self._job, self._put_at = job, time.monotonic()
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait until the last job is done, or the thread is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._job is None or self._stopped)

    @property
    def busy_s(self) -> float:
        """Seconds since the job in progress was put; 0 without one."""
        with self._changed:
            return 0.0 if self._job is None else time.monotonic() - self._put_at

    @property
    def is_running(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Finish the job in progress and end the thread; wait for this long at most."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._job is not None or self._stopped)
                job = self._job
            if job is None:
                return
            job()
            with self._changed:
                self._job = None
                self._changed.notify_all()
