"""ThrottledLog: what goes wrong, said once in a while instead of thirty times a second."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from rclpy.impl.rcutils_logger import RcutilsLogger

PERIOD_S = 5.0
"""The same kind of complaint is logged at most once in so many seconds."""


@dataclass(frozen=True)
class LoggedIssue:
    """The last thing that went wrong; `time` is of time.monotonic."""

    text: str
    time: float
    is_error: bool

    def age_s(self) -> float:
        return time.monotonic() - self.time


class ThrottledLog:
    """Logs each kind of complaint once a period and keeps the last one for diagnostics. Safe from any thread."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self.last: LoggedIssue | None = None
        self._logger = logger
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def error(self, kind: str, text: str) -> None:
        """Something failed: an image was lost."""
        said = self._worded(kind, text, True, PERIOD_S)
        if said is not None:
            self._logger.error(said)

    def warn(self, kind: str, text: str, period_s: float = PERIOD_S) -> None:
        """Something is not as it should be, but the node goes on as usual."""
        said = self._worded(kind, text, False, period_s)
        if said is not None:
            self._logger.warning(said)

    def _worded(self, kind: str, text: str, is_error: bool, period_s: float) -> str | None:
        now = time.monotonic()
        with self._lock:
            self.last = LoggedIssue(text, now, is_error)
            if now - self._logged.get(kind, -math.inf) < period_s:
                self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
                return None
            self._logged[kind] = now
            unsaid = self._unsaid.pop(kind, 0)
            return f'{text} (and {unsaid} more like it before)' if unsaid and is_error else text
