"""BackgroundTuning: fine-tunes RGSN for one object in a thread of its own. Does not import torch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from vis_ros.propagation.network_parts import NetworkParts

_ONE_AT_A_TIME = threading.Lock()
"""Several objects are tuned one after another, so that tracking keeps its share of the processor."""

_log = logging.getLogger(__name__)


class BackgroundTuning:
    """Runs a function in a thread. It is called with a function that tells whether it may stop early.

    parts: its result; None before it is there, if it failed, or after `cancel`.
    seconds: that it took, 0 before.
    """

    def __init__(self, object_id: int, tune: Callable[[Callable[[], bool]], NetworkParts]) -> None:
        self.parts: NetworkParts | None = None
        self.seconds = 0.0
        self._object_id, self._tune = object_id, tune
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f'fine-tuning {object_id}', daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it waits for its turn or works. False with a result, and if it failed."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End the work as soon as possible, without a result."""
        self._cancelled.set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the work has ended."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        with _ONE_AT_A_TIME:
            started = time.monotonic()
            try:
                parts = self._tune(self._cancelled.is_set)
            except Exception:  # the object is tracked with the untuned weights all the same
                _log.exception('object %d is not fine-tuned', self._object_id)
                return
        if not self._cancelled.is_set():
            self.seconds = time.monotonic() - started
            self.parts = parts
            _log.info('object %d is fine-tuned after %.1f s', self._object_id, self.seconds)
