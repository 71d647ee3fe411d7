"""Counts, rates and percentiles of one camera, with a clock that the test controls."""

import math

import numpy as np
import pytest

from vis_ros.node import statistics
from vis_ros.node.statistics import WINDOW_S, StreamStatistics


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(statistics.time, 'monotonic', lambda: now[0])
    return now


def test_rates_cover_the_last_seconds(clock):
    stream = StreamStatistics()
    for _ in range(100):
        clock[0] += 0.1
        stream.received()
        if stream.counts.received % 2:
            stream.processed(0, 0.01, 0.02)
    assert stream.rates_hz() == pytest.approx((10, 5), rel=0.05)
    clock[0] += WINDOW_S + 1
    assert stream.rates_hz() == (0, 0)
    assert all(math.isnan(value) for value in stream.latency_ms())


def test_rates_right_after_activation_cover_the_time_since_then(clock):
    stream = StreamStatistics()
    for _ in range(10):
        clock[0] += 0.1
        stream.received()
    assert stream.rates_hz()[0] == pytest.approx(10)


def test_percentiles_ignore_images_without_stamps(clock):
    stream = StreamStatistics()
    latencies = np.random.default_rng(3).random(50)
    for latency in latencies:
        stream.processed(0, 0.001, latency)
    stream.processed(0, 0.001, math.nan)  # an image without a stamp
    assert stream.latency_ms() == pytest.approx(tuple(np.percentile(latencies, [50, 95]) * 1000))
    assert stream.processing_ms() == pytest.approx((1, 1))


def test_skipped_images_are_counted_by_reason_and_since_the_last_array(clock):
    stream = StreamStatistics()
    for reason in ('dropped', 'dropped', 'late', 'refused', 'failed'):
        stream.skipped(reason)
    stream.ignored()
    assert stream.skipped_unread == 5
    new = []
    for total in (0, 2, 2, 5):
        new.append(stream.newly_skipped(total))
        stream.processed(total, 0.001, 0.002)
    assert new == [0, 2, 0, 3]
    counts = stream.counts
    assert (counts.dropped, counts.late, counts.refused, counts.failed, counts.ignored) == (2, 1, 1, 1, 1)


def test_silence_counts_from_the_last_image_or_from_activation(clock):
    stream = StreamStatistics()
    clock[0] += 3
    assert stream.silence_s() == 3
    stream.received()
    clock[0] += 1
    assert stream.silence_s() == 1


def test_gaps_between_messages_are_counted_once_if_the_middleware_reports_them_too(clock):
    stream = StreamStatistics()
    stream.lost(3)
    stream.replaced(5)
    assert (stream.counts.lost, stream.counts.replaced, stream.skipped_unread) == (3, 2, 5)
    stream.replaced(4)
    assert (stream.counts.lost, stream.counts.replaced, stream.skipped_unread) == (3, 6, 9)


def test_gaps_between_messages_are_counted_once_if_the_middleware_reports_them_later(clock):
    stream = StreamStatistics()
    stream.takes_messages()
    stream.replaced(2)
    stream.replaced(3)
    stream.lost(4)
    assert (stream.counts.lost, stream.counts.replaced, stream.skipped_unread) == (4, 1, 5)
    stream.takes_messages()
    stream.lost(2)
    stream.replaced(2)
    assert (stream.counts.lost, stream.counts.replaced, stream.skipped_unread) == (6, 1, 7)


def test_waiting_times_are_of_the_last_seconds(clock):
    stream = StreamStatistics()
    for age in (0.001, 0.003, 0.002):
        stream.started(age)
    assert stream.age_ms()[0] == pytest.approx(2)
    clock[0] += WINDOW_S + 1
    stream.started(0.5)
    assert stream.age_ms()[0] == pytest.approx(500)
