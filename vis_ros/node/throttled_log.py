"""ThrottledLog: warnings and errors at a limited rate, instead of thirty times a second."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

from rclpy.impl.rcutils_logger import RcutilsLogger

PERIOD_S = 5.0
"""Issues of the same kind are logged at most once in this many seconds."""


@dataclass(frozen=True)
class LoggedIssue:
    """A warning or an error. time: of time.monotonic."""

    text: str
    time: float
    is_error: bool

    def age_s(self) -> float:
        return time.monotonic() - self.time


class ThrottledLog:
    """Logs each kind of issue once per period, and keeps the last issue for diagnostics. Safe from any thread."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self.last: LoggedIssue | None = None
        self._logger = logger
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def error(self, kind: str, text: str) -> None:
        """Something failed: an image is lost."""
        line = self._line(kind, text, True, PERIOD_S)
        if line is not None:
            self._logger.error(line)

    def warn(self, kind: str, text: str, period_s: float = PERIOD_S) -> None:
        """Something is wrong, but no image is lost by it."""
        line = self._line(kind, text, False, period_s)
        if line is not None:
            self._logger.warning(line)

    def _line(self, kind: str, text: str, is_error: bool, period_s: float) -> str | None:
        """The line to log now, None if an issue of this kind was logged recently."""
        now = time.monotonic()
        with self._lock:
            self.last = LoggedIssue(text, now, is_error)
            if now - self._logged.get(kind, -math.inf) < period_s:
                self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
                return None
            self._logged[kind] = now
            suppressed = self._suppressed.pop(kind, 0)
            return f'{text} ({suppressed} similar errors suppressed)' if suppressed and is_error else text
