"""EarlyReader: reads the next images in a thread of its own, shortly before the network is free for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class EarlyReader(Generic[T]):
    """One thread starts a reading and takes its result; `stop` may be called from any thread.

    Args:
        read: reads what is to be read; does not raise.
    """

    def __init__(self, read: Callable[[], T]) -> None:
        self._read = read
        self._start: float | None = None
        self._is_reading = self._stopped = False
        self._result: T | None = None
        self._changed = threading.Condition()
        # A daemon thread, as the one that runs the network.
        self._thread = threading.Thread(target=self._run, name='vis_early_reader', daemon=True)
        self._thread.start()

    def start_at(self, start: float) -> None:
        """Begin to read at this time of `time.monotonic`."""
        with self._changed:
            self._start = start
            self._changed.notify_all()

    def take(self) -> T | None:
        """What was read; None if reading has not begun, which it then does not. Waits for a reading in progress."""
        with self._changed:
            self._start = None
            self._changed.wait_for(lambda: not self._is_reading)
            result, self._result = self._result, None
            return result

    def stop(self, timeout_s: float) -> None:
        """End the thread; wait for this long at most."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while self._wait_for_start():
            result = self._read()
            with self._changed:
                self._result, self._is_reading = result, False
                self._changed.notify_all()

    def _wait_for_start(self) -> bool:
        """Wait until it is time to read. Returns False once the thread is to end."""
        with self._changed:
            while not self._stopped:
                wait_s = None if self._start is None else self._start - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    self._start, self._is_reading = None, True
                    return True
                self._changed.wait(wait_s)
            return False
