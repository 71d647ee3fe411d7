"""Ctrl-C during a replay ends it between two images, with all files complete."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 'interrupted'
"""Reason of a replay that ended early."""

_ONE_REQUEST_S = 1.0  # a terminal and `ros2 launch` both send a signal for one Ctrl-C


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Set the event on SIGINT or SIGTERM instead of raising KeyboardInterrupt.

    A second signal raises it, if it comes more than a second after the first. Outside the main thread signals are not
    handled.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    first = time.monotonic()

    def interrupt(number: int, _frame: object) -> None:
        nonlocal first
        if not interrupted.is_set():
            first = time.monotonic()
            interrupted.set()
        elif time.monotonic() - first > _ONE_REQUEST_S:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
