"""The item nearest in time: against a list that keeps everything, and in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vis_ros.ros.nearest_in_time import NearestInTime

STAMPS = st.lists(st.integers(0, 50), max_size=30)


@given(before=STAMPS, after=STAMPS, wanted=st.integers(0, 50), kept=st.integers(1, 6))
def test_the_nearest_of_the_kept_and_of_all_later_items(
    before: list[int], after: list[int], wanted: int, kept: int
) -> None:
    items: NearestInTime[int] = NearestInTime(kept)
    for number, stamp in enumerate(before):
        items.add(stamp, number)
    items.want(wanted)
    for number, stamp in enumerate(after, start=len(before)):
        items.add(stamp, number)
    candidates = list(enumerate([*before, *after]))[max(len(before) - kept, 0) :]
    expected = min(candidates, key=lambda each: abs(each[1] - wanted), default=None)
    assert items.nearest() == (expected and (expected[1], expected[0]))
    assert len(items) == min(len(before) + len(after), kept)


def test_no_item_is_nearest_before_a_stamp_is_wanted() -> None:
    items: NearestInTime[str] = NearestInTime(3)
    assert items.latest_ns is None and items.nearest() is None
    items.add(10, 'a')
    assert items.nearest() is None and items.latest_ns == 10
    items.want(12)
    assert items.nearest() == (10, 'a')
    items.add(5, 'late')
    assert items.nearest() == (10, 'a') and items.latest_ns == 5
    items.want(None)
    assert items.nearest() is None


def test_the_first_of_two_equally_near_items_counts() -> None:
    items: NearestInTime[str] = NearestInTime(3)
    items.want(10)
    items.add(8, 'before')
    items.add(12, 'after')
    assert items.nearest() == (8, 'before')


def test_items_before_a_stamp_are_forgotten_but_for_the_nearest() -> None:
    items: NearestInTime[str] = NearestInTime(3)
    for stamp in (1, 5, 9):
        items.add(stamp, str(stamp))
    items.want(2)
    items.forget_before(5)
    assert items.nearest() == (1, '1') and len(items) == 2
    items.want(2)
    assert items.nearest() == (5, '5')
    for stamp in range(20, 30):
        items.add(stamp, str(stamp))
    assert len(items) == 3, 'the limit stays'
