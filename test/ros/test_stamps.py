"""Nanoseconds of stamps, and their order."""

import random

import pytest
from builtin_interfaces.msg import Time

from vis_ros.ros.stamps import (
    REGRESSION_TOLERANCE_NS,
    Order,
    StampOrder,
    StampWindow,
    nanoseconds,
    to_time,
)


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'expected'),
    [
        (1_700_000_000, 123_456_789, 1_700_000_000_123_456_789),
        (0, 1, 1),
        (0, 0, None),
        (-1, 0, None),
        (-1, 999_999_999, None),
        (5, 1_000_000_000, None),
        (2**31 - 1, 999_999_999, (2**31 - 1) * 10**9 + 999_999_999),
    ],
)
def test_nanoseconds(sec, nanosec, expected):
    assert nanoseconds(Time(sec=sec, nanosec=nanosec)) == expected
    if expected is not None:
        assert to_time(expected) == Time(sec=sec, nanosec=nanosec)


def test_only_a_large_step_back_is_backward():
    order = StampOrder()
    start = 10**18
    assert order.follow(start) is Order.FORWARD
    assert order.follow(start) is Order.FORWARD
    assert order.follow(start - REGRESSION_TOLERANCE_NS) is Order.LATE
    assert order.follow(start - REGRESSION_TOLERANCE_NS - 1) is Order.BACKWARD
    assert order.last == start  # unchanged by both
    order.forget()
    assert order.follow(5) is Order.FORWARD and order.origin == 5


def test_exact_stamps_come_back_from_float_seconds_for_26_days():
    order = StampOrder()
    first = 1_700_000_000_123_456_789
    order.follow(first)
    generator = random.Random(1)
    for _ in range(1000):
        stamp = first + generator.randrange(26 * 24 * 3600 * 10**9)
        assert order.origin + round(order.seconds(stamp) * 1e9) == stamp


def put_in_order(stamps):
    window, given = StampWindow(), []
    for stamp in stamps:
        given += window.add(stamp, stamp)
    return window, given + window.flush()


@pytest.mark.parametrize('seed', range(20))
def test_a_window_sorts_stamps_that_are_out_of_order_by_at_most_the_tolerance(seed):
    generator = random.Random(seed)
    stamps = [1000 * index * 10**6 // 25 for index in range(500)]
    arrived = sorted(stamps, key=lambda stamp: stamp + generator.randrange(REGRESSION_TOLERANCE_NS))
    window, given = put_in_order(arrived)
    assert [(0, stamp, stamp) for stamp in stamps] == given
    assert window.late == 0 and window.reordered > 100


def test_a_window_returns_an_image_once_no_earlier_one_can_arrive():
    window = StampWindow()
    assert window.add(0, 'a') == window.add(REGRESSION_TOLERANCE_NS, 'c') == []
    assert window.add(0, 'b') == [], 'not older than the tolerance'
    assert window.add(REGRESSION_TOLERANCE_NS + 1, 'd') == [(0, 0, 'a'), (0, 0, 'b')], 'in the order of arrival'
    assert window.add(0, 'e') == [(0, REGRESSION_TOLERANCE_NS, 'c'), (0, REGRESSION_TOLERANCE_NS + 1, 'd')]
    assert window.flush() == [(1, 0, 'e')], 'time was set back'


def test_a_full_window_returns_the_oldest_and_counts_later_arrivals_as_late():
    window = StampWindow()
    assert not any(window.add(10 + index, index) for index in range(StampWindow.MAX_IMAGES))
    assert window.add(1000, 'next') == [(0, 10, 0)]
    assert window.add(5, 'late') == [] and window.late == 1
    assert len(window.flush()) == StampWindow.MAX_IMAGES
