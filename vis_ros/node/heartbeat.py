"""Heartbeat: keep calling a function while the executor is busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def heartbeat(beat: Callable[[], None], period_s: float = 1.0) -> Iterator[None]:
    """Call `beat` once per period from another thread for as long as the block runs."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(period_s):
            beat()

    thread = threading.Thread(target=run, name='vis_heartbeat', daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
