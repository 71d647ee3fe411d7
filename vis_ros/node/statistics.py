"""StreamStatistics: counts, rates and latencies of the images of one camera."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from vis_ros.percentiles import percentiles

WINDOW_S = 5.0
"""Rates and percentiles cover this many seconds."""


@dataclass
class Counts:
    """Images since activation. Each received image is counted once more when it is processed or skipped."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    """Replaced by a newer one before the network was free."""
    late: int = 0
    """Older than the last processed one."""
    refused: int = 0
    """Could not be decoded."""
    undecoded: int = 0
    """Packets of a video that gave no image: before the first key frame, or after a lost one."""
    compiling: int = 0
    """Arrived while the network was being compiled for their size."""
    failed: int = 0
    """The tracker raised an error."""
    ignored: int = 0
    """Received while disabled by ~/enable."""
    lost: int = 0
    """Lost in the middleware before they reached the node, if it reports that."""
    replaced: int = 0
    """Replaced by a newer one in the middleware before the node took it, if messages are numbered there."""


class StreamStatistics:
    """Safe from any thread."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.wrong_stamps = 0
        """Processed images whose stamp was invalid or jumped, and was replaced by the node clock."""
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last_received: float | None = None
        self._skipped = self._skipped_after_reading = self._reported = 0
        self._lost_in_gap = self._newly_replaced = 0
        self._arrivals: deque[float] = deque()
        self._ages: deque[tuple[float, float]] = deque()
        self._results: deque[tuple[float, float, float]] = deque()

    def received(self) -> None:
        with self._lock:
            self.counts.received += 1
            self._last_received = time.monotonic()
            self._arrivals.append(self._last_received)
            self._forget_old()

    def skipped(self, reason: str, count: int = 1, after_reading: bool = False) -> None:
        """Images that will not be published.

        Args:
            reason: a field of Counts.
            count: their number.
            after_reading: whether they had been read. The next image may have been read before they are skipped.
        """
        with self._lock:
            setattr(self.counts, reason, getattr(self.counts, reason) + count)
            self._skipped += count
            self._skipped_after_reading += count * after_reading

    def started(self, age_s: float) -> None:
        """An image is being processed, this many seconds after it arrived."""
        with self._lock:
            self._ages.append((time.monotonic(), age_s))
            self._forget_old()

    def wrong_stamp(self) -> None:
        """The stamp of an image was replaced by the node clock."""
        with self._lock:
            self.wrong_stamps += 1

    def ignored(self, count: int = 1) -> None:
        """Images arrived while disabled. That was requested, so they do not count as skipped."""
        with self._lock:
            self.counts.ignored += count

    def lost(self, count: int) -> None:
        """The middleware reports messages that did not reach the node, before or after those that show the gap."""
        with self._lock:
            known = min(count, self._newly_replaced)
            self._newly_replaced -= known
            self.counts.replaced -= known
            self.counts.lost += count
            self._skipped += count - known
            self._lost_in_gap += count - known

    def takes_messages(self) -> None:
        """The node takes the next messages. What is lost from now on is not in a gap before them."""
        with self._lock:
            self._newly_replaced = 0

    def replaced(self, gap: int) -> None:
        """The number of the newest message shows that this many before it did not reach the node."""
        with self._lock:
            lost = min(gap, self._lost_in_gap)
            self._lost_in_gap = 0
            self._newly_replaced += gap - lost
            self.counts.replaced += gap - lost
            self._skipped += gap - lost

    @property
    def skipped_unread(self) -> int:
        """Images skipped so far before they were read, whatever the reason."""
        with self._lock:
            return self._skipped - self._skipped_after_reading

    @property
    def skipped_after_reading(self) -> int:
        """Images skipped so far after they were read."""
        return self._skipped_after_reading

    def newly_skipped(self, total: int) -> int:
        """How many of the first `total` skipped images no message that was published has counted."""
        return total - self._reported

    def processed(self, total_skipped: int, processing_s: float, latency_s: float) -> None:
        """The result of an image was published.

        Args:
            total_skipped: how many skipped images the messages have counted, this one included.
            processing_s: time from the start of processing to publishing.
            latency_s: time from the stamp of the image to publishing, on the ROS clock; NaN if unknown.
        """
        with self._lock:
            self.counts.processed += 1
            self._reported = total_skipped
            self._results.append((time.monotonic(), processing_s, latency_s))
            self._forget_old()

    def silence_s(self) -> float:
        """Seconds since the last image arrived, or since activation."""
        return time.monotonic() - (self._last_received or self._started)

    def rates_hz(self) -> tuple[float, float]:
        """Images received and results published per second."""
        window = min(WINDOW_S, max(time.monotonic() - self._started, 1e-9))
        with self._lock:
            self._forget_old()
            return len(self._arrivals) / window, len(self._results) / window

    def age_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the time from arrival to the start of processing; NaN without images."""
        with self._lock:
            self._forget_old()
            return _percentiles_ms(age for _, age in self._ages)

    def processing_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the processing time; NaN without images."""
        with self._lock:
            self._forget_old()
            return _percentiles_ms(result[1] for result in self._results)

    def latency_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the latency; NaN without images or without valid stamps."""
        with self._lock:
            self._forget_old()
            return _percentiles_ms(result[2] for result in self._results)

    def _forget_old(self) -> None:
        oldest = time.monotonic() - WINDOW_S
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()
        while self._ages and self._ages[0][0] < oldest:
            self._ages.popleft()
        while self._results and self._results[0][0] < oldest:
            self._results.popleft()


def _percentiles_ms(seconds: Iterable[float]) -> tuple[float, float]:
    median, high = percentiles([value for value in seconds if value == value], 50, 95)
    return 1000 * median, 1000 * high
